//! Many seeds of many scenarios, and what came of them.
//!
//! Scenarios take turns: a round of a few seeds of each, then the next. What breaks a promise often shows within seconds
//! then, whatever scenario it takes, and the exploration ends with the round if it is to fail fast. An exploration that
//! has a time rather than a number of seeds shares that time among the scenarios ([`turns`]).
//!
//! Plans of the full stack get a process each, those of the core loop come in batches; whatever fails in a batch runs
//! once more alone. A few percent of all seeds run twice with every TRACE event compared, as a standing watch over
//! determinism. Results are taken in order, so that the failure that is shown of each kind is the same whatever the number of
//! cores.

pub(crate) mod coverage;
pub(crate) mod progress;
pub(crate) mod tally;
pub(crate) mod turns;

use std::collections::BTreeMap;
use std::iter;
use std::ops::Range;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use leasebridge_sim::oracle::{Class, Invariant};
use leasebridge_sim::plan::{Plan, Speed};
use leasebridge_sim::report;
use leasebridge_sim::report::machine::RunReport;
use leasebridge_sim::scenario::Scenario;
use leasebridge_sim::seed::Seed;
use tokio::time::{MissedTickBehavior, interval_at};

use crate::child::protocol::Listen;
use crate::failure::CommandFailure;
use crate::meta::difference;
use crate::pool::{PlanAnswer, Pool, Wish};
use crate::stop::{StopSignal, StopSignals};
use progress::{ExplorationProgress, LINE_EVERY};
use tally::Tally;
use turns::Turns;

/// Plans of the core loop that a child gets at once.
const BATCH: u64 = 32;
/// Seeds of each scenario in the first round, which is over soon; in later ones there are as many as fill a batch.
const ROUND_FIRST: u64 = 8;
/// So many failures end a round early: they may take long each, and there is enough to choose from.
const FAILURES_ENOUGH: u64 = 4;
/// One seed in so many runs twice.
const TWICE_ONE_IN: u64 = 32;

/// What is to be explored.
pub(crate) struct Exploration<'a> {
    /// Which scenarios, in this order.
    pub(crate) scenarios: &'a [Scenario],
    /// The first seed of each.
    pub(crate) from: Seed,
    /// How far it goes.
    pub(crate) extent: Extent,
    /// The children that run the plans.
    pub(crate) pool: &'a Pool,
    /// Whether every seed is to be told of.
    pub(crate) each: bool,
    /// Whether it ends with the round in which something failed.
    pub(crate) fail_fast: bool,
}

/// How far an exploration goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// So many seeds of each scenario: the same ones every time.
    Seeds(u64),
    /// As many as begin within this time, which the scenarios share.
    Time(Duration),
}

/// What was found.
pub(crate) struct Explored {
    /// For each scenario.
    pub(crate) tallies: Vec<Tally>,
    /// Of each kind of failure the one with the smallest plan: it is understood, and shrunk, soonest.
    pub(crate) failures: BTreeMap<FailureClass, PlanAnswer>,
    /// Every seed, for other programs; nothing if nobody asked.
    pub(crate) ended: Vec<RunReport>,
    /// How far it came.
    pub(crate) end: ExplorationEnd,
}

/// Why an exploration was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExplorationEnd {
    /// Every seed ran, or the time was over.
    All,
    /// Something failed, which was enough.
    AtFailures,
    /// Somebody ended it.
    Stopped(StopSignal),
}

impl Explored {
    /// Keeps a failure, unless there is one like it whose plan is as small.
    fn keep(&mut self, answer: PlanAnswer) {
        let size = |answer: &PlanAnswer| {
            let plan = &answer.outcome.plan;
            (plan.faults.len(), plan.ops.len())
        };
        let kind = kind(&answer);
        let known = self.failures.get(&kind);
        if known.is_none_or(|known| size(&answer) < size(known)) {
            self.failures.insert(kind, answer);
        }
    }
}

/// Failures of one kind have one cause more often than not.
pub(crate) type FailureClass = (Class, Option<Invariant>);

/// The command that shows a seed again.
pub(crate) fn again(answer: &PlanAnswer) -> String {
    let plan = &answer.outcome.plan;
    format!("cargo sim run {} {}", plan.scenario, plan.seed)
}

/// The kind of a failure.
pub(crate) fn kind(answer: &PlanAnswer) -> FailureClass {
    let first = answer.outcome.verdict.violations.first();
    (answer.class(), first.map(|violation| violation.invariant))
}

/// A piece of work, and where it belongs.
struct Piece {
    round: u64,
    scenario: usize,
    work: ExplorationJob,
}

/// What one piece of work consists of.
enum ExplorationJob {
    /// Plans for one child.
    Once(Vec<Plan>),
    /// A plan for two children, to be compared.
    Twice(Box<Plan>),
}

impl Exploration<'_> {
    /// Explores, until everything ran, enough failed, or somebody ends it. `found` is told of each failure as soon as it
    /// is known.
    ///
    /// # Errors
    /// When the children can't be started, or `found` fails.
    pub(crate) async fn run(
        &self,
        progress: &ExplorationProgress,
        mut found: impl FnMut(&PlanAnswer) -> Result<(), CommandFailure>,
    ) -> Result<Explored, CommandFailure> {
        let mut explored = Explored {
            tallies: self.scenarios.iter().map(Tally::of).collect(),
            failures: BTreeMap::new(),
            ended: Vec::new(),
            end: ExplorationEnd::All,
        };
        let turns = Turns::of(self.scenarios.len());
        let results = self.pool.in_order(self.work(&turns), |piece| async move {
            let answers = self.answers(piece.work).await?;
            Ok::<_, CommandFailure>((piece.round, piece.scenario, answers))
        });
        let mut results = std::pin::pin!(results);
        let mut stop = StopSignals::listen()?;
        let mut lines = interval_at(tokio::time::Instant::now() + LINE_EVERY, LINE_EVERY);
        lines.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut failed, mut failed_in) = (0, None);
        loop {
            let (round, scenario, answers) = tokio::select! {
                biased;
                signal = stop.next() => {
                    explored.end = ExplorationEnd::Stopped(signal);
                    return Ok(explored);
                }
                _ = lines.tick() => {
                    progress.say();
                    continue;
                }
                next = results.next() => match next {
                    None => return Ok(explored),
                    Some(result) => result?,
                },
            };
            let over = failed_in.is_some_and(|failed_in| failed_in < round);
            if self.fail_fast && (over || failed >= FAILURES_ENOUGH) {
                explored.end = ExplorationEnd::AtFailures;
                return Ok(explored);
            }
            turns.took(scenario, answers.iter().map(|answer| answer.cpu).sum());
            for answer in answers {
                progress.ran(&answer);
                explored.tallies[scenario].add(&answer);
                if self.each {
                    explored.ended.push(answer.ended(&again(&answer)));
                }
                if answer.class() != Class::Pass {
                    failed += 1;
                    failed_in.get_or_insert(round);
                    found(&answer)?;
                    explored.keep(answer);
                }
            }
        }
    }

    /// All pieces of work. Plans are drawn when their turn comes.
    fn work<'a>(&'a self, turns: &'a Turns) -> Box<dyn Iterator<Item = Piece> + 'a> {
        match self.extent {
            Extent::Seeds(seeds) => Box::new(self.rounds(seeds)),
            Extent::Time(time) => Box::new(self.shares(turns, Instant::now() + time)),
        }
    }

    /// Round by round, the same seeds of each scenario.
    fn rounds(&self, seeds: u64) -> impl Iterator<Item = Piece> {
        rounds(seeds).flat_map(move |seeds| {
            let scenarios = 0..self.scenarios.len();
            scenarios.flat_map(move |scenario| self.pieces(seeds.start, scenario, seeds.clone()))
        })
    }

    /// Turn by turn until then, each with the scenario that has used the least of the time. A turn is a round here.
    fn shares<'a>(&'a self, turns: &'a Turns, until: Instant) -> impl Iterator<Item = Piece> + 'a {
        let size = |scenario: usize| batch_size(&self.scenarios[scenario]);
        let handed_out = (0_u64..).map_while(move |turn| {
            let (scenario, seeds) = (Instant::now() < until).then(|| turns.next(size))??;
            Some(self.pieces(turn, scenario, seeds))
        });
        handed_out.flatten()
    }

    fn pieces(
        &self,
        round: u64,
        scenario: usize,
        seeds: Range<u64>,
    ) -> impl Iterator<Item = Piece> {
        let work = self.work_of(&self.scenarios[scenario], seeds);
        work.map(move |work| Piece {
            round,
            scenario,
            work,
        })
    }

    /// Some of the seeds of one scenario.
    fn work_of(
        &self,
        scenario: &Scenario,
        seeds: Range<u64>,
    ) -> impl Iterator<Item = ExplorationJob> {
        let size = batch_size(scenario);
        let starts = seeds.clone().step_by(usize::try_from(size).unwrap_or(1));
        starts.flat_map(move |start| {
            let draw = move |at: u64| scenario.draw(Seed(self.from.0.wrapping_add(at)));
            let seeds = start..(start + size).min(seeds.end);
            let (twice, once): (Vec<_>, Vec<_>) =
                seeds.partition(|at| at % TWICE_ONE_IN == TWICE_ONE_IN - 1);
            let once: Vec<_> = once.into_iter().map(draw).collect();
            let once = (!once.is_empty()).then_some(ExplorationJob::Once(once));
            let twice = twice
                .into_iter()
                .map(move |at| ExplorationJob::Twice(Box::new(draw(at))));
            once.into_iter().chain(twice)
        })
    }

    async fn answers(&self, work: ExplorationJob) -> Result<Vec<PlanAnswer>, CommandFailure> {
        match work {
            ExplorationJob::Once(plans) => once(self.pool, plans).await,
            ExplorationJob::Twice(plan) => Ok(vec![twice(self.pool, *plan).await?]),
        }
    }
}

/// The seeds of each round, counted from the first one of the exploration.
fn rounds(seeds: u64) -> impl Iterator<Item = Range<u64>> {
    let first = ROUND_FIRST.min(seeds);
    let later = (first..seeds).step_by(usize::try_from(BATCH).unwrap_or(1));
    let later = later.map(move |start| start..(start + BATCH).min(seeds));
    iter::once(0..first).chain(later)
}

/// How many plans of a scenario go to one child.
pub(crate) fn batch_size(scenario: &Scenario) -> u64 {
    match scenario.speed {
        Speed::Core => BATCH,
        Speed::Full => 1,
    }
}

/// Runs plans once; those that failed in company once more alone.
pub(crate) async fn once(pool: &Pool, plans: Vec<Plan>) -> Result<Vec<PlanAnswer>, CommandFailure> {
    let wish = Wish::default();
    let mut answers = pool.run(plans, &wish).await?;
    for answer in &mut answers {
        if !answer.alone && answer.class() != Class::Pass {
            let alone = pool.run_one(answer.outcome.plan.clone(), &wish).await?;
            if kind(&alone) != kind(answer) {
                let [alone, company] = [kind(&alone), kind(answer)].map(words);
                answer.differs = Some(format!(
                    "alone in its process: {alone}; after other plans: {company}"
                ));
            } else {
                *answer = alone;
            }
        }
    }
    Ok(answers)
}

/// Runs a plan twice and compares everything.
async fn twice(pool: &Pool, plan: Plan) -> Result<PlanAnswer, CommandFailure> {
    let wish = Wish {
        listen: Listen::Prints,
        ..Wish::default()
    };
    let mut first = pool.run_one(plan.clone(), &wish).await?;
    let second = pool.run_one(plan, &wish).await?;
    first.differs = difference(&first, &second);
    Ok(first)
}

/// A kind of failure in words.
pub(crate) fn words((class, invariant): FailureClass) -> String {
    let class = format!("{class:?}").to_lowercase();
    match invariant {
        None => class,
        Some(invariant) => format!("{class}, {}", report::verdict::name(&invariant)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_cover_every_seed_once_and_the_first_is_short() {
        for seeds in [0, 1, 7, 8, 9, 40, 41, 1_000] {
            let all: Vec<_> = rounds(seeds).flatten().collect();
            assert_eq!(all, (0..seeds).collect::<Vec<_>>());
        }
        let first: Vec<_> = rounds(1_000).take(2).collect();
        assert_eq!(first, [0..8, 8..40]);
    }
}
