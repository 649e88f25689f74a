//! What the hunt came to, as a table.

use leasebridge::planted::Bug;

use crate::cli::table::{Column, render};
use crate::explore::{kind, words};
use crate::pool::PlanAnswer;

/// One hunt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hunt {
    /// Seeds until it was found, or given up.
    pub(super) seeds: u64,
    /// Whether it was found.
    pub(super) found: bool,
}

impl Hunt {
    /// One in which it wasn't found is longer than all others.
    fn length(self) -> (bool, u64) {
        (!self.found, self.seeds)
    }

    fn cell(self) -> String {
        let more = if self.found { "" } else { "> " };
        format!("{more}{}", self.seeds)
    }
}

/// A planted defect, and what the hunt for it came to.
pub(super) struct Row {
    bug: Bug,
    /// How it was found first.
    pub(super) found: Option<PlanAnswer>,
    /// How each hunt went.
    pub(super) hunts: Vec<Hunt>,
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
            hunts: Vec::new(),
            seconds: 0.0,
            size: None,
        }
    }

    /// The row as lines of their own, for those who wait: what gave it away, or what it is that nobody saw.
    pub(super) fn line(&self) -> String {
        let cells = self.cells();
        let head = format!(
            "{}: {}, {} seeds, {} s",
            cells[0], cells[2], cells[4], cells[6]
        );
        match self.found.as_ref() {
            None => format!("{head}\n  nobody saw it: {}", self.bug.how()),
            Some(answer) => format!("{head}\n  {}", story(answer)),
        }
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
            self.hunts
                .first()
                .map_or("-".to_owned(), |hunt| hunt.cell()),
            self.median(),
            format!("{:.1}", self.seconds),
            size(self.size.map(|(faults, _)| faults)),
            size(self.size.map(|(_, ops)| ops)),
        ]
    }

    /// The median over all hunts; one in which it wasn't found counts as the longest.
    fn median(&self) -> String {
        let mut hunts = self.hunts.clone();
        hunts.sort_unstable_by_key(|hunt| hunt.length());
        let median = hunts.get(hunts.len() / 2);
        median.map_or("-".to_owned(), |hunt| hunt.cell())
    }
}

/// What the first violation says, or how the process died.
fn story(answer: &PlanAnswer) -> &str {
    let outcome = &answer.outcome;
    let violation = outcome.verdict.violations.first();
    let story = violation.map(|violation| violation.story.as_str());
    let told = story.or(outcome.panic.as_deref());
    told.or(answer.differs.as_deref()).unwrap_or_default()
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
