//! Which inbox may have executed a task that is in doubt, for `on_lost_inbox = hold`.
//!
//! Lives in memory: what was in doubt before this bridge started is not known here, and is sent again.

use std::collections::BTreeMap;

use super::limits::DOUBTS_MAX;
use crate::core::TaskId;
use crate::wire::InboxId;

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    inboxes: BTreeMap<TaskId, InboxId>,
}

impl Doubts {
    /// The inbox that knows what became of the task.
    pub(super) fn inbox_of(&self, task: TaskId) -> Option<InboxId> {
        self.inboxes.get(&task).copied()
    }

    /// A send of the task to this inbox is in doubt. The first one stays: it is the one that a later
    /// inbox doesn't know of.
    pub(super) fn remember(&mut self, task: TaskId, inbox: InboxId) {
        self.inboxes.entry(task).or_insert(inbox);
        if self.inboxes.len() > DOUBTS_MAX {
            // The newest ids are the ones that have waited least; the oldest are close to their end.
            self.inboxes.pop_last();
        }
    }

    /// The task has a definite outcome, or a person decides.
    pub(super) fn forget(&mut self, task: TaskId) {
        self.inboxes.remove(&task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Origin, Seq};

    fn task(seq: u64) -> TaskId {
        TaskId {
            seq: Seq(seq),
            origin: Origin(1),
        }
    }

    #[test]
    fn the_first_inbox_in_doubt_is_remembered_until_the_outcome() {
        let mut doubts = Doubts::default();
        doubts.remember(task(1), InboxId([1; 16]));
        doubts.remember(task(1), InboxId([2; 16]));
        assert_eq!(doubts.inbox_of(task(1)), Some(InboxId([1; 16])));
        doubts.forget(task(1));
        assert_eq!(doubts.inbox_of(task(1)), None);
    }

    #[test]
    fn it_holds_no_more_than_its_limit() {
        let mut doubts = Doubts::default();
        for seq in 0..=DOUBTS_MAX as u64 {
            doubts.remember(task(seq), InboxId([1; 16]));
        }
        assert_eq!(doubts.inboxes.len(), DOUBTS_MAX);
        assert!(doubts.inbox_of(task(0)).is_some());
    }
}
