//! `leasebridge-sim explore`

use std::path::PathBuf;

use leasebridge_sim::oracle::Class;
use leasebridge_sim::report::machine;
use serde_json::json;

use super::args::{ExploreArgs, Format};
use super::exit::{Ended, worst};
use super::{explored as tables, files, out, story};
use crate::explore::progress::Progress;
use crate::explore::{End, Exploration, Explored, coverage};
use crate::failure::Failure;

/// Explores, reports, shrinks.
pub(crate) async fn run(args: ExploreArgs, folder: Option<PathBuf>) -> Ended {
    let all = args.names.is_empty();
    let scenarios = files::scenarios(&args.names, folder)?;
    let pool = args.pool.pool()?;
    let exploration = Exploration {
        scenarios: &scenarios,
        from: args.seed_from,
        seeds: args.seeds,
        pool: &pool,
        fail_fast: !args.no_fail_fast,
        each: args.format != Format::Human || args.junit.is_some(),
    };
    let asked = args.seeds.saturating_mul(scenarios.len() as u64);
    let progress = Progress::new(asked, args.format != Format::Human);
    let explored = exploration.run(&progress).await?;
    progress.finish();
    if let Some(file) = &args.junit {
        files::write(file, machine::junit(&explored.ended).as_bytes())?;
    }
    let holes = coverage::holes(&explored, &scenarios, all);
    match args.format {
        Format::Human => summary(&explored, asked, &holes, &progress)?,
        Format::Jsonl => {
            let lines: String = explored.ended.iter().map(machine::json_line).collect();
            out::print(&(lines + &jsonl(&explored, &holes)))?;
        }
        Format::Junit => out::print(&machine::junit(&explored.ended))?,
        Format::Github => {
            let lines: String = explored.ended.iter().filter_map(machine::github).collect();
            out::print(&lines)?;
        }
    }
    if args.sites {
        out::print(&format!("\n{}", tables::sites(&explored.tallies)))?;
    }
    for answer in explored.failures.values() {
        let small = (!args.no_shrink && explored.end != End::Interrupted).then_some(&pool);
        let told = story::tell(answer, small, &args.failures).await?;
        if args.format == Format::Human {
            out::print(&told)?;
        } else {
            out::complain(&told);
        }
    }
    let failures = explored.failures.keys().map(|(class, _)| *class);
    let holes = holes.first().map(|_| Class::Coverage);
    match worst(failures.chain(holes)) {
        Class::Pass if explored.end == End::Interrupted => Err(Failure::Interrupted),
        class => Ok(class),
    }
}

fn summary(
    explored: &Explored,
    asked: u64,
    holes: &[String],
    progress: &Progress,
) -> Result<(), Failure> {
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
        End::All => {}
        End::AtFailures => out::print(&format!(
            "ended at the first failures of {asked} seeds; `--no-fail-fast` runs them all"
        ))?,
        End::Interrupted => out::print("interrupted: this is what ran so far")?,
    }
    let never: Vec<_> = coverage::never_reached(&explored.tallies).collect();
    if explored.end == End::All && !never.is_empty() {
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
