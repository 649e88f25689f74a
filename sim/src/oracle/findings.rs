//! What is found while a history is read.

use std::collections::BTreeSet;
use std::fmt;

use super::{Invariant, Rules, Verdict, Violation};
use crate::history::TaskName;
use crate::plan::{Micros, OpId};

/// Violations that are kept: the first ones tell the story, and one broken promise can break hundreds.
const VIOLATIONS_MAX: usize = 100;

/// Whose promise was broken, and where it showed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot<'a> {
    /// Index of the record.
    pub(super) index: usize,
    /// The record's time, in microseconds.
    pub(super) at: u64,
    /// The task whose promise is broken, if there is one.
    pub(super) task: Option<&'a TaskName>,
    /// The operation that it goes back to, if there is one.
    pub(super) op: Option<OpId>,
}

/// Collects what the groups find.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    rules: &'a Rules,
    violations: Vec<Violation>,
    /// By the invariant's place in [`Invariant::ALL`].
    checks: [u64; Invariant::ALL.len()],
    /// One violation of each kind per task is enough.
    told: BTreeSet<(Invariant, Option<TaskName>)>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(rules: &'a Rules) -> Self {
        Self {
            rules,
            violations: Vec::new(),
            checks: [0; Invariant::ALL.len()],
            told: BTreeSet::new(),
        }
    }

    /// Something was checked: says so, and whether it held. The story is only made if it did not.
    pub(super) fn check(
        &mut self,
        invariant: Invariant,
        holds: bool,
        spot: Spot<'_>,
        story: impl FnOnce() -> String,
    ) {
        if self.rules.lifts.contains(&invariant) {
            return;
        }
        self.checks[invariant as usize] += 1;
        if holds || self.violations.len() >= VIOLATIONS_MAX {
            return;
        }
        let task = spot.task.cloned();
        if self.told.insert((invariant, task)) {
            self.violations.push(Violation {
                invariant,
                at: Micros(spot.at),
                task,
                op: spot.op,
                story: story(),
                record: spot.index,
            });
        }
    }

    /// Somebody else has checked this so often, and said wherever it did not hold.
    pub(super) fn held(&mut self, invariant: Invariant, times: u64) {
        if !self.rules.lifts.contains(&invariant) {
            self.checks[invariant as usize] += times;
        }
    }

    pub(super) fn verdict(mut self) -> Verdict {
        self.violations.sort_by_key(|violation| violation.record);
        Verdict {
            violations: self.violations,
            checks: Invariant::ALL
                .into_iter()
                .zip(self.checks)
                .filter(|(_, checks)| *checks > 0)
                .collect(),
        }
    }
}

/// A time as stories name it: `12.031 s`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Secs(pub(super) u64);

impl fmt::Display for Secs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0 / 1000;
        write!(f, "{}.{:03} s", millis / 1000, millis % 1000)
    }
}
