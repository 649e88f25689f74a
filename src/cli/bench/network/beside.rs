//! The whole way beside a crowd of connections that take and don't give, and without it.

use std::path::Path;

use serde_json::json;

use super::{NetworkLoad, ProducerCall};
use crate::cli::bench::report::{median, number};
use crate::cli::bench::{BenchArgs, BenchError, fresh};
use crate::cli::exit::CommandFailure;
use crate::cli::out;
use crate::cli::table::{Column, render};

/// Callers of the honest traffic, and how many commands they have: a few seconds' work, so that processor time can be
/// told.
const CALLERS: usize = 64;
const COMMANDS: usize = 40_000;

/// What part of its rate the honest traffic keeps at the least, and how much of a processor such a crowd may use for that
/// to mean anything.
const KEPT: f64 = 0.8;
const CROWD_SHARE: f64 = 0.1;

/// What the rounds showed.
pub(in crate::cli::bench) struct BesideReport {
    connections: u32,
    alone: Vec<f64>,
    beside: Vec<f64>,
    /// Of a processor, in each round beside the crowd.
    crowd: Vec<f64>,
}

/// Runs the rounds in turns: one alone, one beside `connections`.
pub(in crate::cli::bench) async fn measure(
    args: &BenchArgs,
    connections: u32,
    dir: &Path,
) -> Result<BesideReport, BenchError> {
    let mut report = BesideReport {
        connections,
        alone: Vec::new(),
        beside: Vec::new(),
        crowd: Vec::new(),
    };
    let load = NetworkLoad {
        call: ProducerCall::Unary,
        callers: CALLERS,
        commands: (COMMANDS / args.shorten as usize).max(CALLERS),
    };
    for _ in 0..args.rounds {
        let (alone, _) = load.bridged(&fresh(dir)?, 0).await?;
        let (beside, crowd) = load.bridged(&fresh(dir)?, connections).await?;
        report.alone.push(alone.commands_per_s);
        report.beside.push(beside.commands_per_s);
        report.crowd.push(crowd);
    }
    Ok(report)
}

impl BesideReport {
    fn kept(&self) -> f64 {
        median(&self.beside) / median(&self.alone)
    }

    pub(in crate::cli::bench) fn print(&self, as_json: bool) -> Result<(), CommandFailure> {
        let (kept, crowd) = (self.kept(), median(&self.crowd));
        if as_json {
            return out::print_json(&json!({
                "bench": "crowd",
                "connections": self.connections,
                "alone_per_s": self.alone,
                "beside_per_s": self.beside,
                "kept": kept,
                "kept_at_least": KEPT,
                "crowd_share": self.crowd,
                "crowd_share_at_most": CROWD_SHARE,
            }));
        }
        let columns = [
            Column::Number("connections"),
            Column::Number("alone per s"),
            Column::Number("beside per s"),
            Column::Number("kept"),
            Column::Number("crowd"),
        ];
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        let row = vec![
            self.connections.to_string(),
            number(median(&self.alone)),
            number(median(&self.beside)),
            percent(kept),
            percent(crowd),
        ];
        let table = render(&columns, vec![row]);
        out::print(&format!(
            "{table}\n\nkept: of the rate alone, at least {} is the reach\n\
             crowd: of a processor, which the crowd used for itself; above {} it says nothing",
            percent(KEPT),
            percent(CROWD_SHARE)
        ))
    }
}
