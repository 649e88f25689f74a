//! The parent's side: starts children, hands out plans, and makes an answer of whatever becomes of them.
//!
//! A child that has used its budget of processor time is ended, and so is one that sleeps for as long; one that stands still
//! ends itself, one that dies is noted with its last words; each costs the one plan it was at, and the plans behind it go
//! to a new child.

mod effort;
mod process;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, Stream, StreamExt};
use leasebridge_sim::history::{self, Record};
use leasebridge_sim::oracle::{Class, Invariant, Verdict, Violation};
use leasebridge_sim::plan::{Micros, Plan};
use leasebridge_sim::report::machine::RunReport;
use leasebridge_sim::run::{self, Ran, RunOutcome};
use tokio::sync::Semaphore;

use crate::child::protocol::{ChildReply, ChildRequest, Keep, Listen, Prints};
use crate::failure::CommandFailure;
use process::ChildEnd;

/// Processor time in which a child must have finished a plan.
pub(crate) const BUDGET: Duration = Duration::from_secs(60);

/// How children are started. Clones start them alike.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    /// The program that children are made of: this one, or a build with defects.
    pub(crate) program: PathBuf,
    /// What is added to their environment.
    pub(crate) env: Vec<(OsString, OsString)>,
    /// Where they start, if not where the parent is.
    pub(crate) dir: Option<PathBuf>,
    /// How much processor time each may take for one plan, and for how long it may do nothing at all.
    pub(crate) budget: Duration,
    /// How many at once.
    jobs: usize,
    /// One permit for each.
    permits: Arc<Semaphore>,
}

/// How many pieces of work may be begun for each child that may run: one that takes long then leaves no core idle while
/// results are taken in order.
const AHEAD: usize = 4;

/// What became of a plan.
#[derive(Clone, Debug)]
pub(crate) struct PlanAnswer {
    /// Its outcome; the records as far as they were asked for.
    pub(crate) outcome: RunOutcome,
    /// What tracing came to, if it was asked for.
    pub(crate) prints: Option<Prints>,
    /// Why two runs of this plan were not the same, if they weren't.
    pub(crate) differs: Option<String>,
    /// Whether it ran in a process of its own.
    pub(crate) alone: bool,
    /// Real seconds it took, its share of its child's.
    pub(crate) seconds: f64,
    /// Processor time it took; the first of a child counts its start as well.
    pub(crate) cpu: Duration,
}

impl PlanAnswer {
    /// How the plan ended, over all of its runs.
    pub(crate) fn class(&self) -> Class {
        match (self.outcome.class(), &self.differs) {
            (Class::Pass, Some(_)) => Class::Nondeterminism,
            (class, _) => class,
        }
    }

    /// As much of it as a CI system wants; `again` is the command that shows it again.
    pub(crate) fn ended(&self, again: &str) -> RunReport {
        let outcome = &self.outcome;
        let first = outcome.verdict.violations.first();
        let story = first.map(|violation| violation.story.clone());
        RunReport {
            scenario: outcome.plan.scenario.clone(),
            seed: outcome.plan.seed,
            class: self.class(),
            invariant: first.map(|violation| violation.invariant),
            story: outcome
                .panic
                .clone()
                .or(story)
                .or_else(|| self.differs.clone()),
            reproduce: again.to_owned(),
            seconds: self.seconds,
        }
    }
}

/// What is wanted beside the outcomes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    /// The records that come back beside the verdict.
    pub(crate) keep: Keep,
    /// How closely the child listens to the tracing of what it runs.
    pub(crate) listen: Listen,
    /// A plan that hangs is expected: it is put on record the first time, which costs those that don't.
    pub(crate) may_hang: bool,
}

impl Pool {
    /// This program's own children, `jobs` at once; as many as there are cores if it is not said.
    ///
    /// # Errors
    /// When this program doesn't find itself.
    pub(crate) fn of_this_program(jobs: Option<usize>) -> Result<Self, CommandFailure> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = jobs.unwrap_or(cores).max(1);
        Ok(Self {
            program: std::env::current_exe()?,
            env: Vec::new(),
            dir: None,
            budget: BUDGET,
            jobs,
            permits: Arc::new(Semaphore::new(jobs)),
        })
    }

    /// The same, with a child of its own beside them. For what is awaited between two results of [`Self::in_order`]:
    /// nobody polls the others meanwhile, and they don't give back what they hold.
    #[cfg(leasebridge_planted)]
    pub(crate) fn beside(&self) -> Self {
        Self {
            jobs: 1,
            permits: Arc::new(Semaphore::new(1)),
            ..self.clone()
        }
    }

    /// The results of `work` on each of `items`, in their order; children of all of them together run `jobs` at once.
    /// Dropping the stream ends the children.
    pub(crate) fn in_order<'a, T: 'a, F: Future + 'a>(
        &self,
        items: impl IntoIterator<Item = T, IntoIter: 'a>,
        work: impl FnMut(T) -> F + 'a,
    ) -> impl Stream<Item = F::Output> + 'a {
        stream::iter(items).map(work).buffered(self.jobs * AHEAD)
    }

    /// Runs one plan in a child of its own.
    ///
    /// # Errors
    /// When no child can be started, or none that speaks.
    pub(crate) async fn run_one(
        &self,
        plan: Plan,
        wish: &Wish,
    ) -> Result<PlanAnswer, CommandFailure> {
        let mut answers = self.run(vec![plan], wish).await?;
        Ok(answers.pop().expect("there is an answer for every plan"))
    }

    /// Runs `plans` in one child, or in as many as it takes.
    ///
    /// # Errors
    /// As [`Pool::run_one`].
    pub(crate) async fn run(
        &self,
        plans: Vec<Plan>,
        wish: &Wish,
    ) -> Result<Vec<PlanAnswer>, CommandFailure> {
        let alone = plans.len() == 1;
        if alone && wish.may_hang {
            let plan = plans.into_iter().next().expect("there is one");
            return Ok(vec![self.on_record(plan, wish, None).await?]);
        }
        let (started, count) = (Instant::now(), plans.len());
        let mut answers = Vec::with_capacity(plans.len());
        let mut request = ChildRequest {
            plans,
            keep: wish.keep,
            listen: wish.listen.clone(),
            mirror: None,
        };
        while !request.plans.is_empty() {
            let (replies, end) = self.child(&request).await?;
            let done: Vec<_> = request.plans.drain(..replies.len()).collect();
            answers.extend(
                done.into_iter()
                    .zip(replies)
                    .map(|(plan, reply)| answer(plan, reply, alone)),
            );
            if request.plans.is_empty() {
                break;
            }
            let culprit = request.plans.remove(0);
            answers.push(match end {
                ChildEnd::Died(how) if alone => died(culprit, how),
                ChildEnd::Died(_) => Box::pin(self.run_one(culprit, wish)).await?,
                ChildEnd::Hung(how) => self.on_record(culprit, wish, Some(how)).await?,
            });
        }
        #[expect(clippy::cast_precision_loss, reason = "a handful of plans")]
        let share = started.elapsed().as_secs_f64() / count as f64;
        for answer in &mut answers {
            answer.seconds = share;
        }
        Ok(answers)
    }

    /// Runs a plan alone and with everything it does on record, so that something is left if it hangs. With how it hung
    /// before, if it did.
    async fn on_record(
        &self,
        plan: Plan,
        wish: &Wish,
        before: Option<String>,
    ) -> Result<PlanAnswer, CommandFailure> {
        let mirror = tempfile::NamedTempFile::new()?;
        let request = ChildRequest {
            plans: vec![plan.clone()],
            keep: wish.keep,
            listen: wish.listen.clone(),
            mirror: Some(mirror.path().to_owned()),
        };
        let (mut replies, end) = self.child(&request).await?;
        if let Some(reply) = replies.pop() {
            let mut answer = answer(plan, reply, true);
            answer.differs = before.map(|how| format!("it {how}, and ended the second time"));
            return Ok(answer);
        }
        let text = std::fs::read_to_string(mirror.path())?;
        let records = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        Ok(match end {
            ChildEnd::Died(how) => died(plan, how),
            ChildEnd::Hung(how) => endless(plan, records, &how),
        })
    }
}

fn answer(plan: Plan, reply: ChildReply, alone: bool) -> PlanAnswer {
    PlanAnswer {
        alone,
        prints: reply.prints.clone(),
        cpu: Duration::from_micros(reply.cpu_us),
        outcome: reply.into_outcome(plan),
        differs: None,
        seconds: 0.0,
    }
}

/// What is to be said of a plan whose child died.
fn died(plan: Plan, how: String) -> PlanAnswer {
    let ran = Ran {
        panic: Some(how),
        ..Ran::default()
    };
    without_reply(run::unjudged(plan, ran))
}

/// What is to be said of a plan that had to be ended.
fn endless(plan: Plan, records: Vec<Record>, how: &str) -> PlanAnswer {
    let last = records.last();
    let simulated = last.map_or(Micros(0), history::time);
    let story = format!("{how}; the last event is of {simulated}");
    let violation = Violation {
        invariant: Invariant::Liveness,
        at: simulated,
        task: None,
        op: None,
        story,
        record: records.len().saturating_sub(1),
    };
    let mut outcome = run::unjudged(
        plan,
        Ran {
            records,
            simulated,
            ..Ran::default()
        },
    );
    outcome.verdict = Verdict {
        violations: vec![violation],
        ..Verdict::default()
    };
    without_reply(outcome)
}

/// The answer for a plan that was alone in its child and got no reply.
fn without_reply(outcome: RunOutcome) -> PlanAnswer {
    PlanAnswer {
        outcome,
        prints: None,
        differs: None,
        alone: true,
        seconds: 0.0,
        cpu: Duration::ZERO,
    }
}
