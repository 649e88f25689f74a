//! Group 7: an endpoint that uses the inbox executes each task at most once.
//!
//! What counts is an execution that ended in `done`; whatever else a handler answered had no effect. What
//! binds is the inbox's memory, so the count is kept:
//!
//! - per inbox id where memory is lost in a crash (and where nothing is known of the endpoint): another id
//!   is another memory;
//! - per endpoint where the inbox is on disk: a crash takes nothing, and an id that changes excuses nothing,
//!   unless the disk was damaged;
//! - per endpoint too for a route that holds its doubts when the inbox has changed, as long as the bridge,
//!   which remembers them in memory, has not been restarted, and nobody has requeued what was held: that is an
//!   operator's decision to have it executed, perhaps again.

use std::collections::{BTreeMap, BTreeSet};

use super::Invariant::EffectivelyOnce;
use super::findings::{Findings, Secs};
use super::ledger::{Kind, No, Sight, TaskFacts};
use crate::history::What;
use crate::plan::Inbox;

#[derive(Debug, Default)]
pub(super) struct Once {
    inboxes: BTreeMap<No, String>,
    /// By endpoint and task: when and under which inbox it was executed, and with which epoch.
    done: BTreeMap<(No, No), Vec<Done>>,
    /// Tasks that were requeued by hand.
    requeued: BTreeSet<No>,
}

#[derive(Debug)]
struct Done {
    at: u64,
    inbox: String,
    epoch: u32,
}

impl Once {
    pub(super) fn see(&mut self, sight: &Sight<'_>, findings: &mut Findings<'_>) {
        if let Some(fed) = sight.fed.filter(|fed| fed.kind == Kind::Requeued) {
            self.requeued.insert(fed.task);
        }
        match &sight.record.what {
            What::Up { inbox, .. } => {
                self.inboxes.insert(sight.host, inbox.clone());
            }
            What::Executed { result, epoch, .. } if result == "done" => {
                self.executed(sight, *epoch, findings);
            }
            _ => {}
        }
    }

    fn executed(&mut self, sight: &Sight<'_>, epoch: u32, findings: &mut Findings<'_>) {
        let task = sight.task.expect("an execution names a task");
        let facts = sight.ledger.task(task);
        let inbox = self.inboxes.get(&sight.host).cloned().unwrap_or_default();
        let any_inbox = is_kept(sight) || (is_held(sight, facts) && !self.requeued.contains(&task));
        let before = self.done.entry((sight.host, task)).or_default();
        let first = before.iter().find(|done| any_inbox || done.inbox == inbox);
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
            at: sight.at,
            inbox,
            epoch,
        });
    }
}

/// Whether no crash takes the memory of this endpoint's inbox.
fn is_kept(sight: &Sight<'_>) -> bool {
    match sight.rules.inboxes.get(&sight.record.host) {
        Some(Inbox::File | Inbox::Effect) => !sight.rules.may_be_damaged(&sight.record.host),
        Some(Inbox::Memory) | None => false,
    }
}

/// Whether the bridge withholds the task from an inbox that has changed.
fn is_held(sight: &Sight<'_>, facts: &TaskFacts) -> bool {
    let route = facts
        .route
        .map(|route| &sight.ledger.route_names[route.at()]);
    let holds = route.is_some_and(|route| sight.rules.held.contains(route));
    let queue = facts.queue.map(|queue| sight.ledger.queue(queue));
    holds && queue.is_some_and(|queue| queue.boots == 1)
}
