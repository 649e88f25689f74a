//! The promises that a run is judged by. A plan names those that its faults lift.

use serde::{Deserialize, Serialize};

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
    /// 5: outages, unavailability, releases and others' deaths never spend; what was never sent doesn't wait.
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
    /// 8: a dead route delays no other beyond its bound, and a stranger who gives nothing delays nobody.
    Fairness,
    /// 9: what ought to be able to finish does.
    Liveness,
    /// 10: everything stays under its limit.
    Bounded,
    /// Idempotency: one key, one task, and its repetitions are told so.
    OneTaskPerKey,
    /// 7: the inbox decides as the reference model does. No fault excuses a difference, so nothing lifts it.
    InboxAgrees,
}

impl Invariant {
    /// All of them, in the order of the specification and of their declaration.
    pub const ALL: [Self; 21] = [
        Self::NothingLost,
        Self::CountsAddUp,
        Self::OneLiveLease,
        Self::EpochsGrow,
        Self::StaleChangesNothing,
        Self::AckMeansExecuted,
        Self::DurableIsDurable,
        Self::DoneStaysDone,
        Self::WithinBudget,
        Self::PoisonHasCause,
        Self::OutagesAreFree,
        Self::PillsAreConvicted,
        Self::HistoryInOrder,
        Self::Compensations,
        Self::EffectivelyOnce,
        Self::OldestFirst,
        Self::Fairness,
        Self::Liveness,
        Self::Bounded,
        Self::OneTaskPerKey,
        Self::InboxAgrees,
    ];

    /// Whether some fault can excuse that it does not hold.
    pub fn may_be_lifted(self) -> bool {
        self != Self::InboxAgrees
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_invariants_stand_in_the_order_of_their_declaration() {
        for (place, invariant) in Invariant::ALL.into_iter().enumerate() {
            assert_eq!(invariant as usize, place);
        }
    }
}
