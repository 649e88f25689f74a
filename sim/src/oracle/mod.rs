//! The oracle: judges a history by what the product promises, knowing nothing of how it keeps it.
//!
//! Fed only by what producers were told, what endpoints executed, and the queue's public event feed and admin
//! API. One pass: for each record every group sees it beside the `ledger`, which holds what everybody was
//! told before it; then the ledger believes the record.
//!
//! ## What may be inferred
//!
//! - **Told is durable.** An answer to a producer or operator and an event of the feed rest on what is on disk.
//!   Nothing told is ever taken back.
//! - **The feed's order is the order in which things were applied.** Within one opening, without missed news,
//!   a task is where it was last told to be and nowhere else.
//! - **A death takes news with it.** What was durable and not told yet is found by the next opening, which ends
//!   every lease of the dead process in doubt before anybody can listen. So behind an opening a task may be
//!   further than was told, never further back: a lease told may have ended in any way, a ready task may have
//!   been granted, a poisoned one requeued if somebody had asked for it.
//! - **Unknown is maybe.** An enqueue without an answer may have been kept. It counts as possible in every
//!   bound and is resolved when it shows: as a task that is executed or found, or as the duplicate its
//!   repetition is told of.
//!
//! Each group says in its own documentation what it infers beyond that. A guarantee that a scenario lifts is
//! not judged; a check that never had anything to check is counted as such ([`Verdict::unchecked`]).

mod acks;
mod bounded;
mod budgets;
mod compensations;
mod durable;
mod earlier;
mod fairness;
mod findings;
mod inbox;
mod keys;
mod leases;
mod ledger;
mod line;
mod liveness;
mod lost;
mod once;
mod order;
mod rules;
mod shares;
mod strangers;
mod suspects;
#[cfg(test)]
mod tests;
mod verdict;
mod waits;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use line::LineRule;
pub use rules::{Ask, Asked, CommandNature, Rules, Trouble};

pub use crate::plan::Invariant;

use crate::history::{Record, TaskName};
use crate::plan::{Micros, OpId};

/// How a run ended; each class has an exit code of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Every invariant held.
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
    /// The promise that was broken.
    pub invariant: Invariant,
    /// When it showed.
    pub at: Micros,
    /// The task it was broken to; none if it is about a queue or a host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskName>,
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

/// Judges a history: every record, in its order.
pub fn judge(records: &[Record], rules: &Rules) -> Verdict {
    let mut ledger = ledger::Ledger::new();
    let mut findings = findings::Findings::new(rules);
    let mut groups = Groups::default();
    for (index, record) in records.iter().enumerate() {
        let sight = ledger.look(index, record, rules);
        groups.see(&sight, &mut findings);
        let (host, task) = (sight.host, sight.task);
        ledger.write(index, record, host, task);
    }
    groups.end(&ledger, rules, &mut findings);
    findings.verdict()
}

#[derive(Default)]
struct Groups {
    lost: lost::Lost,
    leases: leases::Leases,
    acks: acks::Acks,
    durable: durable::Durable,
    waits: waits::Waits,
    budgets: budgets::Budgets,
    suspects: suspects::Suspects,
    compensations: compensations::Scopes,
    once: once::Once,
    order: order::Order,
    fairness: fairness::Fair,
    liveness: liveness::Alive,
    keys: keys::Keys,
    earlier: earlier::EarlierLives,
    lines: line::OnLines,
    served: strangers::Served,
}

impl Groups {
    fn see(&mut self, sight: &ledger::Sight<'_>, findings: &mut findings::Findings<'_>) {
        self.lost.see(sight, findings);
        self.leases.see(sight, findings);
        self.acks.see(sight, findings);
        self.durable.see(sight, findings);
        self.waits.see(sight, &self.budgets, findings);
        self.budgets.see(sight, findings);
        self.suspects.see(sight, findings);
        self.compensations.see(sight, findings);
        self.once.see(sight, findings);
        self.order.see(sight, findings);
        self.fairness.see(sight, findings);
        self.liveness.see(sight, findings);
        shares::see(sight, findings);
        bounded::see(sight, findings);
        inbox::see(sight, findings);
        self.keys.see(sight, findings);
        self.earlier.see(sight, findings);
        self.lines.see(sight, findings);
        self.served.see(sight, findings);
    }

    fn end(&self, ledger: &ledger::Ledger, rules: &Rules, findings: &mut findings::Findings<'_>) {
        self.lost.end(ledger, rules, findings);
        self.acks.end(ledger, rules, findings);
        self.waits.end(ledger, findings);
        self.budgets.end(ledger, rules, findings);
        self.compensations.end(ledger, rules, findings);
        self.fairness.end(ledger, rules, findings);
        self.liveness.end(ledger, rules, findings);
        self.lines.end(ledger, rules, findings);
        self.served.end(ledger, rules, findings);
    }
}
