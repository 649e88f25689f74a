//! A run as one page that needs no network: lanes, bands, lives, zoom, a filter.

use serde_json::json;

use super::lives::lives;
use super::verdict;
use super::words::{self, RecordKind};
use crate::run::RunOutcome;

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// The page. `reproduce` is the command that shows the run again.
pub fn html(outcome: &RunOutcome, reproduce: &str) -> String {
    let data = data(outcome, reproduce).to_string();
    // Inside a script element nothing but its own end tag, or a comment, could end it.
    let data = data.replace('<', "\\u003c");
    let title = format!("{} seed {}", outcome.plan.scenario, outcome.plan.seed);
    PAGE.replace("{{title}}", &escaped(&title))
        .replace("{{style}}", STYLE)
        .replace("{{data}}", &data)
        .replace("{{script}}", SCRIPT)
}

fn data(outcome: &RunOutcome, reproduce: &str) -> serde_json::Value {
    let told = lives(&outcome.records, outcome.simulated.0);
    let events = outcome.records.iter().enumerate();
    let events = events.filter(|(_, record)| RecordKind::of(&record.what) != RecordKind::Look);
    let events: Vec<_> = events
        .map(|(index, record)| {
            json!({
                "index": index,
                "at": record.at,
                "host": record.host,
                "kind": RecordKind::of(&record.what).as_str(),
                "text": words::of(record),
                "task": record.what.task(),
            })
        })
        .collect();
    let violations: Vec<_> = outcome
        .verdict
        .violations
        .iter()
        .map(|violation| {
            json!({
                "invariant": verdict::name(&violation.invariant),
                "story": violation.story,
                "at": violation.at.0,
                "task": violation.task,
                "record": violation.record,
            })
        })
        .collect();
    json!({
        "headline": verdict::headline(outcome),
        "held": outcome.class() == crate::oracle::Class::Pass,
        "panic": outcome.panic,
        "reproduce": reproduce,
        "end": outcome.simulated.0,
        "settling": outcome.plan.duration.0,
        "lives": told,
        "events": events,
        "violations": violations,
    })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
