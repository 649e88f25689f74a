//! `leasebridge-sim bench`: how fast the simulator is on this machine.
//!
//! Times of machines can't be compared, so each figure also stands as a multiple of a fixed loop that is measured in the same
//! run. A change of that ratio is a change of the simulator, or of the product.

mod calibration;
mod work;

use leasebridge_sim::oracle::Class;
use leasebridge_sim::plan::Micros;
use serde_json::json;

use super::args::BenchArgs;
use super::exit::CommandResult;
use super::out;
use super::table::{Column, render};
use crate::failure::CommandFailure;
use work::Figure;

/// Measures everything and prints it.
pub(crate) async fn run(args: BenchArgs) -> CommandResult {
    let pool = args.pool.pool()?;
    let loop_seconds = calibration::seconds()?;
    let mut figures = vec![work::measure(&pool, work::core(), args.core_runs).await?];
    for hosts in [3, 5] {
        for tick_ms in [1, 5, 10] {
            let scenario = work::full(hosts, Micros::from_millis(tick_ms));
            figures.push(work::measure(&pool, scenario, args.seeds).await?);
        }
    }
    if args.json {
        let figures: Vec<_> = figures
            .iter()
            .map(|figure| figure.json(loop_seconds))
            .collect();
        out::print(&json!({ "loop_cpu_seconds": loop_seconds, "figures": figures }).to_string())?;
    } else {
        out::print(&table(&figures, loop_seconds))?;
    }
    let failed: u64 = figures.iter().map(|figure| figure.failed).sum();
    if failed > 0 {
        return Err(CommandFailure::from(format!(
            "{failed} of the measured runs did not pass: explore first"
        )));
    }
    Ok(Class::Pass)
}

fn table(figures: &[Figure], loop_seconds: f64) -> String {
    let columns = [
        Column::Text("WORLD"),
        Column::Number("RUNS"),
        Column::Number("RUNS/S"),
        Column::Number("RUNS/CPU-S"),
        Column::Number("CPU-MS/RUN"),
        Column::Number("COST"),
    ];
    let rows = figures.iter().map(|figure| {
        vec![
            figure.name.clone(),
            figure.runs.to_string(),
            format!("{:.1}", figure.per_second()),
            format!("{:.1}", figure.per_cpu_second()),
            format!("{:.2}", figure.cpu_seconds_each() * 1_000.0),
            format!("{:.3}", figure.cpu_seconds_each() / loop_seconds),
        ]
    });
    let text = render(&columns, rows.collect());
    format!(
        "{text}\n\ncost 1 is the loop: {:.1} ms of processor time",
        loop_seconds * 1_000.0
    )
}
