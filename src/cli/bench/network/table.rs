//! The rounds, their medians, and the table of them.

use serde_json::{Value, json};

use super::producers::ProducerCall;
use crate::cli::bench::report::{median, number};
use crate::cli::exit::CommandFailure;
use crate::cli::out;
use crate::cli::table::{Column, render};

/// BenchSubject one round showed. Times are in ms, processor times in µs a command.
#[derive(Clone, Copy, Debug)]
pub(super) struct NetworkRound {
    pub(super) commands_per_s: f64,
    pub(super) durable_p50_ms: f64,
    pub(super) durable_p99_ms: f64,
    pub(super) executed_p50_ms: f64,
    pub(super) executed_p99_ms: f64,
    pub(super) producers_us: f64,
    /// Of the bridge, or of Redis.
    pub(super) queue_us: f64,
    pub(super) endpoint_us: f64,
}

impl NetworkRound {
    /// In the order of the table's columns.
    fn figures(&self) -> [(&'static str, f64); 8] {
        [
            ("commands_per_s", self.commands_per_s),
            ("durable_p50_ms", self.durable_p50_ms),
            ("durable_p99_ms", self.durable_p99_ms),
            ("executed_p50_ms", self.executed_p50_ms),
            ("executed_p99_ms", self.executed_p99_ms),
            ("producers_us", self.producers_us),
            ("queue_us", self.queue_us),
            ("endpoint_us", self.endpoint_us),
        ]
    }
}

/// All rounds of one way to call, with one number of callers.
#[derive(Debug)]
pub(super) struct NetworkRow {
    call: ProducerCall,
    callers: usize,
    rounds: Vec<NetworkRound>,
}

impl NetworkRow {
    pub(super) fn new(call: ProducerCall, callers: usize) -> Self {
        Self {
            call,
            callers,
            rounds: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, round: NetworkRound) {
        self.rounds.push(round);
    }

    fn medians(&self) -> Vec<(&'static str, f64)> {
        let Some(first) = self.rounds.first() else {
            return Vec::new();
        };
        let median_of = |(at, (name, _)): (usize, (&'static str, f64))| {
            let values: Vec<f64> = self
                .rounds
                .iter()
                .map(|round| round.figures()[at].1)
                .collect();
            (name, median(&values))
        };
        first
            .figures()
            .into_iter()
            .enumerate()
            .map(median_of)
            .collect()
    }

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.call.name().to_owned(), self.callers.to_string()];
        let medians = self.medians();
        if medians.is_empty() {
            cells.push("not installed".to_owned());
        }
        cells.extend(medians.into_iter().map(|(_, value)| number(value)));
        cells
    }

    fn json(&self) -> Value {
        let map = |figures: &[(&'static str, f64)]| -> Value {
            let figures = figures
                .iter()
                .map(|(name, value)| ((*name).to_owned(), json!(value)));
            Value::Object(figures.collect())
        };
        json!({
            "call": self.call.name(),
            "callers": self.callers,
            "median": (!self.rounds.is_empty()).then(|| map(&self.medians())),
            "rounds": self.rounds.iter().map(|round| map(&round.figures())).collect::<Vec<_>>(),
        })
    }
}

/// All rows of a run.
#[derive(Debug)]
pub(in crate::cli::bench) struct NetworkReport {
    rounds: u32,
    redis: Option<String>,
    rows: Vec<NetworkRow>,
}

impl NetworkReport {
    pub(super) fn new(rounds: u32, redis: Option<String>) -> Self {
        Self {
            rounds,
            redis,
            rows: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, row: NetworkRow) {
        // A long run says where it is; the table comes at the end.
        out::complain(&row.cells().join("  "));
        self.rows.push(row);
    }

    pub(in crate::cli::bench) fn print(&self, as_json: bool) -> Result<(), CommandFailure> {
        if as_json {
            return out::print_json(&json!({
                "bench": "network",
                "rounds": self.rounds,
                "redis": self.redis,
                "rows": self.rows.iter().map(NetworkRow::json).collect::<Vec<_>>(),
            }));
        }
        out::print(&self.text())
    }

    fn text(&self) -> String {
        let columns = [
            Column::Text("call"),
            Column::Number("callers"),
            Column::Number("per s"),
            Column::Number("durable"),
            Column::Number("p99"),
            Column::Number("executed"),
            Column::Number("p99"),
            Column::Number("prod"),
            Column::Number("queue"),
            Column::Number("endpt"),
        ];
        let table = render(&columns, self.rows.iter().map(NetworkRow::cells).collect());
        let redis = match &self.redis {
            Some(version) => format!("redis-server {version}, appendfsync always"),
            None => "redis-server is not installed".to_owned(),
        };
        format!(
            "{table}\n\n\
             per s: from the first call to the last settlement\n\
             durable, executed: ms from the call, median and p99\n\
             prod, queue, endpt: µs of processor time a command\n\
             {redis}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_fits_a_terminal_and_says_what_is_missing() {
        let mut report = NetworkReport::new(1, None);
        let round = NetworkRound {
            commands_per_s: 123_456.7,
            durable_p50_ms: 1234.5,
            durable_p99_ms: 1234.5,
            executed_p50_ms: 1234.5,
            executed_p99_ms: 1234.5,
            producers_us: 1234.5,
            queue_us: 1234.5,
            endpoint_us: 1234.5,
        };
        let mut row = NetworkRow::new(ProducerCall::Unary, 256);
        row.add(round);
        report.rows.push(row);
        report.rows.push(NetworkRow::new(ProducerCall::Redis, 256));
        let text = report.text();
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        assert!(text.contains("not installed"), "{text}");
    }

    #[test]
    fn each_figure_has_a_median_of_its_own() {
        let mut row = NetworkRow::new(ProducerCall::Stream, 1);
        for (rate, queue_us) in [(1.0, 30.0), (2.0, 20.0), (9.0, 10.0)] {
            row.add(NetworkRound {
                commands_per_s: rate,
                durable_p50_ms: 0.0,
                durable_p99_ms: 0.0,
                executed_p50_ms: 0.0,
                executed_p99_ms: 0.0,
                producers_us: 0.0,
                queue_us,
                endpoint_us: 0.0,
            });
        }
        let median = &row.json()["median"];
        assert_eq!(median["commands_per_s"], 2.0);
        assert_eq!(median["queue_us"], 20.0);
    }
}
