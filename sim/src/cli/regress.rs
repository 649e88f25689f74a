//! `leasebridge-sim regress`: replays the plans of `scenarios/regress`, each once the proof of a bug.

use std::path::PathBuf;

use leasebridge_sim::oracle::Class;
use leasebridge_sim::report;

use super::args::RegressArgs;
use super::exit::{CommandResult, worst};
use super::{files, out};
use crate::child::protocol::Keep;
use crate::pool::Wish;

/// Replays every plan.
pub(crate) async fn run(args: RegressArgs, folder: Option<PathBuf>) -> CommandResult {
    let folder = match args.plans {
        Some(given) => files::folder(Some(given))?,
        None => files::folder(folder)?.join("regress"),
    };
    let plans = if folder.is_dir() {
        files::tomls(&folder)?
    } else {
        Vec::new()
    };
    let pool = args.pool.pool()?;
    let wish = Wish {
        keep: Keep::Failures,
        ..Wish::default()
    };
    let mut classes = Vec::new();
    for file in &plans {
        let answer = pool.run_one(files::plan(file)?, &wish).await?;
        let class = answer.class();
        classes.push(class);
        let passed = if class == Class::Pass {
            "passed"
        } else {
            "FAILED"
        };
        out::print(&format!("{passed}  {}", file.display()))?;
        if class != Class::Pass {
            out::print(&report::verdict::verdict(&answer.outcome))?;
        }
    }
    out::print(&format!(
        "{} plans of bugs that were found once",
        plans.len()
    ))?;
    Ok(worst(classes))
}
