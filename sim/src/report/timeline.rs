//! The timeline: a line for each record, a column for each host.

use std::fmt::Write as _;

use super::words::{self, RecordKind};
use crate::history::{self, Record};
use crate::oracle::Violation;
use crate::plan::HostName;
use crate::run::RunOutcome;

/// Characters of a column; texts that are longer run on if nothing stands to their right.
const COLUMN_CHARS: usize = 34;

/// Records shown before a violation, and after it.
const BEFORE: usize = 40;
const AFTER: usize = 8;

/// Which records a timeline shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// All of them.
    All,
    /// What matters to the first violation: its task's life, faults and deaths, and what stands just around it.
    /// Without one, faults and deaths.
    Around,
}

/// The timeline of a run.
pub fn timeline(outcome: &RunOutcome, show: Show) -> String {
    let violation = outcome.verdict.violations.first();
    let hosts = hosts(&outcome.records);
    let mut text = header(&hosts);
    let mut left_out = 0;
    for (index, record) in outcome.records.iter().enumerate() {
        let shown = match show {
            Show::All => RecordKind::of(&record.what) != RecordKind::Look,
            Show::Around => matters(index, record, violation),
        };
        if !shown {
            left_out += 1;
            continue;
        }
        if left_out > 0 && show == Show::Around {
            let _ = writeln!(text, "{:>12}  … {left_out} more", "");
        }
        left_out = 0;
        line(&mut text, &hosts, record);
        if violation.is_some_and(|violation| violation.record == index) {
            let _ = writeln!(text, "{:>12}  ▲ here it shows", "");
        }
    }
    text
}

/// Hosts in the order in which people read a delivery: producers, bridges, endpoints as they came up, the world
/// last.
fn hosts(records: &[Record]) -> Vec<HostName> {
    let mut hosts: Vec<HostName> = Vec::new();
    for record in records {
        if &*record.host.0 != "world" && !hosts.contains(&record.host) {
            hosts.push(record.host.clone());
        }
    }
    let rank = |host: &HostName| match &*host.0 {
        name if name.starts_with("producer") => 0,
        name if name.starts_with("bridge") => 1,
        name if name.starts_with("endpoint") => 2,
        _ => 3,
    };
    hosts.sort_by(|one, other| (rank(one), one).cmp(&(rank(other), other)));
    hosts
}

fn header(hosts: &[HostName]) -> String {
    let mut text = format!("{:>12}", "");
    for host in hosts {
        let _ = write!(text, "  {:<COLUMN_CHARS$}", host.0);
    }
    format!("{}\n", text.trim_end())
}

fn matters(index: usize, record: &Record, violation: Option<&Violation>) -> bool {
    let kind = RecordKind::of(&record.what);
    let Some(violation) = violation else {
        return kind == RecordKind::Fault;
    };
    let at = violation.record;
    let is_near = (at.saturating_sub(BEFORE)..=at + AFTER).contains(&index);
    let task = record.what.task();
    let own = violation.task.is_some_and(|wanted| task == Some(wanted));
    let op = violation
        .op
        .is_some_and(|op| words::of(record).starts_with(&format!("{op} ")));
    own || op || (kind == RecordKind::Fault) || (is_near && kind != RecordKind::Look)
}

/// Faults and deaths of the world run over all columns; everything else stands in its host's.
fn line(text: &mut String, hosts: &[HostName], record: &Record) {
    let at = words::seconds(history::time(record));
    let column = hosts.iter().position(|host| *host == record.host);
    let indent = column.map_or(0, |column| column * (COLUMN_CHARS + 2));
    let _ = writeln!(text, "{at:>12}  {:indent$}{}", "", words::of(record));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::What;

    #[test]
    fn each_host_has_its_column() {
        let record = |at, host: &str, text: &str| Record {
            at,
            host: host.into(),
            what: What::Fault {
                fault: None,
                text: text.into(),
            },
        };
        let records = [record(1_000, "endpoint", "b"), record(2_500, "bridge", "a")];
        let hosts = hosts(&records);
        let mut text = header(&hosts);
        records
            .iter()
            .for_each(|record| line(&mut text, &hosts, record));
        insta::assert_snapshot!(text);
    }
}
