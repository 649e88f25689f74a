//! A failure as a person wants it: what, when, why, and the one command that shows it again.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use leasebridge_sim::oracle::Class;
use leasebridge_sim::plan::Plan;
use leasebridge_sim::report;
use leasebridge_sim::report::timeline::Show;
use leasebridge_sim::shrink::{Failing, Goal, Limits, Shrunk, shrink};
use tokio::runtime::Handle;

use super::files;
use crate::child::protocol::Keep;
use crate::explore::{again, kind, words};
use crate::failure::CommandFailure;
use crate::pool::{PlanAnswer, Pool, Wish};
use crate::stop::{StopSignal, StopSignals};

/// Candidates that an automatic search may run.
const RUNS_MAX: u32 = 1_000;
/// How long a search may take: a backstop, behind the number of its runs.
const SEARCH_MAX: Duration = Duration::from_secs(180);

/// Tells of `answer`; with a pool also of the smallest plan that fails like it, which it saves in `folder`. And of the
/// signal that ended the search for it, if one did.
///
/// # Errors
/// When children can't be started, or the plan can't be saved.
pub(crate) async fn tell(
    answer: &PlanAnswer,
    pool: Option<&Pool>,
    folder: &Path,
) -> Result<(String, Option<StopSignal>), CommandFailure> {
    let mut stopped = None;
    let plan = &answer.outcome.plan;
    let mut text = format!("\n== {}\n", head(answer));
    if let Some(differs) = &answer.differs {
        writeln!(text, "two runs of the same plan: {differs}").expect("a String takes everything");
    }
    let goal = Goal::of(&answer.outcome);
    let mut shown = answer.clone();
    let mut file = place(answer, folder);
    if let (Some(pool), Some(goal)) = (pool, goal) {
        let (small, signal) = search(plan.clone(), answer, goal, RUNS_MAX, pool).await?;
        stopped = signal;
        let wish = Wish {
            keep: Keep::Everything,
            ..Wish::default()
        };
        shown = pool.run_one(small.plan.clone(), &wish).await?;
        writeln!(text, "{}", came_to(plan, &small)).expect("a String takes everything");
        file.set_extension("small.toml");
        text.push_str(&report::plan::summary(&small.plan));
    }
    if !shown.outcome.records.is_empty() {
        text.push_str(&report::timeline::timeline(&shown.outcome, Show::Around));
    }
    text.push_str(&report::verdict::verdict(&shown.outcome));
    files::write(&file, shown.outcome.plan.to_toml().as_bytes())?;
    writeln!(text, "reproduce: {}", replay(&file)).expect("a String takes everything");
    writeln!(text, "as found:  {}", again(answer)).expect("a String takes everything");
    Ok((text, stopped))
}

/// What failed, in a line.
pub(crate) fn head(answer: &PlanAnswer) -> String {
    let plan = &answer.outcome.plan;
    let words = words(kind(answer));
    format!("{words}: scenario {}, seed {}", plan.scenario, plan.seed)
}

/// The command that shows a saved plan again.
pub(crate) fn replay(file: &Path) -> String {
    format!("cargo sim replay {}", file.display())
}

/// Saves the plan as it was found, before anything else is tried with it: whatever ends the program, it is not lost.
///
/// # Errors
/// When it can't be written.
pub(crate) fn save(answer: &PlanAnswer, folder: &Path) -> Result<PathBuf, CommandFailure> {
    let file = place(answer, folder);
    files::write(&file, answer.outcome.plan.to_toml().as_bytes())?;
    Ok(file)
}

/// Where a failure's plan is saved.
fn place(answer: &PlanAnswer, folder: &Path) -> PathBuf {
    let plan = &answer.outcome.plan;
    folder.join(format!("{}-{}.toml", plan.scenario, plan.seed))
}

/// What a search came to, in a line.
pub(crate) fn came_to(plan: &Plan, small: &Shrunk) -> String {
    let cut_short = if small.cut_short { ", cut short" } else { "" };
    format!(
        "shrunk from {} faults and {} operations to {} and {} in {} runs{cut_short}",
        plan.faults.len(),
        plan.ops.len(),
        small.plan.faults.len(),
        small.plan.ops.len(),
        small.runs
    )
}

/// The smallest plan that fails like `answer`. A signal ends the search with what it has, and is told.
///
/// # Errors
/// When children can't be started.
pub(crate) async fn search(
    plan: Plan,
    answer: &PlanAnswer,
    goal: Goal,
    runs: u32,
    pool: &Pool,
) -> Result<(Shrunk, Option<StopSignal>), CommandFailure> {
    let mut signals = StopSignals::listen()?;
    let stop = Arc::new(AtomicBool::new(false));
    let failing = failing(answer);
    let (pool, stopped, handle) = (pool.clone(), Arc::clone(&stop), Handle::current());
    let until = Instant::now() + SEARCH_MAX;
    // The search is plain code that waits for its candidates: a thread of its own may do so.
    let mut searching = tokio::task::spawn_blocking(move || {
        let mut broken = None;
        let small = shrink(
            plan,
            failing,
            Limits { runs },
            &mut |candidates: &[Plan]| {
                if stopped.load(Ordering::Relaxed) || Instant::now() >= until {
                    return None;
                }
                match handle.block_on(run_all(&pool, candidates, goal)) {
                    Ok(results) => Some(results),
                    Err(failure) => {
                        broken = Some(failure);
                        None
                    }
                }
            },
        );
        broken.map_or(Ok(small), Err)
    });
    let (joined, signal) = tokio::select! {
        joined = &mut searching => (joined, None),
        signal = signals.next() => {
            stop.store(true, Ordering::Relaxed);
            (searching.await, Some(signal))
        }
    };
    Ok((joined.map_err(CommandFailure::because)??, signal))
}

fn failing(answer: &PlanAnswer) -> Failing {
    Failing {
        violation: answer.outcome.verdict.violations.first().cloned(),
    }
}

async fn run_all(
    pool: &Pool,
    candidates: &[Plan],
    goal: Goal,
) -> Result<Vec<Option<Failing>>, CommandFailure> {
    let wish = Wish {
        may_hang: goal.class == Class::Liveness,
        ..Wish::default()
    };
    let answers = pool.in_order(candidates.to_vec(), |plan| pool.run_one(plan, &wish));
    let answers: Vec<_> = answers.collect().await;
    let results = answers.into_iter().map(|answer| {
        let answer = answer?;
        Ok(goal.is_met(&answer.outcome).then(|| failing(&answer)))
    });
    results.collect()
}
