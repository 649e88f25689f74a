//! The verdict in words, and the way to see it again.

use std::fmt::Write as _;

use super::words;
use crate::oracle::Class;
use crate::run::RunOutcome;

/// One line: what ran and how it ended.
pub fn headline(outcome: &RunOutcome) -> String {
    let plan = &outcome.plan;
    let class = match outcome.class() {
        Class::Pass => "held",
        Class::Safety => "BROKEN (safety)",
        Class::Liveness => "STUCK (liveness)",
        Class::Nondeterminism => "NOT DETERMINISTIC",
        Class::Coverage => "NOT COVERED",
        Class::Panic => "PANIC",
    };
    format!(
        "{} seed {}: {class} after {} simulated; {} operations, {} faults of which {} changed something",
        plan.scenario,
        plan.seed,
        words::seconds(outcome.simulated),
        plan.ops.len(),
        plan.faults.len(),
        outcome.struck.len(),
    )
}

/// The whole verdict: each violation with its invariant and story, and how much was checked.
pub fn verdict(outcome: &RunOutcome) -> String {
    let mut text = headline(outcome);
    text.push('\n');
    if let Some(panic) = &outcome.panic {
        let _ = writeln!(text, "panic: {panic}");
    }
    for violation in &outcome.verdict.violations {
        let invariant = name(&violation.invariant);
        let _ = writeln!(text, "{invariant}: {}", violation.story);
    }
    let checks = outcome.verdict.checks.iter();
    let checks: Vec<String> = checks
        .map(|(invariant, count)| format!("{} {count}", name(invariant)))
        .collect();
    if !checks.is_empty() {
        let _ = writeln!(text, "checked: {}", checks.join(", "));
    }
    text
}

/// An invariant's name, as files have it.
pub fn name(invariant: &crate::oracle::Invariant) -> String {
    let name = serde_json::to_value(invariant);
    let name = name.as_ref().ok().and_then(|name| name.as_str());
    name.unwrap_or_default().to_owned()
}
