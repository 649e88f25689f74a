//! `leasebridge-sim explore`: many seeds of every scenario, and what failed among them.

use std::path::PathBuf;

use leasebridge_sim::oracle::Class;
use leasebridge_sim::report::machine;
use serde_json::json;

use super::args::{ExploreArgs, OutputFormat};
use super::exit::{CommandResult, worst};
use super::{explored as tables, files, out, story};
use crate::explore::progress::ExplorationProgress;
use crate::explore::{Exploration, ExplorationEnd, Explored, coverage};
use crate::failure::CommandFailure;

/// Explores, reports, shrinks.
pub(crate) async fn run(args: ExploreArgs, folder: Option<PathBuf>) -> CommandResult {
    let all = args.names.is_empty();
    let scenarios = files::scenarios(&args.names, folder)?;
    let pool = args.pool.pool()?;
    let exploration = Exploration {
        scenarios: &scenarios,
        from: args.seed_from,
        seeds: args.seeds,
        pool: &pool,
        fail_fast: !args.no_fail_fast,
        each: args.format != OutputFormat::Human || args.junit.is_some(),
    };
    let asked = args.seeds.saturating_mul(scenarios.len() as u64);
    let progress = ExplorationProgress::new(asked, args.format != OutputFormat::Human);
    let explored = exploration.run(&progress).await?;
    progress.finish();
    if let Some(file) = &args.junit {
        files::write(file, machine::junit(&explored.ended).as_bytes())?;
    }
    let holes = coverage::holes(&explored, &scenarios, all);
    match args.format {
        OutputFormat::Human => summary(&explored, asked, &holes, &progress)?,
        OutputFormat::Jsonl => {
            let lines: String = explored.ended.iter().map(machine::json_line).collect();
            out::print(&(lines + &jsonl(&explored, &holes)))?;
        }
        OutputFormat::Junit => out::print(&machine::junit(&explored.ended))?,
        OutputFormat::Github => {
            let lines: String = explored.ended.iter().filter_map(machine::github).collect();
            out::print(&lines)?;
        }
    }
    if args.sites {
        out::print(&format!("\n{}", tables::sites(&explored.tallies)))?;
    }
    for answer in explored.failures.values() {
        let small =
            (!args.no_shrink && explored.end != ExplorationEnd::Interrupted).then_some(&pool);
        let told = story::tell(answer, small, &args.failures).await?;
        if args.format == OutputFormat::Human {
            out::print(&told)?;
        } else {
            out::complain(&told);
        }
    }
    let failures = explored.failures.keys().map(|(class, _)| *class);
    let holes = holes.first().map(|_| Class::Coverage);
    match worst(failures.chain(holes)) {
        Class::Pass if explored.end == ExplorationEnd::Interrupted => {
            Err(CommandFailure::Interrupted)
        }
        class => Ok(class),
    }
}

fn summary(
    explored: &Explored,
    asked: u64,
    holes: &[String],
    progress: &ExplorationProgress,
) -> Result<(), CommandFailure> {
    out::print(&tables::table(&explored.tallies))?;
    let seeds: u64 = explored.tallies.iter().map(|tally| tally.seeds).sum();
    let (seconds, simulated) = (progress.seconds(), progress.simulated().as_secs_f64());
    #[expect(clippy::cast_precision_loss, reason = "shown to people")]
    let rate = seeds as f64 / seconds;
    out::print(&format!(
        "\n{seeds} seeds in {seconds:.1} s: {rate:.1} seeds/s, {:.0} simulated s/s",
        simulated / seconds
    ))?;
    match explored.end {
        ExplorationEnd::All => {}
        ExplorationEnd::AtFailures => out::print(&format!(
            "ended at the first failures of {asked} seeds; `--no-fail-fast` runs them all"
        ))?,
        ExplorationEnd::Interrupted => out::print("interrupted: this is what ran so far")?,
    }
    let never: Vec<_> = coverage::never_reached(&explored.tallies).collect();
    if explored.end == ExplorationEnd::All && !never.is_empty() {
        let of = leasebridge::coverage::SITES.len();
        out::print(&format!(
            "never reached, {} of {of} sites: {}",
            never.len(),
            never.join(", ")
        ))?;
    }
    for hole in holes {
        out::print(&format!("coverage: {hole}"))?;
    }
    Ok(())
}

/// A line for each scenario, and one for each hole.
fn jsonl(explored: &Explored, holes: &[String]) -> String {
    let tallies = explored.tallies.iter().map(|tally| {
        json!({
            "scenario": tally.scenario,
            "seeds": tally.seeds,
            "simulated_us": tally.simulated.0,
            "faults": tally.faults.iter().map(|(family, count)| (json!(family).to_string(), *count))
                .collect::<std::collections::BTreeMap<_, _>>(),
            "struck": tally.struck,
            "checks": tally.checks,
            "reached": tally.reached,
            "missed": tally.missed().collect::<Vec<_>>(),
            "failures": tally.failures,
        })
    });
    let holes = holes.iter().map(|hole| json!({ "coverage": hole }));
    tallies
        .chain(holes)
        .map(|line| format!("{line}\n"))
        .collect()
}
