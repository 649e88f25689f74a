//! The table at the end of an exploration.

use leasebridge_sim::oracle::Class;
use leasebridge_sim::plan::{Family, Speed};
use leasebridge_sim::scenario::Scenario;

use super::table::{Column, render};
use crate::explore::tally::Tally;

/// The families, in the order of the table.
const FAMILIES: [Family; 7] = [
    Family::Network,
    Family::Host,
    Family::Endpoint,
    Family::Disk,
    Family::Clock,
    Family::Points,
    Family::Strangers,
];

/// What each scenario came to.
pub(crate) fn table(tallies: &[Tally]) -> String {
    let columns = [
        Column::Text("SCENARIO"),
        Column::Number("SEEDS"),
        Column::Number("CPU S"),
        Column::Number("NETWORK"),
        Column::Number("HOST"),
        Column::Number("ENDPOINT"),
        Column::Number("DISK"),
        Column::Number("CLOCK"),
        Column::Number("POINTS"),
        Column::Number("STRANGERS"),
        Column::Number("STRUCK"),
        Column::Number("CHECKS"),
        Column::Number("REACHED"),
        Column::Number("MISSED"),
        Column::Text("FAILED"),
    ];
    let mut rows: Vec<_> = tallies
        .iter()
        .filter(|tally| tally.seeds > 0)
        .map(row)
        .collect();
    if rows.len() > 1 {
        rows.push(row(&total(tallies)));
    }
    render(&columns, rows)
}

/// What the two worlds had of the processor time.
pub(crate) fn shares(tallies: &[Tally], scenarios: &[Scenario]) -> String {
    let of = |speed: Speed| {
        let ours = tallies
            .iter()
            .zip(scenarios)
            .filter(|(_, scenario)| scenario.speed == speed);
        ours.map(|(tally, _)| tally.cpu.as_secs_f64()).sum::<f64>()
    };
    let (core, full) = (of(Speed::Core), of(Speed::Full));
    let share = 100.0 * full / (core + full).max(f64::EPSILON);
    format!(
        "{:.0} s of processor time, {share:.0} % of it in the full stack",
        core + full
    )
}

/// How often each site of the product's catalogue was reached, and by which scenario most.
pub(crate) fn sites(tallies: &[Tally]) -> String {
    let rows = leasebridge::coverage::SITES.iter().map(|site| {
        let counts = tallies
            .iter()
            .filter_map(|tally| Some((*tally.reached.get(site.name())?, tally)));
        let scenarios = counts.clone().count();
        let total: u64 = counts.clone().map(|(count, _)| count).sum();
        let most = counts.max_by_key(|(count, _)| *count);
        vec![
            site.name().to_owned(),
            site.area().to_owned(),
            total.to_string(),
            scenarios.to_string(),
            most.map_or("-".to_owned(), |(_, tally)| tally.scenario.clone()),
        ]
    });
    let columns = [
        Column::Text("SITE"),
        Column::Text("IN"),
        Column::Number("REACHED"),
        Column::Number("SCENARIOS"),
        Column::Text("MOST BY"),
    ];
    render(&columns, rows.collect())
}

fn row(tally: &Tally) -> Vec<String> {
    let mut cells = vec![
        tally.scenario.clone(),
        tally.seeds.to_string(),
        format!("{:.1}", tally.cpu.as_secs_f64()),
    ];
    cells
        .extend(FAMILIES.map(|family| tally.faults.get(&family).copied().unwrap_or(0).to_string()));
    cells.push(tally.struck.to_string());
    cells.push(tally.checks.values().sum::<u64>().to_string());
    cells.push(tally.reached.len().to_string());
    cells.push(tally.missed().count().to_string());
    cells.push(failed(tally));
    cells
}

fn failed(tally: &Tally) -> String {
    let of = |(class, count): (&Class, &u64)| format!("{count} {class:?}").to_lowercase();
    let parts: Vec<_> = tally.failures.iter().map(of).collect();
    if parts.is_empty() {
        "-".to_owned()
    } else {
        parts.join(", ")
    }
}

fn total(tallies: &[Tally]) -> Tally {
    let mut total = Tally {
        scenario: "all".to_owned(),
        ..Tally::default()
    };
    for tally in tallies {
        total.seeds += tally.seeds;
        total.cpu = total.cpu.saturating_add(tally.cpu);
        total.struck += tally.struck;
        for (family, count) in &tally.faults {
            *total.faults.entry(*family).or_default() += count;
        }
        for (invariant, count) in &tally.checks {
            *total.checks.entry(*invariant).or_default() += count;
        }
        for (site, count) in &tally.reached {
            *total.reached.entry(site.clone()).or_default() += count;
        }
        for (class, count) in &tally.failures {
            *total.failures.entry(*class).or_default() += count;
        }
        total.expects.extend(tally.expects.iter().cloned());
    }
    total
}
