//! `leasebridge-sim run` and `replay`: one plan, told in full.

use std::path::PathBuf;
use std::time::Duration;

use leasebridge_sim::history::{self, HISTORY_FORMAT, Header};
use leasebridge_sim::plan::Plan;
use leasebridge_sim::report;
use leasebridge_sim::run::Outcome;

use super::args::{Format, Outputs, PoolArgs, ReplayArgs, RunArgs};
use super::exit::{Ended, Failure};
use super::{files, out};
use crate::child::protocol::Keep;
use crate::pool::{Pool, Wish};

/// Runs one seed of a scenario.
pub(crate) async fn scenario(args: RunArgs, folder: Option<PathBuf>) -> Ended {
    let scenario = files::scenario(&args.scenario, folder)?;
    one(scenario.draw(args.seed), &args.outputs, &args.pool).await
}

/// Runs a saved plan.
pub(crate) async fn replay(args: ReplayArgs) -> Ended {
    one(files::plan(&args.plan)?, &args.outputs, &args.pool).await
}

/// The children as they were asked for.
pub(crate) fn pool(args: &PoolArgs) -> Result<Pool, Failure> {
    let mut pool = Pool::of_this_program(args.jobs)?;
    pool.budget = Duration::from_secs(args.budget);
    Ok(pool)
}

async fn one(plan: Plan, outputs: &Outputs, pool_args: &PoolArgs) -> Ended {
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
    let outcome = &answer.outcome;
    let text = match outputs.format {
        Format::Human => told(outcome),
        Format::Jsonl => report::jsonl(outcome),
        Format::Junit => report::junit(&[outcome]),
        Format::Github => report::github(&[outcome]),
    };
    out::print(&text)?;
    Ok(answer.class())
}

/// All there is to say of a run, for people.
fn told(outcome: &Outcome) -> String {
    let (plan, timeline) = (report::plan(&outcome.plan), report::timeline(outcome));
    let verdict = report::verdict(outcome);
    format!("{plan}\n{timeline}\n{verdict}")
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
