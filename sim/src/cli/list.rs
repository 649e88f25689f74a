//! `leasebridge-sim list`: the scenarios, and what each is about.

use std::path::PathBuf;

use leasebridge_sim::oracle::Class;

use super::exit::CommandResult;
use super::table::{Column, render};
use super::{files, out};

/// Lists the scenarios.
pub(crate) fn run(folder: Option<PathBuf>) -> CommandResult {
    let scenarios = files::scenarios(&[], folder)?;
    let rows = scenarios.into_iter().map(|scenario| {
        let world = format!("{:?}", scenario.speed).to_lowercase();
        vec![
            scenario.name,
            world,
            scenario.duration.to_string(),
            scenario.summary,
        ]
    });
    let columns = [
        Column::Text("SCENARIO"),
        Column::Text("WORLD"),
        Column::Number("DURATION"),
        Column::Text("ABOUT"),
    ];
    out::print(&render(&columns, rows.collect()))?;
    Ok(Class::Pass)
}
