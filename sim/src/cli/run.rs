//! `leasebridge-sim run` and `replay`: one plan, told in full.

use std::path::PathBuf;

use leasebridge_sim::history::{self, HISTORY_FORMAT, Header};
use leasebridge_sim::plan::Plan;
use leasebridge_sim::report;
use leasebridge_sim::report::timeline::Show;
use leasebridge_sim::run::RunOutcome;

use super::args::{OutputFormat, Outputs, PoolArgs, ReplayArgs, RunArgs};
use super::exit::CommandResult;
use super::{files, out};
use crate::child::protocol::Keep;
use crate::failure::CommandFailure;
use crate::pool::Wish;

/// Runs one seed of a scenario.
pub(crate) async fn scenario(args: RunArgs, folder: Option<PathBuf>) -> CommandResult {
    let scenario = files::scenario(&args.scenario, folder)?;
    let again = format!("cargo sim run {} {}", args.scenario, args.seed);
    one(scenario.draw(args.seed), &again, &args.outputs, &args.pool).await
}

/// Runs a saved plan.
pub(crate) async fn replay(args: ReplayArgs) -> CommandResult {
    let again = format!("cargo sim replay {}", args.plan.display());
    one(files::plan(&args.plan)?, &again, &args.outputs, &args.pool).await
}

/// Runs one plan; `again` is the command that does so.
async fn one(plan: Plan, again: &str, outputs: &Outputs, pool_args: &PoolArgs) -> CommandResult {
    if let Some(file) = &outputs.plan_out {
        files::write(file, plan.to_toml().as_bytes())?;
    }
    let wish = Wish {
        keep: Keep::Everything,
        ..Wish::default()
    };
    let answer = pool_args.pool()?.run_one(plan, &wish).await?;
    if let Some(file) = &outputs.history_out {
        files::write(file, &history_text(&answer.outcome)?)?;
    }
    if let Some(file) = &outputs.timeline {
        files::write(file, report::html::html(&answer.outcome, again).as_bytes())?;
    }
    if let Some(file) = &outputs.trace {
        files::write(file, report::perfetto::perfetto(&answer.outcome).as_bytes())?;
    }
    let ended = answer.ended(again);
    out::print(&match outputs.format {
        OutputFormat::Human => told(
            &answer.outcome,
            if outputs.short {
                Show::Around
            } else {
                Show::All
            },
        ),
        OutputFormat::Jsonl => report::machine::json_line(&ended),
        OutputFormat::Junit => report::machine::junit(&[ended]),
        OutputFormat::Github => report::machine::github(&ended).unwrap_or_default(),
    })?;
    Ok(answer.class())
}

/// All there is to say of a run, for people.
fn told(outcome: &RunOutcome, show: Show) -> String {
    let plan = report::plan::summary(&outcome.plan);
    let timeline = report::timeline::timeline(outcome, show);
    let verdict = report::verdict::verdict(outcome);
    format!("{plan}\n{timeline}\n{verdict}")
}

/// The history of a run as a file.
///
/// # Errors
/// When a record has no form as JSON.
pub(crate) fn history_text(outcome: &RunOutcome) -> Result<Vec<u8>, CommandFailure> {
    let header = Header {
        history: HISTORY_FORMAT,
        source: "sim".to_owned(),
        host: None,
    };
    let mut text = Vec::new();
    history::write(&mut text, &header, &outcome.records)?;
    Ok(text)
}
