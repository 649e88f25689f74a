//! A run as a trace for Perfetto (ui.perfetto.dev) or chrome://tracing, in the Trace Event Format.
//!
//! Hosts are processes; tasks are asynchronous slices of their bridge, executions slices of their endpoint, faults
//! slices of a process of their own, and everything else is an instant.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::lives::{Lives, lives};
use super::words::{self, RecordKind};
use crate::history::Record;
use crate::run::RunOutcome;

/// The process that faults are slices of.
const FAULTS_PID: usize = 1;

/// The trace, as JSON.
pub fn perfetto(outcome: &RunOutcome) -> String {
    let told = lives(&outcome.records, outcome.simulated.0);
    let pids = pids(&outcome.records);
    let mut events = names(&pids);
    events.extend(told.faults.iter().map(|episode| {
        json!({
            "ph": "X", "pid": FAULTS_PID, "tid": episode.fault, "name": episode.text,
            "cat": "fault", "ts": episode.from, "dur": episode.to - episode.from,
        })
    }));
    events.extend(tasks(&told, &pids));
    let instants = outcome.records.iter().filter(|record| {
        let kind = RecordKind::of(&record.what);
        kind != RecordKind::Look
    });
    events.extend(instants.map(|record| {
        json!({
            "ph": "i", "s": "p", "pid": pid(&pids, &record.host.0), "tid": 0,
            "name": words::of(record), "cat": RecordKind::of(&record.what).as_str(), "ts": record.at,
        })
    }));
    events.extend(outcome.verdict.violations.iter().map(|violation| {
        json!({
            "ph": "i", "s": "g", "pid": FAULTS_PID, "tid": 0, "cat": "violation",
            "name": violation.story, "ts": violation.at.0,
        })
    }));
    json!({ "displayTimeUnit": "ms", "traceEvents": events }).to_string()
}

type Pids = BTreeMap<String, usize>;

fn pids(records: &[Record]) -> Pids {
    let mut hosts: Vec<&str> = records.iter().map(|record| &*record.host.0).collect();
    hosts.sort();
    hosts.dedup();
    let numbered = hosts.into_iter().zip(FAULTS_PID + 1..);
    numbered.map(|(host, pid)| (host.to_owned(), pid)).collect()
}

fn pid(pids: &Pids, host: &str) -> usize {
    pids.get(host).copied().unwrap_or(FAULTS_PID)
}

fn names(pids: &Pids) -> Vec<Value> {
    let name = |pid: usize, name: &str| {
        json!({
            "ph": "M", "pid": pid, "tid": 0, "name": "process_name", "args": { "name": name },
        })
    };
    let mut names = vec![name(FAULTS_PID, "faults")];
    names.extend(pids.iter().map(|(host, pid)| name(*pid, host)));
    names
}

fn tasks(told: &Lives, pids: &Pids) -> Vec<Value> {
    let mut events = Vec::new();
    for life in &told.tasks {
        for span in &life.spans {
            for (phase, at) in [("b", span.from), ("e", span.to)] {
                events.push(json!({
                    "ph": phase, "cat": "task", "id": life.task, "pid": pid(pids, &life.bridge),
                    "tid": 0, "name": span.kind, "ts": at, "args": { "task": life.task },
                }));
            }
        }
    }
    events
}
