//! `leasebridge-sim run` and `replay`: one plan, told in full.

use std::path::PathBuf;
use std::time::Duration;

use leasebridge_sim::history::{self, HISTORY_FORMAT, Header};
use leasebridge_sim::plan::Plan;
use leasebridge_sim::report;
use leasebridge_sim::report::timeline::Show;
use leasebridge_sim::run::Outcome;

use super::args::{Format, Outputs, PoolArgs, ReplayArgs, RunArgs};
use super::exit::{Ended, Failure};
use super::{files, out};
use crate::child::protocol::Keep;
use crate::pool::{Answer, Pool, Wish};

/// Runs one seed of a scenario.
pub(crate) async fn scenario(args: RunArgs, folder: Option<PathBuf>) -> Ended {
    let scenario = files::scenario(&args.scenario, folder)?;
    let again = format!("cargo sim run {} {}", args.scenario, args.seed);
    one(scenario.draw(args.seed), &again, &args.outputs, &args.pool).await
}

/// Runs a saved plan.
pub(crate) async fn replay(args: ReplayArgs) -> Ended {
    let again = format!("cargo sim replay {}", args.plan.display());
    one(files::plan(&args.plan)?, &again, &args.outputs, &args.pool).await
}

/// The children as they were asked for.
pub(crate) fn pool(args: &PoolArgs) -> Result<Pool, Failure> {
    let mut pool = Pool::of_this_program(args.jobs)?;
    pool.budget = Duration::from_secs(args.budget);
    Ok(pool)
}

/// Runs one plan; `again` is the command that does so.
async fn one(plan: Plan, again: &str, outputs: &Outputs, pool_args: &PoolArgs) -> Ended {
    if let Some(file) = &outputs.plan_out {
        files::write(file, plan.to_toml().as_bytes())?;
    }
    let wish = Wish {
        keep: Keep::Everything,
        ..Wish::default()
    };
    let answer = pool(pool_args)?.run_one(plan, &wish).await?;
    if let Some(file) = &outputs.history_out {
        files::write(file, &history_text(&answer.outcome)?)?;
    }
    if let Some(file) = &outputs.timeline {
        files::write(file, report::html::html(&answer.outcome, again).as_bytes())?;
    }
    if let Some(file) = &outputs.trace {
        files::write(file, report::perfetto::perfetto(&answer.outcome).as_bytes())?;
    }
    let ended = ended(&answer, again);
    out::print(&match outputs.format {
        Format::Human => told(
            &answer.outcome,
            if outputs.short {
                Show::Around
            } else {
                Show::All
            },
        ),
        Format::Jsonl => report::machine::json_line(&ended),
        Format::Junit => report::machine::junit(&[ended]),
        Format::Github => report::machine::github(&ended).unwrap_or_default(),
    })?;
    Ok(answer.class())
}

/// All there is to say of a run, for people.
fn told(outcome: &Outcome, show: Show) -> String {
    let plan = report::plan::summary(&outcome.plan);
    let timeline = report::timeline::timeline(outcome, show);
    let verdict = report::verdict::verdict(outcome);
    format!("{plan}\n{timeline}\n{verdict}")
}

/// As much of an answer as a CI system wants; `again` is the command that shows it again.
pub(crate) fn ended(answer: &Answer, again: &str) -> report::machine::Ended {
    let outcome = &answer.outcome;
    let first = outcome.verdict.violations.first();
    let story = first.map(|violation| violation.story.clone());
    report::machine::Ended {
        scenario: outcome.plan.scenario.clone(),
        seed: outcome.plan.seed,
        class: answer.class(),
        invariant: first.map(|violation| violation.invariant),
        story: outcome
            .panic
            .clone()
            .or(story)
            .or_else(|| answer.differs.clone()),
        reproduce: again.to_owned(),
        seconds: answer.seconds,
    }
}

/// The history of a run as a file.
///
/// # Errors
/// When a record has no form as JSON.
pub(crate) fn history_text(outcome: &Outcome) -> Result<Vec<u8>, Failure> {
    let header = Header {
        history: HISTORY_FORMAT,
        source: "sim".to_owned(),
        host: None,
    };
    let mut text = Vec::new();
    history::write(&mut text, &header, &outcome.records)?;
    Ok(text)
}
