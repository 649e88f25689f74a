//! Figures, their medians, and the table they end up in.

use serde_json::{Value, json};

use super::super::exit::CommandFailure;
use super::super::out;
use super::super::table::{Column, render};

/// What a figure is held against.
#[derive(Clone, Copy, Debug)]
enum Reach {
    /// At least this share of the baseline.
    Share(f64),
    AtLeast(f64),
    AtMost(f64),
}

/// One line of the table.
#[derive(Debug)]
pub(super) struct Figure {
    name: String,
    baseline_name: Option<&'static str>,
    reach: Reach,
    values: Vec<f64>,
    baselines: Vec<f64>,
}

impl Figure {
    pub(super) fn ratio(name: &str, baseline_name: &'static str, share: f64) -> Self {
        Self::new(name, Some(baseline_name), Reach::Share(share))
    }

    pub(super) fn at_least(name: &str, reach: f64) -> Self {
        Self::new(name, None, Reach::AtLeast(reach))
    }

    pub(super) fn at_most(name: &str, reach: f64) -> Self {
        Self::new(name, None, Reach::AtMost(reach))
    }

    pub(super) fn single(name: &str, value: f64, reach: f64) -> Self {
        let mut figure = Self::at_most(name, reach);
        figure.add_alone(value);
        figure
    }

    fn new(name: &str, baseline_name: Option<&'static str>, reach: Reach) -> Self {
        let name = name.to_owned();
        Self {
            name,
            baseline_name,
            reach,
            values: Vec::new(),
            baselines: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, value: f64, baseline: f64) {
        self.values.push(value);
        self.baselines.push(baseline);
    }

    pub(super) fn add_alone(&mut self, value: f64) {
        self.values.push(value);
    }

    /// The median of the ratios, pair by pair: the machine's speed drifts from round to round.
    fn ratio_to_baseline(&self) -> Option<f64> {
        let pairs = self.values.iter().zip(&self.baselines);
        let ratios: Vec<f64> = pairs.map(|(value, baseline)| value / baseline).collect();
        (!ratios.is_empty()).then(|| median(&ratios))
    }

    fn reached(&self) -> bool {
        match self.reach {
            Reach::Share(share) => self.ratio_to_baseline().is_some_and(|ratio| ratio >= share),
            Reach::AtLeast(least) => median(&self.values) >= least,
            Reach::AtMost(most) => median(&self.values) <= most,
        }
    }

    fn row(&self) -> Vec<String> {
        let baseline = match (self.baseline_name, self.baselines.is_empty()) {
            (Some(name), false) => format!("{name} {}", number(median(&self.baselines))),
            _ => String::new(),
        };
        let ratio = self.ratio_to_baseline();
        let reach = match self.reach {
            Reach::Share(share) => format!("≥ {:.0} %", share * 100.0),
            Reach::AtLeast(least) => format!("≥ {}", number(least)),
            Reach::AtMost(most) => format!("≤ {}", number(most)),
        };
        vec![
            self.name.clone(),
            number(median(&self.values)),
            baseline,
            ratio
                .map(|ratio| format!("{:.0} %", ratio * 100.0))
                .unwrap_or_default(),
            reach,
            if self.reached() { "yes" } else { "NO" }.to_owned(),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "figure": self.name,
            "values": self.values,
            "median": median(&self.values),
            "baseline": self.baseline_name,
            "baseline_values": self.baselines,
            "ratio": self.ratio_to_baseline(),
            "reached": self.reached(),
        })
    }
}

/// All figures of a run.
#[derive(Debug)]
pub(super) struct BenchReport {
    what: &'static str,
    rounds: u32,
    figures: Vec<Figure>,
}

impl BenchReport {
    pub(super) fn new(what: &'static str, rounds: u32) -> Self {
        Self {
            what,
            rounds,
            figures: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, figure: Figure) {
        // A long run says where it is; the table comes at the end.
        out::complain(&figure.row().join("  "));
        self.figures.push(figure);
    }

    pub(super) fn print(&self, as_json: bool) -> Result<(), CommandFailure> {
        if as_json {
            let figures: Vec<Value> = self.figures.iter().map(Figure::json).collect();
            let report = json!({ "bench": self.what, "rounds": self.rounds, "figures": figures });
            return out::print_json(&report);
        }
        let columns = [
            Column::Text(self.what),
            Column::Number("median"),
            Column::Number("baseline"),
            Column::Number("ratio"),
            Column::Number("reach"),
            Column::Text("reached"),
        ];
        out::print(&render(
            &columns,
            self.figures.iter().map(Figure::row).collect(),
        ))
    }
}

pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => sorted[len / 2],
        len => f64::midpoint(sorted[len / 2 - 1], sorted[len / 2]),
    }
}

/// Large numbers need no decimals, small ones nothing else.
pub(super) fn number(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_judged_pair_by_pair_and_by_its_median() {
        let mut figure = Figure::ratio("cycles/s", "raw", 0.5);
        for (value, baseline) in [(60.0, 100.0), (10.0, 10.0), (40.0, 100.0)] {
            figure.add(value, baseline);
        }
        assert_eq!(figure.ratio_to_baseline(), Some(0.6));
        assert!(figure.reached());
        assert_eq!(figure.row()[3], "60 %");
        assert!(!Figure::single("MiB", 401.0, 400.0).reached());
    }
}
