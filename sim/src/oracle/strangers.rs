//! Group 8, fairness: whoever takes and gives nothing keeps nobody from being served.
//!
//! Judged where strangers are all that is done to the world: a command that is offered is accepted or refused soon, and one
//! that is accepted is begun soon. A producer who has no answer in time asks again; one without a key must not, and isn't
//! judged from then on.

use std::collections::{BTreeMap, BTreeSet};

use super::Invariant::Fairness;
use super::Rules;
use super::findings::{Findings, Secs};
use super::ledger::{Ledger, Sight};
use crate::history::What;
use crate::plan::OpId;

/// How long a producer may have to ask: the time of several tries, each with its wait.
const ANSWERED_US: u64 = 10_000_000;

/// How long a command may wait for its handler: the patience with a link that doesn't answer, and the way over the other
/// transport.
const BEGUN_US: u64 = 15_000_000;

#[derive(Debug, Default)]
pub(super) struct Served {
    /// What waits, since when.
    waiting: BTreeMap<OpId, (Awaited, u64)>,
    /// What was begun, maybe before the producer heard that it was accepted.
    begun: BTreeSet<OpId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Answer,
    Handler,
}

impl Served {
    pub(super) fn see(&mut self, sight: &Sight<'_>, findings: &mut Findings<'_>) {
        if !sight.rules.only_strangers() {
            return;
        }
        match &sight.record.what {
            What::Offered { op, .. } => {
                self.waiting
                    .entry(*op)
                    .or_insert((Awaited::Answer, sight.at));
            }
            What::Accepted { op, duplicate, .. } => {
                self.ended(*op, Awaited::Answer, sight, findings);
                if !duplicate && !self.begun.contains(op) {
                    self.waiting.insert(*op, (Awaited::Handler, sight.at));
                }
            }
            What::Declined { op, .. } => self.ended(*op, Awaited::Answer, sight, findings),
            What::Unknown { op, .. } => {
                let key = sight.ledger.ops.get(op).map(|op| op.key.is_some());
                if key != Some(true) {
                    self.waiting.remove(op);
                }
            }
            What::Executing { op, .. } => {
                self.begun.insert(*op);
                self.ended(*op, Awaited::Handler, sight, findings);
            }
            _ => {}
        }
    }

    fn ended(
        &mut self,
        op: OpId,
        awaited: Awaited,
        sight: &Sight<'_>,
        findings: &mut Findings<'_>,
    ) {
        let Some((_, since)) = self.waiting.get(&op).filter(|(what, _)| *what == awaited) else {
            return;
        };
        judge(op, awaited, (*since, sight.at), sight.spot(), findings);
        self.waiting.remove(&op);
    }

    pub(super) fn end(&self, ledger: &Ledger, rules: &Rules, findings: &mut Findings<'_>) {
        if !rules.only_strangers() {
            return;
        }
        for (op, (awaited, since)) in &self.waiting {
            judge(
                *op,
                *awaited,
                (*since, ledger.now),
                ledger.end_spot(None),
                findings,
            );
        }
    }
}

fn judge(
    op: OpId,
    awaited: Awaited,
    (since, until): (u64, u64),
    spot: super::findings::Spot<'_>,
    findings: &mut Findings<'_>,
) {
    let (what, longest) = match awaited {
        Awaited::Answer => ("was offered at", ANSWERED_US),
        Awaited::Handler => ("was accepted at", BEGUN_US),
    };
    let waited = until.saturating_sub(since);
    findings.check(Fairness, waited <= longest, spot, || {
        format!(
            "{op} {what} {} and waited until {} while strangers took what was to be had; {} is what it may take",
            Secs(since),
            Secs(until),
            Secs(longest),
        )
    });
}
