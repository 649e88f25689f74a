//! Group 8, shares: a route is not refused for what others hold.
//!
//! A part of a queue's capacity is guaranteed to each route. Whoever is told that there is no room for his command is told
//! so rightly only if the route may have held its guaranteed part when he asked: every task of it counts that was not
//! known to be gone by then, and every command that may have been kept.

use super::Invariant::Fairness;
use super::findings::{Findings, Secs};
use super::ledger::{Ledger, No, OpFacts, Sight};
use crate::history::What;

/// Judges a refusal.
pub(super) fn see(sight: &Sight<'_>, findings: &mut Findings<'_>) {
    let What::Declined { op, why } = &sight.record.what else {
        return;
    };
    let ledger = sight.ledger;
    let (Some(guaranteed), Some(op)) = (sight.rules.guaranteed, ledger.ops.get(op)) else {
        return;
    };
    if why != "full" {
        return;
    }
    let held = may_hold(ledger, op);
    findings.check(Fairness, held >= guaranteed, sight.spot(), || {
        format!(
            "a command for route {} was refused at {} as if there were no room, though the route held {held} tasks at \
             most of the {guaranteed} it is guaranteed",
            op.route,
            Secs(sight.at),
        )
    });
}

/// How many tasks the command's route may have held when it was offered.
fn may_hold(ledger: &Ledger, op: &OpFacts) -> u64 {
    let is_here =
        |route: Option<No>| route.is_some_and(|route| ledger.route_name(route) == &*op.route);
    let tasks = ledger.tasks_of(op.queue).filter(|(_, task)| {
        let was_there = !task.place.is_gone() || task.since >= op.last;
        is_here(task.route) && was_there
    });
    let kept = ledger
        .ops
        .values()
        .filter(|other| other.may_be_kept() && other.queue == op.queue && other.route == op.route);
    (tasks.count() + kept.count()) as u64
}
