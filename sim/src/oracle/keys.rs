//! Idempotency: one key, one task.
//!
//! Within the window a key stands for the first command that was kept under it. Whoever repeats that command
//! is told the same task; whoever is told first is told that it is new, everybody who asks after that is told
//! that it is a duplicate; another route or body under the key is a conflict, and is not accepted.
//!
//! What may be inferred: an offer without an answer may have bound the key or not, so a first answer may
//! already be *duplicate* if the key was offered before. The window is counted from the enqueue, which lies
//! between the first offer and its answer, and a task that lives holds its key longer; so a second task is a
//! violation only if the first still lived by all that was told, or was offered less than a window ago. An
//! opening takes the time from the wall clock, if that is later: where it was set forward, the window is as much
//! shorter. Only a drain takes a task out of the product's sight; what happens to its key then is left open.
//!
//! A purge takes the key with it if nothing of the task was ever in doubt, and leaves it there otherwise. Deaths of the
//! bridge leave doubts that nobody is told of, so that of a task without any the key may have stayed all the same,
//! unless its queue was opened once and told everything; of one that was executed, or whose doubt was told, it has.
//!
//! A key's scope is its route.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Invariant::OneTaskPerKey;
use super::findings::{Findings, Secs, Spot};
use super::ledger::{FeedEventKind, LeaseOutcome, No, Sight, TaskPlace};
use crate::history::{TaskName, What};
use crate::plan::OpId;

/// Slack of the window: clocks drift, and queue time stands still while nobody has the log open.
const WINDOW_SLACK_PERCENT: u64 = 5;

#[derive(Debug, Default)]
pub(super) struct Keys {
    /// By queue, route and key.
    keys: BTreeMap<(No, Arc<str>, String), Key>,
    /// Tasks of which an attempt was told to be in doubt.
    doubted: BTreeSet<No>,
}

#[derive(Debug, Default)]
struct Key {
    /// Offers so far, repetitions of one operation included.
    offers: u32,
    /// When the first of them was made.
    first: u64,
    /// Bodies that were offered.
    prints: Vec<u64>,
    bound: Option<Bound>,
}

/// What a key stands for, as far as was told.
#[derive(Debug)]
struct Bound {
    task: No,
    print: u64,
    /// When it may have been offered first: the window is not counted from before.
    offered: u64,
    /// When somebody was told of it first.
    told: u64,
    /// Somebody has been told that it is new.
    told_new: bool,
}

/// The key that an operation was offered with.
fn key_of<'k>(
    keys: &'k mut BTreeMap<(No, Arc<str>, String), Key>,
    sight: &Sight<'_>,
    op: OpId,
) -> Option<&'k mut Key> {
    let facts = sight.ledger.ops.get(&op)?;
    let key = facts.key.clone()?;
    keys.get_mut(&(facts.queue, facts.route.clone(), key))
}

impl Keys {
    pub(super) fn see(&mut self, sight: &Sight<'_>, findings: &mut Findings<'_>) {
        match &sight.record.what {
            What::Offered {
                bridge,
                route,
                key,
                print,
                ..
            } => {
                let Some(key) = key else {
                    return;
                };
                let queue = sight.ledger.host(bridge).expect("it was numbered");
                let name = (queue, route.as_str().into(), key.clone());
                let key = self.keys.entry(name).or_default();
                if key.offers == 0 {
                    key.first = sight.at;
                }
                key.offers += 1;
                if !key.prints.contains(print) {
                    key.prints.push(*print);
                }
            }
            What::Accepted { op, duplicate, .. } => self.accepted(sight, *op, *duplicate, findings),
            What::Declined { op, why } if why == "key_conflict" => {
                self.conflict(sight, *op, findings);
            }
            What::Executing { op, .. } => self.executing(sight, *op, findings),
            What::Fed { .. } => {
                let in_doubt = FeedEventKind::End(LeaseOutcome::InDoubt);
                let doubted = sight.fed.filter(|fed| fed.kind == in_doubt);
                self.doubted.extend(doubted.map(|fed| fed.task));
            }
            _ => {}
        }
    }

    fn accepted(
        &mut self,
        sight: &Sight<'_>,
        op: OpId,
        duplicate: bool,
        findings: &mut Findings<'_>,
    ) {
        let Some(offer) = sight.ledger.ops.get(&op) else {
            return;
        };
        let task = sight.task.expect("an acceptance names a task");
        let name = sight.ledger.task(task).name;
        let (at, spot) = (Secs(sight.at), with_op(sight, op));
        let Self { keys, doubted } = self;
        let Some(key) = key_of(keys, sight, op) else {
            // Without a key nothing can be recognised.
            findings.check(OneTaskPerKey, !duplicate, spot, || {
                format!("{op} has no key, and was told at {at} that it is a duplicate of {name}")
            });
            return;
        };
        findings.check(OneTaskPerKey, !duplicate || key.offers > 1, spot, || {
            format!("{op} was told at {at} that it is a duplicate of {name}, but its key was never offered before")
        });
        let released = duplicate && certainly_released(task, doubted, sight, offer.last);
        findings.check(OneTaskPerKey, !released, spot, || {
            format!("{op} was told at {at} that it is a duplicate of {name}, which was purged with its key: it was never in doubt")
        });
        // A duplicate's first is of an offer that was never answered: any of those before.
        let offered = if duplicate { key.first } else { offer.first };
        let Some(bound) = key
            .bound
            .as_mut()
            .filter(|bound| still_holds(bound, doubted, sight))
        else {
            key.bound = Some(Bound {
                task,
                print: offer.print,
                offered,
                told: sight.at,
                told_new: !duplicate,
            });
            return;
        };
        if bound.task != task {
            let certain = certainly_holds(bound, doubted, sight);
            findings.check(OneTaskPerKey, !certain, spot, || {
                two_tasks(
                    sight,
                    bound,
                    name,
                    &format!("{op} was accepted as {name} at {at}"),
                )
            });
            *bound = Bound {
                task,
                print: offer.print,
                offered,
                told: sight.at,
                told_new: !duplicate,
            };
            return;
        }
        let known_before = offer.last > bound.told && bound.told < sight.at;
        let twice_new = !duplicate && (bound.told_new || known_before);
        findings.check(OneTaskPerKey, !twice_new, spot, || {
            format!(
                "{op} was told at {at} that {name} is new, but the key has stood for it since {}",
                Secs(bound.told),
            )
        });
        bound.told_new |= !duplicate;
        findings.check(OneTaskPerKey, bound.print == offer.print, spot, || {
            format!(
                "{op} was accepted at {at} as a repetition of {name} (told at {}), which has another route or body",
                Secs(bound.told),
            )
        });
    }

    fn conflict(&mut self, sight: &Sight<'_>, op: OpId, findings: &mut Findings<'_>) {
        let Some(key) = key_of(&mut self.keys, sight, op) else {
            findings.check(OneTaskPerKey, false, with_op(sight, op), || {
                format!(
                    "{op} has no key, and was told at {} that it conflicts",
                    Secs(sight.at)
                )
            });
            return;
        };
        findings.check(OneTaskPerKey, key.prints.len() > 1, with_op(sight, op), || {
            format!(
                "{op} was told at {} that its key stands for another command, but only this one was ever offered",
                Secs(sight.at),
            )
        });
    }

    /// What an unanswered offer came to shows when it is executed.
    fn executing(&mut self, sight: &Sight<'_>, op: OpId, findings: &mut Findings<'_>) {
        let task = sight.task.expect("an execution names a task");
        let name = sight.ledger.task(task).name;
        let Self { keys, doubted } = self;
        let Some(bound) = key_of(keys, sight, op).and_then(|key| key.bound.as_ref()) else {
            return;
        };
        // An older task of the key may still be at work when the window has let a new one in.
        let newer = name.seq() > sight.ledger.task(bound.task).name.seq();
        let twin = bound.task != task && newer && certainly_holds(bound, doubted, sight);
        findings.check(OneTaskPerKey, !twin, sight.spot(), || {
            let says = format!(
                "{} executes {name} for {op} at {}",
                sight.record.host,
                Secs(sight.at)
            );
            two_tasks(sight, bound, name, &says)
        });
    }
}

fn two_tasks(sight: &Sight<'_>, bound: &Bound, twin: TaskName, says: &str) -> String {
    format!(
        "one key, two tasks: {} was told at {}, and {says}, so {twin} is its twin",
        sight.ledger.task(bound.task).name,
        Secs(bound.told),
    )
}

/// Whether the key must still stand for its task.
fn certainly_holds(bound: &Bound, doubted: &BTreeSet<No>, sight: &Sight<'_>) -> bool {
    let facts = sight.ledger.task(bound.task);
    if facts.place == TaskPlace::Drained {
        return false;
    }
    let lives =
        !facts.place.is_gone() && facts.executed.is_none() && sight.rules.operators.is_some();
    let host = facts_host(sight, bound);
    let removed = sight.rules.removals(&host, sight.at);
    // What was executed and is not done by all that was told ended in doubt.
    let may_have_run = facts.executed.is_some() || doubted.contains(&bound.task);
    let may_be_purged = facts.place != TaskPlace::Done && removed != Some(0);
    if may_be_purged && !may_have_run {
        return false;
    }
    let lives = lives && removed == Some(0);
    let inside = sight.rules.key_window.is_some_and(|window| {
        let slack = window.0 / 100 * WINDOW_SLACK_PERCENT;
        let passed = sight.at + sight.rules.leapt(&host, sight.at) + slack;
        passed < bound.offered + window.0
    });
    lives || inside
}

/// Whether the key may still stand for its task.
fn still_holds(bound: &Bound, doubted: &BTreeSet<No>, sight: &Sight<'_>) -> bool {
    let facts = sight.ledger.task(bound.task);
    facts.place != TaskPlace::Drained || certainly_holds(bound, doubted, sight)
}

/// Whether the key of a task that was purged can't have stayed: all that happened to it was told before the offer, and
/// nothing of it was in doubt.
fn certainly_released(task: No, doubted: &BTreeSet<No>, sight: &Sight<'_>, offered: u64) -> bool {
    let facts = sight.ledger.task(task);
    let told_all = facts.queue.is_some_and(|queue| {
        let queue = sight.ledger.queue(queue);
        queue.boots == 1 && !queue.blind && sight.rules.operators.is_some()
    });
    let purged = facts.place == TaskPlace::Purged && facts.since < offered;
    purged && told_all && facts.executed.is_none() && !doubted.contains(&task)
}

fn facts_host(sight: &Sight<'_>, bound: &Bound) -> crate::plan::HostName {
    let queue = sight.ledger.task(bound.task).queue;
    queue.map_or_else(
        || sight.record.host.clone(),
        |queue| sight.ledger.queue(queue).host.clone(),
    )
}

fn with_op<'a>(sight: &Sight<'a>, op: OpId) -> Spot<'a> {
    Spot {
        op: Some(op),
        ..sight.spot()
    }
}
