//! The oracle: judges a history by what the product promises, knowing nothing of how it keeps it.
//!
//! Fed only by what producers were told, what endpoints executed, and the queue's public feed and admin API.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::history::Task;
use crate::plan::{Micros, OpId};

/// What is promised; the ten groups of the specification, each in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Invariant {
    /// 1: every acknowledged enqueue is executed and acknowledged, in poison, or in exactly one other place.
    NothingLost,
    /// 1: the counts add up at every look.
    CountsAddUp,
    /// 2: never two live leases for one task.
    OneLiveLease,
    /// 2: epochs only grow, also across restarts.
    EpochsGrow,
    /// 2: a stale settlement changes nothing.
    StaleChangesNothing,
    /// 3: an acknowledged task was executed by its endpoint.
    AckMeansExecuted,
    /// 4: nothing told to anybody is taken back by a crash.
    DurableIsDurable,
    /// 4: an acknowledged task is never delivered again.
    DoneStaysDone,
    /// 5: charged outcomes never exceed their budget; sends never exceed four.
    WithinBudget,
    /// 5: poison only for a spent budget, a refusal or an expiry.
    PoisonHasCause,
    /// 5: outages, unavailability, releases and others' deaths never spend.
    OutagesAreFree,
    /// 5: a pill is convicted, its neighbours are not.
    PillsAreConvicted,
    /// 5: the history is in order.
    HistoryInOrder,
    /// 6: after a failure each compensation ran once, last first; after a success none did.
    Compensations,
    /// 7: with the inbox each task is executed at most once.
    EffectivelyOnce,
    /// 8: lowest id first among the ready of a route.
    OldestFirst,
    /// 8: a dead route delays no other beyond its bound.
    Fairness,
    /// 9: what ought to be able to finish does.
    Liveness,
    /// 10: everything stays under its limit.
    Bounded,
    /// Idempotency: one key, one task, and its repetitions are told so.
    OneTaskPerKey,
}

/// How a run ended; each class has an exit code of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Everything held.
    Pass,
    /// An invariant was violated.
    Safety,
    /// Something did not end in time.
    Liveness,
    /// The same run twice was not the same.
    Nondeterminism,
    /// Something was never reached, or a check never had anything to check.
    Coverage,
    /// The product, or the simulator, panicked.
    Panic,
}

impl Class {
    /// The process's exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Safety => 2,
            Self::Liveness => 3,
            Self::Nondeterminism => 4,
            Self::Coverage => 5,
            Self::Panic => 101,
        }
    }
}

/// One broken promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// When it showed.
    pub at: Micros,
    /// Whose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
    /// The operation behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<OpId>,
    /// What happened, in one line, with times.
    pub story: String,
    /// Index of the record at which it showed.
    pub record: usize,
}

/// What the oracle found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Broken promises, in the order in which they showed.
    pub violations: Vec<Violation>,
    /// How often each invariant had something to check.
    pub checks: BTreeMap<Invariant, u64>,
}

impl Verdict {
    /// The class of the first violation.
    pub fn class(&self) -> Class {
        match self.violations.first() {
            None => Class::Pass,
            Some(first) if first.invariant == Invariant::Liveness => Class::Liveness,
            Some(_) => Class::Safety,
        }
    }
}
