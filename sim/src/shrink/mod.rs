//! Makes a failing plan small: fewer faults, fewer operations, shorter, calmer, while it fails the same way.
//!
//! The search knows nothing of how plans are run: it proposes candidates, in batches of a fixed size, and is told which
//! of them still fail in the same way; of several the first is taken. So the result is the same whatever runs the
//! candidates and how many at a time. Every accepted candidate is smaller than the one before, in faults, operations or
//! what they do, so the search ends; [`Limits`] end it sooner.

mod calm;
mod cut;
mod fewer;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::oracle::{Class, Invariant, Violation};
use crate::plan::Plan;
use crate::run::RunOutcome;

/// Candidates that are proposed at once.
const BATCH: usize = 8;

/// What a smaller plan must still do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goal {
    /// How it ends.
    pub class: Class,
    /// Which promise it breaks first.
    pub invariant: Option<Invariant>,
}

impl Goal {
    /// To fail as `outcome` did; `None` if it did not.
    pub fn of(outcome: &RunOutcome) -> Option<Self> {
        let class = outcome.class();
        let first = outcome.verdict.violations.first();
        (class != Class::Pass).then(|| Self {
            class,
            invariant: first.map(|violation| violation.invariant),
        })
    }

    /// Whether `outcome` fails in this way.
    pub fn is_met(&self, outcome: &RunOutcome) -> bool {
        Self::of(outcome) == Some(*self)
    }
}

/// When a search ends although it could go on.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// So many candidates were run.
    pub runs: u32,
}

/// What a search came to.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smallest plan that fails in the same way.
    pub plan: Plan,
    /// Candidates that were run.
    pub runs: u32,
    /// The search ended at a limit.
    pub cut_short: bool,
}

/// A failing run of a candidate: what the search needs to know of it.
#[derive(Clone, Debug, Default)]
pub struct Failing {
    /// Its first violation; a panic has none.
    pub violation: Option<Violation>,
}

/// Runs candidates: for each that fails as it should, what it came to. May be told of more candidates than the
/// machine has cores.
pub trait CandidateRunner {
    /// Runs all of them, or gives up: `None` ends the search where it stands.
    fn try_all(&mut self, candidates: &[Plan]) -> Option<Vec<Option<Failing>>>;
}

impl<F: FnMut(&[Plan]) -> Option<Vec<Option<Failing>>>> CandidateRunner for F {
    fn try_all(&mut self, candidates: &[Plan]) -> Option<Vec<Option<Failing>>> {
        self(candidates)
    }
}

/// Makes `plan`, which came to `failing`, as small as possible.
pub fn shrink(
    plan: Plan,
    failing: Failing,
    limits: Limits,
    runner: &mut dyn CandidateRunner,
) -> Shrunk {
    let mut search = Search {
        plan,
        failing,
        runs_left: limits.runs,
        over: false,
        runner,
    };
    search.run();
    Shrunk {
        plan: search.plan,
        runs: limits.runs - search.runs_left,
        cut_short: search.over,
    }
}

/// The search under way.
struct Search<'a> {
    /// The smallest plan so far.
    plan: Plan,
    /// What it came to.
    failing: Failing,
    runs_left: u32,
    over: bool,
    runner: &'a mut dyn CandidateRunner,
}

impl Search<'_> {
    fn run(&mut self) {
        cut::to_what_matters(self);
        loop {
            let before = self.plan.clone();
            fewer::faults(self);
            fewer::operations(self);
            calm::calm(self);
            cut::what_is_unused(self);
            if self.over || self.plan == before {
                return;
            }
        }
    }

    /// Takes the first of `candidates` that fails in the same way; its index, if there is one.
    fn first_of(&mut self, candidates: Vec<Plan>) -> Option<usize> {
        let mut start = 0;
        for batch in candidates.chunks(BATCH) {
            let allowed = batch
                .len()
                .min(usize::try_from(self.runs_left).unwrap_or(usize::MAX));
            if self.over || allowed == 0 {
                self.over = true;
                return None;
            }
            self.runs_left -= u32::try_from(allowed).unwrap_or(u32::MAX);
            let Some(results) = self.runner.try_all(&batch[..allowed]) else {
                self.over = true;
                return None;
            };
            let found = results
                .into_iter()
                .enumerate()
                .find_map(|(at, failing)| Some((at, failing?)));
            if let Some((at, failing)) = found {
                self.plan = batch[at].clone();
                self.failing = failing;
                return Some(start + at);
            }
            start += batch.len();
        }
        None
    }

    /// Takes `change` of the plan if it changes it and it still fails in the same way.
    fn accept(&mut self, change: impl FnOnce(&mut Plan)) -> bool {
        let mut candidate = self.plan.clone();
        change(&mut candidate);
        candidate != self.plan && self.first_of(vec![candidate]).is_some()
    }
}

/// Keeps what `keep` names by index.
fn retain_indices<T>(items: &mut Vec<T>, keep: &BTreeSet<usize>) {
    let mut index = 0;
    items.retain(|_| {
        index += 1;
        keep.contains(&(index - 1))
    });
}
