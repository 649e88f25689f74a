//! What the hunt came to, as a table.

use leasebridge::planted::Bug;

use crate::cli::table::{Column, render};
use crate::explore::{kind, words};
use crate::pool::PlanAnswer;

/// A planted defect, and what the hunt for it came to.
pub(super) struct Row {
    bug: Bug,
    /// How it was found first.
    pub(super) found: Option<PlanAnswer>,
    /// For each hunt, in how many seeds it was found, if it was.
    pub(super) seeds: Vec<Option<u64>>,
    /// Real time until it was found first.
    pub(super) seconds: f64,
    /// Faults and operations of the smallest plan that shows it.
    pub(super) size: Option<(usize, usize)>,
}

impl Row {
    /// A bug that nobody has hunted for yet.
    pub(super) fn of(bug: Bug) -> Self {
        Self {
            bug,
            found: None,
            seeds: Vec::new(),
            seconds: 0.0,
            size: None,
        }
    }

    /// The row as a line of its own, for those who wait.
    pub(super) fn line(&self) -> String {
        let cells = self.cells();
        format!(
            "{}: {}, {} seeds, {} s",
            cells[0], cells[2], cells[4], cells[6]
        )
    }

    fn cells(&self) -> Vec<String> {
        let found = self.found.as_ref();
        let size =
            |number: Option<usize>| number.map_or("-".to_owned(), |number| number.to_string());
        vec![
            self.bug.name().to_owned(),
            self.bug.module().to_owned(),
            found.map_or("NOT FOUND".to_owned(), |answer| words(kind(answer))),
            found.map_or("-".to_owned(), |answer| {
                answer.outcome.plan.scenario.clone()
            }),
            self.seeds
                .first()
                .copied()
                .flatten()
                .map_or("-".to_owned(), |seeds| seeds.to_string()),
            self.median(),
            format!("{:.1}", self.seconds),
            size(self.size.map(|(faults, _)| faults)),
            size(self.size.map(|(_, ops)| ops)),
        ]
    }

    /// The median over all hunts; one in which it wasn't found counts as the longest.
    fn median(&self) -> String {
        let mut seeds: Vec<_> = self
            .seeds
            .iter()
            .map(|seeds| seeds.unwrap_or(u64::MAX))
            .collect();
        seeds.sort_unstable();
        match seeds.get(seeds.len() / 2) {
            Some(&seeds) if seeds < u64::MAX => seeds.to_string(),
            _ => "-".to_owned(),
        }
    }
}

/// All rows, and the medians of what was shrunk.
pub(super) fn table(rows: &[Row]) -> String {
    let columns = [
        Column::Text("BUG"),
        Column::Text("IN"),
        Column::Text("FOUND BY"),
        Column::Text("SCENARIO"),
        Column::Number("SEEDS"),
        Column::Number("MEDIAN"),
        Column::Number("SECONDS"),
        Column::Number("FAULTS"),
        Column::Number("OPS"),
    ];
    let text = render(&columns, rows.iter().map(Row::cells).collect());
    let median = |mut sizes: Vec<usize>| {
        sizes.sort_unstable();
        sizes
            .get(sizes.len() / 2)
            .map_or("-".to_owned(), ToString::to_string)
    };
    let sizes: Vec<_> = rows.iter().filter_map(|row| row.size).collect();
    let faults = median(sizes.iter().map(|(faults, _)| *faults).collect());
    let ops = median(sizes.iter().map(|(_, ops)| *ops).collect());
    format!("{text}\n\nshrunk to {faults} faults and {ops} operations in the median")
}
