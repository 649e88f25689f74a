//! `leasebridge-sim explore`: many seeds of every scenario, and what failed among them.

use std::path::PathBuf;

use leasebridge_sim::oracle::Class;
use leasebridge_sim::report::machine;
use leasebridge_sim::scenario::Scenario;
use serde_json::json;

use super::args::{ExploreArgs, OutputFormat};
use super::exit::{CommandResult, worst};
use super::{explored as tables, files, out, story};
use crate::explore::progress::ExplorationProgress;
use crate::explore::{Exploration, ExplorationEnd, Explored, Extent, coverage};
use crate::failure::CommandFailure;
use crate::pool::PlanAnswer;

/// Explores, reports, shrinks.
pub(crate) async fn run(args: ExploreArgs, folder: Option<PathBuf>) -> CommandResult {
    let all = args.names.is_empty();
    let scenarios = files::scenarios(&args.names, folder)?;
    let pool = args.pool.pool()?;
    let extent = match args.time {
        Some(time) => Extent::Time(time.as_duration()),
        None => Extent::Seeds(args.seeds),
    };
    let exploration = Exploration {
        scenarios: &scenarios,
        from: args.seed_from,
        extent,
        pool: &pool,
        fail_fast: !args.no_fail_fast,
        each: args.format != OutputFormat::Human || args.junit.is_some(),
    };
    let quiet = args.format != OutputFormat::Human;
    let progress = ExplorationProgress::new(extent, scenarios.len(), quiet);
    let found = |answer: &PlanAnswer| {
        let file = story::save(answer, &args.failures)?;
        progress.tell(&format!(
            "{}
  {}",
            story::head(answer),
            story::replay(&file)
        ));
        Ok(())
    };
    let explored = exploration.run(&progress, found).await?;
    progress.finish();
    if let Some(file) = &args.junit {
        files::write(file, machine::junit(&explored.ended).as_bytes())?;
    }
    let holes = coverage::holes(&explored, &scenarios, all);
    match args.format {
        OutputFormat::Human => summary(&explored, &scenarios, &holes, &progress)?,
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
    let mut stopped = match explored.end {
        ExplorationEnd::Stopped(signal) => Some(signal),
        ExplorationEnd::All | ExplorationEnd::AtFailures => None,
    };
    for answer in explored.failures.values() {
        let small = (!args.no_shrink && stopped.is_none()).then_some(&pool);
        let (told, signal) = story::tell(answer, small, &args.failures).await?;
        stopped = stopped.or(signal);
        if args.format == OutputFormat::Human {
            out::print(&told)?;
        } else {
            out::complain(&told);
        }
    }
    let failures = explored.failures.keys().map(|(class, _)| *class);
    let holes = holes.first().map(|_| Class::Coverage);
    match (worst(failures.chain(holes)), stopped) {
        (Class::Pass, Some(signal)) => Err(CommandFailure::Stopped(signal)),
        (class, _) => Ok(class),
    }
}

fn summary(
    explored: &Explored,
    scenarios: &[Scenario],
    holes: &[String],
    progress: &ExplorationProgress,
) -> Result<(), CommandFailure> {
    out::print(&tables::table(&explored.tallies))?;
    let seeds: u64 = explored.tallies.iter().map(|tally| tally.seeds).sum();
    let (seconds, simulated) = (progress.seconds(), progress.simulated().as_secs_f64());
    #[expect(clippy::cast_precision_loss, reason = "shown to people")]
    let rate = seeds as f64 / seconds;
    out::print(&format!(
        "\n{seeds} seeds in {seconds:.1} s: {rate:.1} seeds/s, {:.0} simulated s/s; {}",
        simulated / seconds,
        tables::shares(&explored.tallies, scenarios)
    ))?;
    match explored.end {
        ExplorationEnd::All => {}
        ExplorationEnd::AtFailures => {
            out::print("ended at the first failures; `--no-fail-fast` goes on")?;
        }
        ExplorationEnd::Stopped(signal) => {
            out::print(&format!("{}: this is what ran so far", signal.word()))?
        }
    }
    let never = coverage::never_reached(&explored.tallies).count();
    if explored.end == ExplorationEnd::All && never > 0 {
        let of = leasebridge::coverage::SITES.len();
        out::print(&format!(
            "{never} of {of} sites were never reached; `--sites` lists all"
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
