//! The inbox: which commands run, which join, and which are answered from memory.
//!
//! A synchronous state machine without I/O, clock or handler. Its rules:
//!
//! - A *done* binds every later epoch of its task; any other outcome binds only the epoch it answered.
//! - At most one execution of a task at a time. A send that arrives meanwhile joins it and gets its
//!   outcome under its own delivery id.
//! - A delivery older than the newest seen is stale and never runs.
//! - A rollback names one send. It takes back that send alone, and only before execution starts; it
//!   leaves a tombstone, so that the send can't run should it arrive late. It comes over the link of its send: a
//!   tombstone ends with that link, by a newer epoch or a settlement, and is never evicted. Each link may leave so many.
//! - A settled task is forgotten but for its id, and never runs.
//! - What is unsettled is never evicted: when full, the inbox runs nothing new.

mod entry;
mod tombstones;

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

pub use crate::core::IdRanges;
use crate::core::{DeliveryId, Epoch, IdRange, Origin, SendNumber, Seq, TaskId};
use crate::coverage::{Site, reached};
use crate::wire::{ExecutionOutcome, HandlerError};
use entry::{ExecutionState, InboxEntry, Waiters, compact};
use tombstones::Tombstones;

/// Names a link of this receiver, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Names one decision to run a task, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(u64);

/// One send of one delivery, and the link that wants its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiter {
    /// The task, and the epoch that it was sent under.
    pub delivery: DeliveryId,
    /// Which send of that epoch it was.
    pub send: SendNumber,
    /// Where it came from.
    pub link: LinkId,
}

/// What is to be done with a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Execute it: ask [`Inbox::on_start`] right before, report to [`Inbox::on_finished`].
    Run(RunId),
    /// An execution is under way or about to start and will answer this send too.
    Join,
    /// It has its outcome already.
    Answer(ExecutionOutcome),
    /// A newer epoch was seen; nothing is executed.
    Stale(Epoch),
    /// The task is settled; nothing is executed.
    Settled,
    /// This very send was rolled back; nothing is executed.
    RolledBack,
    /// There is no room; nothing is executed or remembered.
    Full(Full),
}

/// What is exhausted when an inbox takes nothing new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// As many unsettled tasks as it may hold.
    #[error("the inbox holds as many unsettled tasks as it may")]
    Entries,
    /// As many bytes of results as it may hold.
    #[error("the inbox holds as many bytes of results as it may")]
    ResultBytes,
    /// As many sends wait for one execution as may.
    #[error("too many sends wait for this task's execution")]
    Waiters,
    /// The receiver drains.
    #[error("the receiver drains")]
    Draining,
}

/// What became of a rollback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RollbackDecision {
    /// The send had been received, or rolled back before, and won't run. The links on which it still
    /// waited for an answer: they get none.
    RolledBack(Vec<LinkId>),
    /// The send was never received; it won't run.
    Unknown,
    /// The task is executing.
    InProgress,
    /// The task was executed.
    AlreadyDone(Bytes),
    /// There is no room for a tombstone: no promise can be made.
    Full,
    /// The link has left as many tombstones as it may: no honest one does.
    TooMany,
}

/// The limits of an inbox.
#[derive(Clone, Copy, Debug)]
pub struct InboxLimits {
    /// Unsettled tasks it holds.
    pub entries_max: usize,
    /// Bytes of results and error texts it holds before it takes nothing new. What is running then
    /// may overshoot it.
    pub result_bytes_max: usize,
    /// Separate ranges of settled ids it holds.
    pub settled_ranges_max: usize,
    /// Rollbacks of sends that never arrived that it remembers for one link. A quarter of `entries_max` is what it
    /// remembers for all of them.
    pub tombstones_per_link: usize,
}

/// What is known of a task when an inbox is rebuilt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remembered {
    /// Executed, with this result.
    Done(Bytes),
    /// Not executed, and an epoch was told so.
    Answered(HandlerError),
    /// It started, and nobody can say whether it was executed: its next delivery is refused, so that
    /// a person decides; one after that runs.
    InDoubt,
    /// It started and was not executed.
    NotDone,
}

/// How many sends may wait for one execution: every send of some epochs, as when a handler runs for
/// hours while its leases expire.
const WAITERS_MAX: usize = 64;

/// There may be this fraction of the limit of entries in tombstones beside them, so that neither keeps the other out.
const TOMBSTONE_SHARE: usize = 4;

/// What a delivery whose execution was cut off by a crash is told.
const IN_DOUBT_TEXT: &str = "the receiver crashed while this task was executing and can't say \
    whether it was executed; requeue it to execute it again";

/// See the module's description.
#[derive(Debug)]
pub struct Inbox {
    /// By origin first, so that a settled range is one piece of it.
    entries: BTreeMap<(Origin, Seq), InboxEntry>,
    tombstones: Tombstones,
    settled: IdRanges,
    /// Executed before a restart, with an empty result and epochs that are not known any more. Kept as
    /// ranges because a rebuilt inbox may know millions of them.
    done_before: IdRanges,
    result_bytes: usize,
    next_run: u64,
    draining: bool,
    limits: InboxLimits,
}

impl Inbox {
    /// An empty inbox.
    pub fn new(limits: InboxLimits) -> Self {
        Self {
            entries: BTreeMap::new(),
            tombstones: Tombstones::default(),
            settled: IdRanges::default(),
            done_before: IdRanges::default(),
            result_bytes: 0,
            next_run: 0,
            draining: false,
            limits,
        }
    }

    /// Puts back what a store remembered. Limits don't apply: nothing unsettled is dropped.
    pub fn remember(&mut self, task: TaskId, epoch: Epoch, what: Remembered) {
        if self.settled.contains(task) {
            return;
        }
        let state = match what {
            Remembered::Done(result) => ExecutionState::Done(result),
            Remembered::Answered(error) => ExecutionState::Answered { epoch, error },
            Remembered::InDoubt => ExecutionState::InDoubt,
            Remembered::NotDone => ExecutionState::Idle,
        };
        more(&mut self.result_bytes, state.result_bytes());
        let mut entry = InboxEntry::new(epoch);
        entry.state = state;
        if let Some(old) = self.entries.insert(task.by_origin(), entry) {
            less(&mut self.result_bytes, old.state.result_bytes());
        }
    }

    /// Puts back settled tasks. Call it before the other two.
    pub fn remember_settled(&mut self, range: IdRange) {
        let added = self.settled.insert(range, usize::MAX);
        assert!(added, "no limit stands against it");
    }

    /// Puts back tasks that were executed with an empty result.
    pub fn remember_done_before(&mut self, ids: IdRanges) {
        self.done_before = ids;
    }

    /// From now on nothing new runs; joins and answers go on.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// A command arrived.
    pub fn on_command(&mut self, waiter: Waiter) -> Decision {
        let DeliveryId { task, epoch } = waiter.delivery;
        if self.settled.contains(task) {
            reached!(Site::SettledNotRun);
            return Decision::Settled;
        }
        if self.done_before.contains(task) {
            reached!(Site::ExecutedBefore);
            return Decision::Answer(Ok(Bytes::new()));
        }
        let full = self.full();
        let Some(entry) = self.entries.get_mut(&task.by_origin()) else {
            if let Some(full) = full {
                return Decision::Full(full);
            }
            let run = Self::next_run(&mut self.next_run);
            let mut entry = InboxEntry::new(epoch);
            entry.state = ExecutionState::Queued(run, Waiters::new(waiter));
            self.entries.insert(task.by_origin(), entry);
            return Decision::Run(run);
        };
        if epoch < entry.epoch && !planted!(Bug::InboxRunsOlderEpoch) {
            reached!(Site::StaleEpochRefused);
            return Decision::Stale(entry.epoch);
        }
        let is_back = epoch == entry.epoch && entry.rolled_back.contains(waiter.send);
        if entry.is_tombstone()
            && !is_back
            && let Some(full) = full
        {
            return Decision::Full(full);
        }
        entry.raise(epoch);
        match &mut entry.state {
            ExecutionState::Done(result) => {
                reached!(Site::DoneFromMemory);
                return Decision::Answer(Ok(result.clone()));
            }
            _ if entry.rolled_back.contains(waiter.send) => {
                reached!(Site::TombstoneStopped);
                return Decision::RolledBack;
            }
            ExecutionState::Queued(_, waiters) | ExecutionState::Running(_, waiters) => {
                return if waiters.join(waiter, WAITERS_MAX) {
                    reached!(Site::JoinedRun);
                    Decision::Join
                } else {
                    Decision::Full(Full::Waiters)
                };
            }
            ExecutionState::Answered {
                epoch: answered,
                error,
            } if *answered == epoch || planted!(Bug::InboxAnswerOutlivesEpoch) => {
                reached!(Site::AnswerFromMemory);
                return Decision::Answer(Err(error.clone()));
            }
            ExecutionState::InDoubt => {
                reached!(Site::InDoubtRefused);
                let error = HandlerError::Refused(IN_DOUBT_TEXT.to_owned());
                entry.state = ExecutionState::Answered {
                    epoch,
                    error: error.clone(),
                };
                more(&mut self.result_bytes, entry.state.result_bytes());
                return Decision::Answer(Err(error));
            }
            ExecutionState::Answered { .. } => reached!(Site::NewerEpochRan),
            ExecutionState::Idle => {}
        }
        // The entry exists already, so that only the other limits can stand against running it.
        if let Some(full @ (Full::Draining | Full::ResultBytes)) = full {
            return Decision::Full(full);
        }
        let run = Self::next_run(&mut self.next_run);
        less(&mut self.result_bytes, entry.state.result_bytes());
        self.tombstones
            .remove(task.by_origin(), &mut entry.tombstone_of);
        entry.state = ExecutionState::Queued(run, Waiters::new(waiter));
        Decision::Run(run)
    }

    /// The handler is about to be called. `false`: the run was taken back; don't call it.
    pub fn on_start(&mut self, task: TaskId, run: RunId) -> bool {
        let Some(entry) = self.entries.get_mut(&task.by_origin()) else {
            return false;
        };
        match std::mem::replace(&mut entry.state, ExecutionState::Idle) {
            ExecutionState::Queued(queued, waiters) if queued == run => {
                entry.state = ExecutionState::Running(run, waiters);
                true
            }
            other => {
                entry.state = other;
                false
            }
        }
    }

    /// The newest epoch that waits for the outcome of `task`, if it is running: the one that an outcome
    /// other than *done* binds.
    pub fn bound_epoch(&self, task: TaskId) -> Option<Epoch> {
        match &self.entries.get(&task.by_origin())?.state {
            ExecutionState::Running(_, waiters) => Some(waiters.newest_epoch()),
            _ => None,
        }
    }

    /// The handler has answered, and the answer is as durable as it will ever be. Returns who waits
    /// for it.
    ///
    /// # Panics
    /// When `run` was not started: a fault of the caller.
    pub fn on_finished(
        &mut self,
        task: TaskId,
        run: RunId,
        outcome: &ExecutionOutcome,
    ) -> Vec<Waiter> {
        let entry = self.entries.get_mut(&task.by_origin());
        let entry = entry.expect("a running task keeps its entry");
        let state = std::mem::replace(&mut entry.state, ExecutionState::Idle);
        let ExecutionState::Running(running, waiters) = state else {
            panic!("task {task} finished without running");
        };
        assert_eq!(running, run, "task {task} finished by another run");
        if self.settled.contains(task) {
            self.entries.remove(&task.by_origin());
            return waiters.into_vec();
        }
        entry.state = match outcome {
            Ok(result) if planted!(Bug::InboxForgetsDone) && result.is_empty() => {
                ExecutionState::Idle
            }
            Ok(result) => ExecutionState::Done(compact(result)),
            Err(error) => ExecutionState::Answered {
                epoch: waiters.newest_epoch(),
                error: error.clone(),
            },
        };
        more(&mut self.result_bytes, entry.state.result_bytes());
        waiters.into_vec()
    }

    /// A rollback arrived on `link`.
    pub fn on_rollback(
        &mut self,
        link: LinkId,
        delivery: DeliveryId,
        send: SendNumber,
    ) -> RollbackDecision {
        let DeliveryId { task, epoch } = delivery;
        if self.settled.contains(task) {
            // It will never run, which is all that is asked.
            return RollbackDecision::Unknown;
        }
        if self.done_before.contains(task) {
            return RollbackDecision::AlreadyDone(Bytes::new());
        }
        let key = task.by_origin();
        let known = self.entries.get(&key);
        // One of an older epoch, too: the newer one that makes it stale may end before it.
        let leaves_mark =
            known.is_none_or(|entry| entry.is_tombstone() && !entry.tombstone_of.contains(&link));
        if leaves_mark && self.tombstones.of(link) >= self.limits.tombstones_per_link {
            reached!(Site::TombstonesTooMany);
            return RollbackDecision::TooMany;
        }
        let room = self.tombstones.len() <= self.limits.entries_max / TOMBSTONE_SHARE;
        let Some(entry) = self.entries.get_mut(&key) else {
            if !room {
                return RollbackDecision::Full;
            }
            reached!(Site::TombstoneLeft);
            if planted!(Bug::NoTombstone) {
                return RollbackDecision::Unknown;
            }
            let mut entry = InboxEntry::new(epoch);
            entry.rolled_back.insert(send);
            self.tombstones.add(key, &mut entry.tombstone_of, link);
            self.entries.insert(key, entry);
            return RollbackDecision::Unknown;
        };
        if leaves_mark {
            self.tombstones.add(key, &mut entry.tombstone_of, link);
        }
        entry.raise(epoch);
        let current = epoch == entry.epoch;
        match &mut entry.state {
            ExecutionState::Done(result) => return RollbackDecision::AlreadyDone(result.clone()),
            ExecutionState::Running(_, waiters) => {
                // A send that has not arrived must not run after this execution has failed.
                if current && !waiters.contains(epoch, send) {
                    entry.rolled_back.insert(send);
                }
                return RollbackDecision::InProgress;
            }
            ExecutionState::Answered {
                epoch: answered, ..
            } if *answered == epoch => {
                // This epoch has its answer: no send of it runs any more.
                return RollbackDecision::RolledBack(Vec::new());
            }
            ExecutionState::Queued(_, waiters) => {
                if let Some((links, left)) = waiters.remove(epoch, send) {
                    reached!(Site::QueuedTakenBack);
                    if !left {
                        entry.state = ExecutionState::Idle;
                    }
                    if current {
                        entry.rolled_back.insert(send);
                    }
                    return RollbackDecision::RolledBack(links);
                }
            }
            ExecutionState::Idle | ExecutionState::InDoubt | ExecutionState::Answered { .. } => {}
        }
        // Older epochs need no tombstone: they are stale.
        if current && entry.rolled_back.insert(send) {
            return RollbackDecision::RolledBack(Vec::new());
        }
        RollbackDecision::Unknown
    }

    /// Tasks have left the queue. Returns the sends that waited for one that has not started and now
    /// never will, or `None` when there is no room to remember the range: then nothing is forgotten.
    pub fn on_settled(&mut self, range: IdRange) -> Option<Vec<Waiter>> {
        if !self.settled.insert(range, self.limits.settled_ranges_max) {
            return None;
        }
        self.done_before.remove(range);
        let (first, last) = range.ends();
        let (first, last) = (first.by_origin(), last.by_origin());
        let mut waiting = Vec::new();
        let mut next = Bound::Included(first);
        while let Some((&key, entry)) = self.entries.range_mut((next, Bound::Included(last))).next()
        {
            next = Bound::Excluded(key);
            if matches!(entry.state, ExecutionState::Running(..)) {
                // It is forgotten when it has finished.
                continue;
            }
            let mut entry = self.entries.remove(&key).expect("just seen");
            self.tombstones.remove(key, &mut entry.tombstone_of);
            less(&mut self.result_bytes, entry.state.result_bytes());
            if let ExecutionState::Queued(_, waiters) = entry.state {
                waiting.extend(waiters.into_vec());
            }
            if key == last {
                break;
            }
        }
        Some(waiting)
    }

    /// A link is gone: nothing that it carried can arrive any more. Its tombstones end.
    pub fn on_link_gone(&mut self, link: LinkId) {
        if planted!(Bug::TombstonesOutliveLink) {
            return;
        }
        for key in self.tombstones.take(link) {
            let entry = self
                .entries
                .get_mut(&key)
                .expect("a tombstone has an entry");
            entry.tombstone_of.retain(|other| *other != link);
            if !entry.is_tombstone() {
                reached!(Site::TombstoneEnded);
                self.tombstones.ended();
                self.entries.remove(&key);
            }
        }
    }

    /// How many entries are nothing but tombstones.
    pub fn tombstones(&self) -> usize {
        self.tombstones.len()
    }

    /// Unsettled tasks held, tombstones included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds no unsettled task.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of results and error texts held.
    pub fn result_bytes(&self) -> usize {
        self.result_bytes
    }

    /// The settled ids.
    pub fn settled(&self) -> &IdRanges {
        &self.settled
    }

    fn full(&self) -> Option<Full> {
        if self.draining {
            Some(Full::Draining)
        } else if self.result_bytes >= self.limits.result_bytes_max {
            Some(Full::ResultBytes)
        } else if self.entries.len().saturating_sub(self.tombstones.len())
            >= self.limits.entries_max
        {
            Some(Full::Entries)
        } else {
            None
        }
    }

    fn next_run(counter: &mut u64) -> RunId {
        *counter = counter.saturating_add(1);
        RunId(*counter)
    }
}

fn more(count: &mut usize, bytes: usize) {
    *count = count.saturating_add(bytes);
}

/// What was counted when it came goes out of the count: less than nothing is a fault of this module, and an inbox that
/// is full for ever.
fn less(count: &mut usize, bytes: usize) {
    let left = count.checked_sub(bytes);
    *count = left.expect("what goes was counted when it came");
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
