//! Group 3: an acknowledged task was executed by its endpoint, and a rejected one rejected.
//!
//! An execution counts if it ended in `done`, at the endpoint that the task's route leads to, on behalf of
//! the command that the task was made of. It has to stand before the acknowledgement in the history; where
//! several clocks wrote it, no later than they may differ.
//!
//! What is said not to have been sent has not been: no endpoint ever sees it under that epoch. Where epochs may be given
//! twice, since that they grow is lifted, it may be the other one that was seen.
//!
//! A rejection binds the lease it was given to: an endpoint must have rejected the task with its epoch, or, since a newer
//! epoch joins what runs, at a time when it was granted. An older one's answer that comes late is nobody's.

use std::collections::BTreeMap;

use super::Invariant::{AckMeansExecuted, EpochsGrow};
use super::Rules;
use super::findings::{Findings, Secs, Spot};
use super::ledger::{Fed, FeedEventKind, LeaseOutcome, Ledger, No, Sight, TaskPlace};
use crate::history::What;
use crate::plan::OpId;

/// By how much later than it took effect a grant may be told.
const TOLD_LATE_US: u64 = 1_000_000;

/// Acknowledgements whose execution may still come, since clocks differ.
#[derive(Debug, Default)]
pub(super) struct Acks {
    waiting: BTreeMap<No, (usize, u64)>,
    /// By task: with which epoch and when an endpoint rejected it last.
    rejected: BTreeMap<No, (u32, u64)>,
    /// Leases that an endpoint has seen: when first.
    seen: BTreeMap<(No, u32), u64>,
    /// Leases that ended without a send, as was told: when.
    unsent: BTreeMap<(No, u32), u64>,
}

impl Acks {
    pub(super) fn see(&mut self, sight: &Sight<'_>, findings: &mut Findings<'_>) {
        match &sight.record.what {
            What::Executing { op, epoch, .. } => {
                is_its_command(sight, *op, findings);
                let lease = (sight.task.expect("an execution names a task"), *epoch);
                self.seen.entry(lease).or_insert(sight.at);
                self.is_sent(sight, lease, findings);
            }
            What::Executed { result, op, .. } if result == "done" => {
                is_its_command(sight, *op, findings);
                self.executed(sight, findings);
            }
            What::Executed { result, epoch, .. } if result == "rejected" => {
                let task = sight.task.expect("an execution names a task");
                self.rejected.insert(task, (*epoch, sight.at));
            }
            What::Fed { .. } => {
                self.fed(sight, findings);
                self.fed_rejection(sight, findings);
                self.fed_unsent(sight, findings);
            }
            _ => {}
        }
    }

    fn fed_unsent(&mut self, sight: &Sight<'_>, findings: &mut Findings<'_>) {
        let Some(fed) = sight.fed else {
            return;
        };
        let unsent = matches!(
            fed.kind,
            FeedEventKind::End(LeaseOutcome::NotSent | LeaseOutcome::Released)
        );
        if unsent {
            let lease = (fed.task, fed.epoch.unwrap_or_default());
            self.unsent.insert(lease, sight.at);
            self.is_sent(sight, lease, findings);
        }
    }

    fn is_sent(&self, sight: &Sight<'_>, lease: (No, u32), findings: &mut Findings<'_>) {
        if sight.rules.lifts.contains(&EpochsGrow) {
            return;
        }
        let (Some(told), seen) = (self.unsent.get(&lease), self.seen.get(&lease)) else {
            return;
        };
        findings.check(AckMeansExecuted, seen.is_none(), sight.spot(), || {
            format!(
                "{} was given back unsent with epoch {} at {}, but an endpoint began to execute it with that epoch at {}",
                sight.ledger.task(lease.0).name,
                lease.1,
                Secs(*told),
                Secs(*seen.expect("it was found")),
            )
        });
    }

    fn fed_rejection(&self, sight: &Sight<'_>, findings: &mut Findings<'_>) {
        let rejection = |fed: &Fed<'_>| fed.kind == FeedEventKind::End(LeaseOutcome::Rejected);
        let Some(fed) = sight.fed.filter(rejection) else {
            return;
        };
        let facts = sight.ledger.task(fed.task);
        let unknown = !sight.ledger.is_certain(facts)
            || facts.place != TaskPlace::Leased
            || sight.rules.skew.0 > 0
            || sight.rules.may_be_late(&sight.record.host);
        if unknown {
            return;
        }
        let epoch = fed.epoch.unwrap_or_default();
        let Some((of, at)) = self.rejected.get(&fed.task) else {
            return;
        };
        let rejected = *of == epoch || at + TOLD_LATE_US >= facts.since;
        findings.check(AckMeansExecuted, rejected, sight.spot(), || {
            format!(
                "{} was rejected with epoch {epoch} at {}, though an endpoint had last rejected it at {} (epoch {of}), before its grant at {}",
                facts.name,
                Secs(sight.at),
                Secs(*at),
                Secs(facts.since),
            )
        });
    }

    fn fed(&mut self, sight: &Sight<'_>, findings: &mut Findings<'_>) {
        let Some(fed) = sight
            .fed
            .filter(|fed| fed.kind == FeedEventKind::End(LeaseOutcome::Done))
        else {
            return;
        };
        let facts = sight.ledger.task(fed.task);
        let executed = facts.executed.is_some();
        if !executed && sight.rules.skew.0 > 0 {
            self.waiting.insert(fed.task, (sight.index, sight.at));
            return;
        }
        findings.check(AckMeansExecuted, executed, sight.spot(), || {
            format!(
                "{} was acked with epoch {} at {}, but no endpoint had executed it",
                facts.name,
                fed.epoch.unwrap_or_default(),
                Secs(sight.at),
            )
        });
    }

    fn executed(&mut self, sight: &Sight<'_>, findings: &mut Findings<'_>) {
        let task = sight.task.expect("an execution names a task");
        let facts = sight.ledger.task(task);
        if let Some((_, acked)) = self.waiting.remove(&task) {
            let in_time = sight.at <= acked + sight.rules.skew.0;
            findings.check(AckMeansExecuted, in_time, sight.spot(), || {
                format!(
                    "{} was acked at {}, but executed only at {}",
                    facts.name,
                    Secs(acked),
                    Secs(sight.at),
                )
            });
        }
        let endpoint = sight.ledger.endpoint(facts, sight.rules);
        let elsewhere = endpoint.filter(|endpoint| **endpoint != sight.record.host);
        findings.check(AckMeansExecuted, elsewhere.is_none(), sight.spot(), || {
            format!(
                "{} was executed by {} at {}, but its route leads to {}",
                facts.name,
                sight.record.host,
                Secs(sight.at),
                elsewhere.map_or_else(String::new, ToString::to_string),
            )
        });
    }

    pub(super) fn end(&self, ledger: &Ledger, _rules: &Rules, findings: &mut Findings<'_>) {
        for (task, (index, at)) in &self.waiting {
            let facts = ledger.task(*task);
            let spot = Spot {
                index: *index,
                at: *at,
                ..ledger.end_spot(Some(facts))
            };
            findings.check(AckMeansExecuted, false, spot, || {
                format!(
                    "{} was acked at {}, but no endpoint executed it",
                    facts.name,
                    Secs(*at),
                )
            });
        }
    }
}

/// Repetitions share a key, and the first one's body is executed; nothing else may be.
fn is_its_command(sight: &Sight<'_>, op: OpId, findings: &mut Findings<'_>) {
    let facts = sight
        .ledger
        .task(sight.task.expect("an execution names a task"));
    let Some(known) = facts.op.filter(|known| *known != op) else {
        return;
    };
    let ops = &sight.ledger.ops;
    let (Some(a), Some(b)) = (ops.get(&known), ops.get(&op)) else {
        return;
    };
    let same = a.key.is_some() && a.key == b.key && a.queue == b.queue;
    findings.check(AckMeansExecuted, same, sight.spot(), || {
        format!(
            "{} is the command of {known}, but at {} {} executed the command of {op} under its name",
            facts.name,
            Secs(sight.at),
            sight.record.host,
        )
    });
}
