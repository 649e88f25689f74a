//! Group 4: what anybody was told stays true.
//!
//! That an acknowledged task is never granted again, nor anything that left or stands in poison, is judged
//! where events follow one another ([`super::leases`]). Here is the rest:
//!
//! - an opening has an origin of its own, and is never refused as damaged unless something damaged the disk;
//! - what a task is found to be at the end agrees with the last that was told of it: *done*, *purged* and
//!   *drained* are gone; *poison* is in poison, unless it may have been requeued or turned out done;
//! - a requeue that an operator was told of is not forgotten: poison again takes another lease or an expiry;
//! - a job that requeues what was in poison when it was asked for takes nothing that got there later: whose last lease
//!   was told of after that;
//! - an effect that an endpoint has told of, being a line of its file, is there at every start, unless something
//!   damaged its disk;
//! - no endpoint begins with a newer epoch what had been acknowledged before;
//! - what was definitely declined every time it was offered, repetitions under its key included, is never
//!   executed.

use std::collections::{BTreeMap, BTreeSet};

use super::Invariant::{DoneStaysDone, DurableIsDurable};
use super::findings::{Findings, Secs};
use super::leases::is_gone;
use super::ledger::{FeedEventKind, No, Sight, TaskFacts, TaskPlace};
use crate::history::What;
use crate::plan::OpId;

#[derive(Debug, Default)]
pub(super) struct Durable {
    origins: BTreeSet<(No, String)>,
    /// The epoch at the last requeue that the feed told of, if its operator was not told of it yet.
    fed: BTreeMap<No, u32>,
    /// Requeues that operators were told of: when, and the epoch the task had in poison.
    requeued: BTreeMap<No, (u64, u32)>,
    /// When the feed told of each task's last lease: before its holder had it.
    granted: BTreeMap<No, u64>,
}

impl Durable {
    pub(super) fn see(&mut self, sight: &Sight<'_>, findings: &mut Findings<'_>) {
        let at = Secs(sight.at);
        let host = &sight.record.host;
        match &sight.record.what {
            What::Opened { origin, .. } => {
                let new = self.origins.insert((sight.host, origin.clone()));
                findings.check(DurableIsDurable, new, sight.spot(), || {
                    format!("{host} opened its queue at {at} with the origin {origin}, which it has had before")
                });
            }
            What::OpenRefused { why, damaged: true } => {
                let may = sight.rules.may_be_damaged(host);
                findings.check(DurableIsDurable, may, sight.spot(), || {
                    format!("{host} found its log damaged at {at}, though nothing had damaged its disk: {why}")
                });
            }
            What::Operated { act, .. } if act == "requeue" => {
                let task = sight.task.expect("it names a task");
                let facts = sight.ledger.task(task);
                // The feed may have told of it already, of the next lease, and of poison again.
                let epoch = match self.fed.remove(&task) {
                    Some(epoch) => epoch,
                    None if facts.place == TaskPlace::Poison => facts.epoch,
                    None => 0,
                };
                self.requeued.insert(task, (sight.at, epoch));
            }
            What::Found {
                state,
                cause,
                epoch,
                ..
            } => {
                self.found(sight, state, findings);
                let overdue = matches!(cause.as_deref(), Some("expired" | "too old"));
                if state == "poison" && !overdue {
                    self.is_requeued(sight, *epoch, findings);
                }
            }
            What::Executing { epoch, op, .. } => executing(sight, *epoch, *op, findings),
            What::Forgotten { task } => {
                let may = sight.rules.may_be_damaged(host);
                findings.check(DurableIsDurable, may, sight.spot(), || {
                    format!(
                        "{task} was executed by {host}, which had told so, and is gone from its effect file at {at}, \
                         though nothing had damaged its disk"
                    )
                });
            }
            _ => {}
        }
        if let Some(fed) = sight.fed.filter(|fed| fed.kind == FeedEventKind::Granted) {
            self.granted.insert(fed.task, sight.at);
        }
        if let Some(fed) = sight.fed.filter(|fed| fed.kind == FeedEventKind::Requeued) {
            self.was_asked_for(fed.task, sight, findings);
            let epoch = sight.ledger.task(fed.task).epoch;
            self.fed.insert(fed.task, epoch);
        }
    }

    /// Whether whoever had a task requeued can have found it in poison.
    fn was_asked_for(&self, task: No, sight: &Sight<'_>, findings: &mut Findings<'_>) {
        let last_job = sight.rules.last_job(&sight.record.host, sight.at);
        let (Some(asked), Some(granted)) = (last_job, self.granted.get(&task)) else {
            return;
        };
        let name = &sight.ledger.task(task).name;
        findings.check(DurableIsDurable, *granted <= asked, sight.spot(), || {
            format!(
                "{name} was requeued at {}, and was granted at {}, after the last job was asked for at {}",
                Secs(sight.at),
                Secs(*granted),
                Secs(asked),
            )
        });
    }

    fn is_requeued(&self, sight: &Sight<'_>, epoch: u32, findings: &mut Findings<'_>) {
        let task = sight.task.expect("it names a task");
        let Some((told, before)) = self.requeued.get(&task) else {
            return;
        };
        let name = &sight.ledger.task(task).name;
        findings.check(DurableIsDurable, epoch > *before, sight.spot(), || {
            format!(
                "{name} was requeued at {}, and is in poison at {} with the epoch it had before ({before})",
                Secs(*told),
                Secs(sight.at),
            )
        });
    }

    fn found(&self, sight: &Sight<'_>, state: &str, findings: &mut Findings<'_>) {
        let facts = sight.ledger.task(sight.task.expect("it names a task"));
        let at = Secs(sight.at);
        let gone = is_gone(state);
        match facts.place {
            TaskPlace::Done => findings.check(DoneStaysDone, gone, sight.spot(), || {
                format!(
                    "{}, and {state} again at {at}",
                    super::leases::place(sight, facts)
                )
            }),
            TaskPlace::Purged | TaskPlace::Drained => {
                findings.check(DurableIsDurable, gone, sight.spot(), || {
                    format!(
                        "{}, and {state} again at {at}",
                        super::leases::place(sight, facts)
                    )
                });
            }
            TaskPlace::Poison => {
                let stays = state == "poison" || may_have_left_poison(sight, facts, gone);
                findings.check(DurableIsDurable, stays, sight.spot(), || {
                    format!(
                        "{}, and {state} at {at}",
                        super::leases::place(sight, facts)
                    )
                });
            }
            TaskPlace::Unsaid | TaskPlace::Ready | TaskPlace::Delayed | TaskPlace::Leased => {}
        }
    }
}

/// Untold, a task can leave poison by a requeue or a removal that was asked for, or because a late *done*
/// arrived.
fn may_have_left_poison(sight: &Sight<'_>, facts: &TaskFacts, gone: bool) -> bool {
    if sight.ledger.is_certain(facts) && sight.rules.skew.0 == 0 {
        return false;
    }
    let host = &sight.record.host;
    let removals = sight.rules.removals(host, sight.at);
    let removed = gone && removals.is_none_or(|removals| removals > 0);
    let executed = gone && facts.executed.is_some();
    removed || executed || sight.rules.may_be_requeued(host, sight.at)
}

fn executing(sight: &Sight<'_>, epoch: u32, op: OpId, findings: &mut Findings<'_>) {
    let facts = sight
        .ledger
        .task(sight.task.expect("an execution names a task"));
    if facts.place == TaskPlace::Done {
        findings.check(DoneStaysDone, epoch <= facts.epoch, sight.spot(), || {
            format!(
                "{}, delivered again with epoch {epoch} to {} at {}",
                super::leases::place(sight, facts),
                sight.record.host,
                Secs(sight.at),
            )
        });
    }
    let Some(offered) = sight.ledger.ops.get(&op) else {
        return;
    };
    let kept = sight
        .ledger
        .repetitions(offered)
        .any(|op| op.declined < op.offers);
    findings.check(DurableIsDurable, kept, sight.spot(), || {
        format!(
            "{op} was declined every time (last offered at {}), and {} executes it at {}",
            Secs(offered.last),
            sight.record.host,
            Secs(sight.at),
        )
    });
}
