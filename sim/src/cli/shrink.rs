//! `leasebridge-sim shrink`: the smallest plan that still fails in the same way.

use leasebridge_sim::report;
use leasebridge_sim::shrink::Goal;

use super::args::ShrinkArgs;
use super::exit::CommandResult;
use super::{files, out, story};
use crate::failure::CommandFailure;
use crate::pool::Wish;

/// Shrinks a plan that fails.
pub(crate) async fn run(args: ShrinkArgs) -> CommandResult {
    let plan = files::plan(&args.plan)?;
    let pool = args.pool.pool()?;
    let answer = pool.run_one(plan.clone(), &Wish::default()).await?;
    let Some(goal) = Goal::of(&answer.outcome) else {
        return Err(CommandFailure::about(
            args.plan.display(),
            "this plan passes: there is nothing to shrink",
        ));
    };
    let (small, _) = story::search(plan.clone(), &answer, goal, args.runs, &pool).await?;
    let file = args
        .output
        .unwrap_or_else(|| args.plan.with_extension("small.toml"));
    files::write(&file, small.plan.to_toml().as_bytes())?;
    out::print(&story::came_to(&plan, &small))?;
    out::print(&report::plan::summary(&small.plan))?;
    out::print(&format!("reproduce: cargo sim replay {}", file.display()))?;
    Ok(answer.class())
}
