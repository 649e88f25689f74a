//! Tells endpoints which tasks have left the queue, in ranges, after that is durable.
//!
//! Ranges grow together as the tasks between them finish, so that a lost announcement is made good by
//! a later one around it. The last few are repeated on each new link.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::limits::{SETTLED_RANGES_PER_FRAME_MAX, SETTLED_WAITING_MAX};
use super::link::Link;
use crate::core::{IdRange, TaskId};

/// What is to be announced.
#[derive(Default)]
pub(super) struct Announcer {
    waiting: BTreeSet<TaskId>,
    /// The tasks of the last announcement: a link may have died under it.
    last: Vec<TaskId>,
    told: Vec<Arc<Link>>,
}

impl Announcer {
    /// A task has left the queue, durably.
    pub(super) fn add(&mut self, task: TaskId) {
        self.waiting.insert(task);
        if self.waiting.len() > SETTLED_WAITING_MAX {
            self.waiting.pop_first();
        }
    }

    /// Announces what waits on each of `links`, if there is one. `range_of` says which settled tasks lie
    /// around a task, itself included. Returns how many tasks were told of.
    pub(super) fn announce(
        &mut self,
        links: Vec<Arc<Link>>,
        range_of: impl Fn(TaskId) -> Option<IdRange>,
    ) -> usize {
        let is_known = |link: &Arc<Link>| self.told.iter().any(|told| Arc::ptr_eq(told, link));
        let fresh = if links.iter().all(is_known) {
            0
        } else {
            self.waiting.extend(self.last.iter().copied());
            self.last.len()
        };
        self.told = links;
        if self.waiting.is_empty() || self.told.is_empty() {
            return 0;
        }
        let tasks: Vec<TaskId> = std::mem::take(&mut self.waiting).into_iter().collect();
        let ranges = ranges(&tasks, range_of);
        let frames = || ranges.chunks(SETTLED_RANGES_PER_FRAME_MAX);
        let told_all = self
            .told
            .iter()
            .all(|link| frames().all(|frame| link.announce(frame)));
        if !told_all {
            // A link has died: its successor is told all of it.
            self.waiting.extend(tasks);
            self.told.clear();
            return 0;
        }
        let told = tasks.len().saturating_sub(fresh);
        self.last = tasks;
        told
    }
}

/// The ranges around `tasks`, which are in order; each range once.
fn ranges(tasks: &[TaskId], range_of: impl Fn(TaskId) -> Option<IdRange>) -> Vec<IdRange> {
    let mut ranges = Vec::new();
    let mut covered: Option<TaskId> = None;
    for &task in tasks {
        if covered.is_some_and(|last| task <= last) {
            continue;
        }
        // A task that was settled and isn't in the settled set has been requeued from poison.
        let Some(range) = range_of(task) else {
            continue;
        };
        covered = Some(range.ends().1);
        ranges.push(range);
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Origin, Seq};

    fn task(seq: u64) -> TaskId {
        TaskId {
            seq: Seq(seq),
            origin: Origin(7),
        }
    }

    #[test]
    fn each_range_is_announced_once() {
        let range_of = |of: TaskId| match of.seq.0 {
            1..=4 => IdRange::new(of.origin, Seq(1), Seq(4)),
            6 => None,
            _ => Some(IdRange::one(of)),
        };
        let tasks = [2, 3, 4, 6, 9].map(task);
        let ends: Vec<_> = ranges(&tasks, range_of)
            .into_iter()
            .map(IdRange::ends)
            .collect();
        assert_eq!(ends, [(task(1), task(4)), (task(9), task(9))]);
    }
}
