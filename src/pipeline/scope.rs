//! The ledger of compensations that a command's contexts share.
//!
//! A root context and all its descendants write into one ledger, in the order of registration. A
//! scope is a node in a tree; what belongs to a scope is what was registered in it or below it. So
//! nothing has to be moved when a child ends: its entries are already where the parent finds them,
//! and last-registered-first holds across scopes by construction.
//!
//! Invariants: an entry leaves the ledger exactly once, to be run or to be dropped; what was started
//! and not finished leaves a failure behind; closures are called and dropped outside the lock, since
//! they may hold contexts of this very ledger. The ledger has no limit of its own: it holds what one
//! command registers in the tries it is allowed, and ends with the command.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::compensation::{Compensation, CompensationError, CompensationFailure};

/// Counts the compensations that were registered and then forgotten: neither run nor dropped by a
/// success. Each is a bug or a task that was torn down half-way. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct AbandonedCounter(Arc<AtomicU64>);

impl AbandonedCounter {
    /// How many were abandoned so far.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, abandoned: usize) {
        let abandoned = u64::try_from(abandoned).unwrap_or(u64::MAX);
        self.0.fetch_add(abandoned, Ordering::Relaxed);
    }
}

/// One node of the tree of scopes, with the ledger that all of them share.
pub(super) struct Scope {
    ledger: Arc<ScopeLedger>,
    node: Arc<Node>,
}

struct Node {
    parent: Option<Arc<Node>>,
}

struct ScopeLedger {
    state: Mutex<ScopeState>,
    abandoned: AbandonedCounter,
}

#[derive(Default)]
struct ScopeState {
    /// In the order of registration.
    entries: Vec<ScopeEntry>,
    /// Found by runs and not yet reported by one that came to its end.
    failures: Vec<(Arc<Node>, CompensationFailure)>,
    closed: Option<Closed>,
}

struct ScopeEntry {
    node: Arc<Node>,
    name: Cow<'static, str>,
    run: Compensation,
}

/// How the root ended.
#[derive(Clone, Copy)]
enum Closed {
    Succeeded,
    Dropped,
}

impl Scope {
    pub(super) fn root(abandoned: AbandonedCounter) -> Self {
        Self {
            ledger: Arc::new(ScopeLedger {
                state: Mutex::default(),
                abandoned,
            }),
            node: Arc::new(Node { parent: None }),
        }
    }

    pub(super) fn child(&self) -> Self {
        Self {
            ledger: Arc::clone(&self.ledger),
            node: Arc::new(Node {
                parent: Some(Arc::clone(&self.node)),
            }),
        }
    }

    /// Adds an entry, unless the root has ended: then nobody is left to run it.
    pub(super) fn register(&self, name: Cow<'static, str>, run: Compensation) {
        let mut state = self.ledger.lock();
        let Some(closed) = state.closed else {
            let node = Arc::clone(&self.node);
            state.entries.push(ScopeEntry { node, name, run });
            return;
        };
        drop(state);
        match closed {
            Closed::Succeeded => {
                tracing::debug!(%name, "compensation registered after the success: dropped");
            }
            Closed::Dropped => self.ledger.abandon(&[name]),
        }
    }

    /// How many entries belong to this scope.
    pub(super) fn len(&self) -> usize {
        let state = self.ledger.lock();
        let mine = state.entries.iter().filter(|entry| self.owns(&entry.node));
        mine.count()
    }

    /// Takes the entry of this scope that was registered last. Until the returned guard is told the
    /// outcome, it counts as interrupted.
    pub(super) fn take_last(&self) -> Option<(UnderWay, Compensation)> {
        let mut state = self.ledger.lock();
        let mut entries = state.entries.iter();
        let last = match planted!(Bug::CompensationsForwards) {
            true => entries.position(|entry| self.owns(&entry.node))?,
            false => entries.rposition(|entry| self.owns(&entry.node))?,
        };
        let ScopeEntry { node, name, run } = state.entries.remove(last);
        let under_way = UnderWay {
            ledger: Arc::clone(&self.ledger),
            node,
            name,
            outcome: Err(CompensationError::Interrupted),
        };
        Some((under_way, run))
    }

    /// Takes the failures of this scope that no run has reported yet.
    pub(super) fn take_failures(&self) -> Vec<CompensationFailure> {
        let mut state = self.ledger.lock();
        let failures = std::mem::take(&mut state.failures);
        let (mine, others): (Vec<_>, Vec<_>) =
            failures.into_iter().partition(|(node, _)| self.owns(node));
        state.failures = others;
        mine.into_iter().map(|(_, failure)| failure).collect()
    }

    /// Drops what belongs to this scope without running it. For a root, also what is still to come.
    pub(super) fn succeed(&self) {
        if planted!(Bug::CompensatedAfterSuccess) && self.node.parent.is_some() {
            return;
        }
        let mut state = self.ledger.lock();
        let entries = std::mem::take(&mut state.entries);
        let (mine, others): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .partition(|entry| self.owns(&entry.node));
        state.entries = others;
        if self.node.parent.is_none() {
            state.closed = Some(Closed::Succeeded);
        }
        drop(state);
        drop(mine);
        for failure in self.take_failures() {
            tracing::warn!(%failure, "success after an interrupted compensation");
        }
    }

    /// Whether `node` is this scope or lies below it.
    fn owns(&self, node: &Arc<Node>) -> bool {
        let mut at = Some(node);
        while let Some(node) = at {
            if Arc::ptr_eq(node, &self.node) {
                return true;
            }
            at = node.parent.as_ref();
        }
        false
    }
}

impl Drop for Scope {
    /// The end of a child leaves its entries to its parent. The end of a root is the end of all:
    /// whatever is left has been forgotten, and is said so but never run from here, because a
    /// destructor can neither wait nor know whether the command failed.
    fn drop(&mut self) {
        if self.node.parent.is_some() {
            return;
        }
        let mut state = self.ledger.lock();
        if state.closed.is_some() {
            return;
        }
        state.closed = Some(Closed::Dropped);
        let entries = std::mem::take(&mut state.entries);
        let failures = std::mem::take(&mut state.failures);
        drop(state);
        let names: Vec<_> = entries.iter().map(|entry| entry.name.clone()).collect();
        if !names.is_empty() {
            self.ledger.abandon(&names);
        }
        for (_, failure) in failures {
            tracing::warn!(%failure, "the failure of a compensation was never collected");
        }
    }
}

impl ScopeLedger {
    fn lock(&self) -> MutexGuard<'_, ScopeState> {
        // No code of others runs under the lock, so a poisoned state is still a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn abandon(&self, names: &[Cow<'static, str>]) {
        self.abandoned.add(names.len());
        tracing::warn!(?names, "compensations abandoned: neither run nor dropped");
    }
}

/// A compensation that was started. Dropped without an outcome, it is recorded as interrupted.
pub(super) struct UnderWay {
    ledger: Arc<ScopeLedger>,
    node: Arc<Node>,
    name: Cow<'static, str>,
    outcome: Result<(), CompensationError>,
}

impl UnderWay {
    pub(super) fn finish(mut self, outcome: Result<(), CompensationError>) {
        self.outcome = outcome;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Err(error) = std::mem::replace(&mut self.outcome, Ok(())) {
            let name = std::mem::take(&mut self.name);
            if matches!(error, CompensationError::Interrupted) {
                // Said at once, because nobody may ever come to collect it.
                tracing::warn!(%name, "compensation interrupted; in doubt");
            }
            let failure = CompensationFailure { name, error };
            let mut state = self.ledger.lock();
            state.failures.push((Arc::clone(&self.node), failure));
        }
    }
}
