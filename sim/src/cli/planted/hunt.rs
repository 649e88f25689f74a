//! The hunt: scenario by scenario, seed by seed, until the bug shows.
//!
//! Each scenario of the bug's group has a turn before any has two, and then they share the processor time: so the number of seeds says how
//! hard a bug is to find for somebody who doesn't know it. A seed that fails without the bug as well doesn't count.

use std::iter;
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use leasebridge::planted::{ALL, Bug};
use leasebridge_sim::oracle::Class;
use leasebridge_sim::plan::{Plan, Speed};
use leasebridge_sim::scenario::Scenario;
use leasebridge_sim::seed::Seed;
use leasebridge_sim::shrink::{Goal, Shrunk};

use super::table::{Hunt, Row, table};
use crate::child::protocol::CHOSEN;
use crate::cli::args::PlantedArgs;
use crate::cli::exit::CommandResult;
use crate::cli::{files, out, story};
use crate::explore::once;
use crate::explore::turns::Turns;
use crate::failure::CommandFailure;
use crate::pool::{PlanAnswer, Pool, Wish};
use crate::stop::StopSignals;

/// Seeds of a scenario of the core loop that are looked at together. They are cheap.
const CORE_AT_ONCE: u64 = 8;
/// A planted bug may well hang: it is given up sooner than elsewhere.
const BUDGET: Duration = Duration::from_secs(20);
/// Candidates that a search for a small plan may run.
const RUNS_MAX: u32 = 600;
/// How far apart the seeds of two hunts for the same bug are.
const REPEAT_STRIDE: u64 = 1_000_000;

/// Bugs that show in worlds of one kind alone, and the scenarios that have them: there is no point in looking elsewhere.
const GROUPS: [(&[Bug], &[&str]); 2] = [
    (
        &[
            Bug::PatienceFromQueued,
            Bug::WindowBytesIgnored,
            Bug::WhoFitsGoesFirst,
            Bug::ReceivedToldToNobody,
        ],
        &["slow_line", "slow_link"],
    ),
    (
        &[
            Bug::SilenceHasNoEnd,
            Bug::PlaceKept,
            Bug::UnacceptedBytesKept,
            Bug::HelloNeverDue,
            Bug::TombstonesOutliveLink,
        ],
        &["greedy_peers"],
    ),
];

/// The scenarios of a bug's group; all that are given if it has none, or none of them is given.
fn group(bug: Bug, scenarios: &[Scenario]) -> Vec<Scenario> {
    let names = GROUPS
        .iter()
        .find(|(bugs, _)| bugs.contains(&bug))
        .map_or(&[][..], |(_, names)| names);
    let of: Vec<_> = scenarios
        .iter()
        .filter(|scenario| names.contains(&scenario.name.as_str()))
        .cloned()
        .collect();
    if of.is_empty() {
        scenarios.to_vec()
    } else {
        of
    }
}

/// Hunts for every bug that was asked for, and prints a row as soon as it is complete.
pub(super) async fn run(args: PlantedArgs, folder: Option<PathBuf>) -> CommandResult {
    let scenarios = files::scenarios(&args.within, folder)?;
    let bugs = bugs(&args)?;
    let mut rows = Vec::new();
    let mut signals = StopSignals::listen()?;
    let mut stopped = None;
    for bug in &bugs {
        let group = group(*bug, &scenarios);
        let hunted = tokio::select! {
            biased;
            signal = signals.next() => {
                stopped = Some(signal);
                break;
            }
            row = hunt_often(*bug, &args, &group) => row?,
        };
        out::complain(&hunted.line());
        rows.push(hunted);
    }
    out::print(&table(&rows))?;
    let missed = rows.iter().filter(|row| row.found.is_none()).count();
    out::print(&format!(
        "{} of {} bugs found",
        rows.len() - missed,
        bugs.len()
    ))?;
    match (missed, stopped) {
        (1.., _) => Ok(Class::Coverage),
        (0, Some(signal)) => Err(CommandFailure::Stopped(signal)),
        (0, None) => Ok(Class::Pass),
    }
}

/// Which bugs are hunted for.
fn bugs(args: &PlantedArgs) -> Result<Vec<Bug>, CommandFailure> {
    if let Some(part) = args.part {
        return Ok(part.of(ALL).copied().collect());
    }
    if args.only.is_empty() {
        return Ok(ALL.to_vec());
    }
    let named = |name: &String| {
        let found = ALL.iter().copied().find(|bug| bug.name() == name);
        found.ok_or_else(|| {
            let names: Vec<_> = ALL.iter().map(|bug| bug.name()).collect();
            CommandFailure::from(format!(
                "there is no planted bug `{name}`; there are: {}",
                names.join(", ")
            ))
        })
    };
    args.only.iter().map(named).collect()
}

/// Hunts for a bug as often as asked; the first hunt's plan is shrunk.
async fn hunt_often(
    bug: Bug,
    args: &PlantedArgs,
    scenarios: &[Scenario],
) -> Result<Row, CommandFailure> {
    let mut pool = args.pool.pool()?;
    pool.budget = BUDGET.min(pool.budget);
    pool.env.push((CHOSEN.into(), bug.name().into()));
    let started = Instant::now();
    let mut row = Row::of(bug);
    for hunt in 0..u64::from(args.repeat) {
        let from = Seed(args.seed_from.0.wrapping_add(hunt * REPEAT_STRIDE));
        let (seeds, found) = hunt_once(&pool, scenarios, from, args.seeds).await?;
        row.hunts.push(Hunt {
            seeds,
            found: found.is_some(),
        });
        if row.found.is_none() {
            row.found = found;
            row.seconds = started.elapsed().as_secs_f64();
        }
    }
    if let Some(found) = row.found.clone() {
        let plan = small_plan(&pool, args, &found, &mut row).await?;
        files::write(
            &args.plans.join(format!("{}.toml", bug.name())),
            plan.to_toml().as_bytes(),
        )?;
    }
    Ok(row)
}

/// The smallest plan that shows the bug, or the one that was found.
async fn small_plan(
    pool: &Pool,
    args: &PlantedArgs,
    found: &PlanAnswer,
    row: &mut Row,
) -> Result<Plan, CommandFailure> {
    let plan = found.outcome.plan.clone();
    let (Some(goal), false) = (Goal::of(&found.outcome), args.no_shrink) else {
        return Ok(plan);
    };
    let (Shrunk { plan, .. }, _) = story::search(plan, found, goal, RUNS_MAX, pool).await?;
    row.size = Some((plan.faults.len(), plan.ops.len()));
    Ok(plan)
}

/// The number of the first seed that fails, counted over all scenarios, and how it fails.
async fn hunt_once(
    pool: &Pool,
    scenarios: &[Scenario],
    from: Seed,
    seeds_max: u64,
) -> Result<(u64, Option<PlanAnswer>), CommandFailure> {
    let turns = Turns::of(scenarios.len());
    let handed_out = iter::from_fn(|| {
        let (scenario, seeds) = turns.next(|scenario| at_once(&scenarios[scenario]))?;
        Some((scenario, draw(&scenarios[scenario], from, seeds)))
    });
    let results = pool.in_order(handed_out, |(scenario, plans)| async move {
        Ok::<_, CommandFailure>((scenario, once(pool, plans).await?))
    });
    let mut results = std::pin::pin!(results);
    let mut seeds = 0;
    while let Some(result) = results.next().await {
        let (scenario, answers) = result?;
        turns.took(scenario, answers.iter().map(|answer| answer.cpu).sum());
        for answer in answers {
            seeds += 1;
            if answer.class() != Class::Pass && is_guilty(pool, &answer).await? {
                return Ok((seeds, Some(answer)));
            }
            if seeds >= seeds_max {
                return Ok((seeds, None));
            }
        }
    }
    Ok((seeds, None))
}

/// Whether the plan passes without the bug.
async fn is_guilty(pool: &Pool, answer: &PlanAnswer) -> Result<bool, CommandFailure> {
    let mut innocent = pool.beside();
    innocent.env.retain(|(name, _)| name != CHOSEN);
    let without = innocent
        .run_one(answer.outcome.plan.clone(), &Wish::default())
        .await?;
    Ok(without.class() == Class::Pass)
}

/// How many seeds of a scenario are looked at together.
fn at_once(scenario: &Scenario) -> u64 {
    match scenario.speed {
        Speed::Core => CORE_AT_ONCE,
        Speed::Full => 1,
    }
}

/// The plans of a scenario's turn.
fn draw(scenario: &Scenario, from: Seed, seeds: Range<u64>) -> Vec<Plan> {
    seeds
        .map(|at| scenario.draw(Seed(from.0.wrapping_add(at))))
        .collect()
}
