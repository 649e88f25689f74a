//! Group 7: an endpoint that uses the inbox executes each task at most once.
//!
//! What counts is an execution that ended in `done`; whatever else a handler answered had no effect. What
//! binds is the inbox's memory, so the count is kept:
//!
//! - per inbox id where memory is lost in a crash (and where nothing is known of the endpoint): another id
//!   is another memory;
//! - per endpoint where the inbox is on disk: a crash takes nothing, and an id that changes excuses nothing,
//!   unless the disk was damaged;
//! - nothing begins for an older lease than the newest that the same inbox has begun;
//! - over all endpoints, unless a person has requeued it: whoever may have executed a task keeps it when its route's
//!   tasks are moved to another endpoint;
//! - per endpoint too for a route that holds its doubts when the inbox has changed, as long as the bridge,
//!   which remembers them in memory, has not been restarted, and nobody has requeued what was held: that is an
//!   operator's decision to have it executed, perhaps again. The same goes for what an inbox refuses because a
//!   crash had cut off its execution.

use std::collections::{BTreeMap, BTreeSet};

use super::Invariant::EffectivelyOnce;
use super::findings::{Findings, Secs};
use super::ledger::{FeedEventKind, No, Sight, TaskFacts};
use crate::history::What;
use crate::plan::Inbox;

#[derive(Debug, Default)]
pub(super) struct Once {
    inboxes: BTreeMap<No, String>,
    /// By task: where and when it was executed, under which inbox, and with which epoch.
    done: BTreeMap<No, Vec<Done>>,
    /// By endpoint and task: under which inbox an execution began last, and with which epoch.
    begun: BTreeMap<(No, No), (String, u32)>,
    /// Tasks that were requeued by hand.
    requeued: BTreeSet<No>,
}

#[derive(Debug)]
struct Done {
    by: No,
    at: u64,
    inbox: String,
    epoch: u32,
}

impl Once {
    pub(super) fn see(&mut self, sight: &Sight<'_>, findings: &mut Findings<'_>) {
        if let Some(fed) = sight.fed.filter(|fed| fed.kind == FeedEventKind::Requeued) {
            self.requeued.insert(fed.task);
        }
        match &sight.record.what {
            What::Up { inbox, .. } => {
                self.inboxes.insert(sight.host, inbox.clone());
            }
            What::Executing { epoch, .. } => self.executing(sight, *epoch, findings),
            What::Executed { result, epoch, .. } if result == "done" => {
                self.executed(sight, *epoch, findings);
            }
            _ => {}
        }
    }

    /// An inbox begins nothing for a lease that is older than the newest it has seen.
    fn executing(&mut self, sight: &Sight<'_>, epoch: u32, findings: &mut Findings<'_>) {
        let task = sight.task.expect("an execution names a task");
        let inbox = self.inboxes.get(&sight.host).cloned().unwrap_or_default();
        let begun = self.begun.entry((sight.host, task)).or_default();
        let newest = if begun.0 == inbox { begun.1 } else { 0 };
        findings.check(EffectivelyOnce, newest <= epoch, sight.spot(), || {
            format!(
                "{} begins {} of epoch {epoch} at {}, after it had begun it for epoch {newest}",
                sight.record.host,
                sight.ledger.task(task).name,
                Secs(sight.at),
            )
        });
        *begun = (inbox, newest.max(epoch));
    }

    fn executed(&mut self, sight: &Sight<'_>, epoch: u32, findings: &mut Findings<'_>) {
        let task = sight.task.expect("an execution names a task");
        let facts = sight.ledger.task(task);
        let inbox = self.inboxes.get(&sight.host).cloned().unwrap_or_default();
        let by_hand = self.requeued.contains(&task);
        let any_inbox = is_kept(sight) || (is_held(sight, facts) && !by_hand);
        let decided = by_hand && is_blind(sight);
        let before = self.done.entry(task).or_default();
        let first = before.iter().find(|done| match done.by == sight.host {
            true => (any_inbox || done.inbox == inbox) && !decided,
            false => !by_hand,
        });
        findings.check(EffectivelyOnce, first.is_none(), sight.spot(), || {
            let first = first.expect("it was found");
            let acked = match facts.place.is_gone() {
                true => format!(", acked at {}", Secs(facts.since)),
                false => String::new(),
            };
            format!(
                "{} was executed at {} (epoch {}){acked}, and executed again by {} at {} (epoch {epoch})",
                facts.name,
                Secs(first.at),
                first.epoch,
                sight.record.host,
                Secs(sight.at),
            )
        });
        before.push(Done {
            by: sight.host,
            at: sight.at,
            inbox,
            epoch,
        });
    }
}

/// Whether this endpoint's inbox refuses what a crash has cut off, until a person has decided.
fn is_blind(sight: &Sight<'_>) -> bool {
    sight.rules.inboxes.get(&sight.record.host) == Some(&Inbox::Blind)
}

/// Whether no crash takes the memory of this endpoint's inbox.
fn is_kept(sight: &Sight<'_>) -> bool {
    match sight.rules.inboxes.get(&sight.record.host) {
        Some(Inbox::File | Inbox::Blind | Inbox::Effect) => {
            !sight.rules.may_be_damaged(&sight.record.host)
        }
        Some(Inbox::Memory) | None => false,
    }
}

/// Whether the bridge withholds the task from an inbox that has changed.
fn is_held(sight: &Sight<'_>, facts: &TaskFacts) -> bool {
    let route = facts.route.map(|route| sight.ledger.route_name(route));
    let holds = route.is_some_and(|route| sight.rules.held.contains(route));
    let queue = facts.queue.map(|queue| sight.ledger.queue(queue));
    holds && queue.is_some_and(|queue| queue.boots == 1)
}
