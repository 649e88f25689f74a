//! What an inbox has to decide: a model by hand of the rules that `leasebridge::receiver::inbox` states.
//!
//! It knows nothing of how the product keeps them. Of each task it remembers the newest epoch that came, who waits for
//! the execution that is under way, and what was answered last:
//!
//! - an older epoch than the newest is stale;
//! - a *done* answers every later epoch, any other answer its own epoch alone;
//! - what comes while an execution is under way joins it; what comes otherwise runs.
//!
//! A crash leaves of that what the endpoint's inbox has on disk. Rollbacks and settled ranges do not occur in the core
//! loop: nothing here speaks of them.

use std::collections::BTreeMap;

use leasebridge::core::TaskId;
use leasebridge::receiver::inbox::Waiter;

use super::answer::ExecutionAnswer;
use crate::plan::Inbox;

/// Sends that may wait for one execution.
const WAITERS_MAX: usize = 64;

/// What is to be done with a command that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    /// It is executed.
    Runs,
    /// It waits for the execution that is under way.
    Joins,
    /// It has its answer already.
    Knows(ExecutionAnswer),
    /// A newer epoch has come, this one.
    Stale(u32),
    /// Too many wait already.
    Full,
    /// Anything else, of which the rules know nothing here.
    Other,
}

/// See the module.
#[derive(Default)]
pub(super) struct Reference {
    tasks: BTreeMap<TaskId, ReferencePast>,
}

/// What is remembered of a task.
#[derive(Default)]
pub(super) struct ReferencePast {
    /// The newest epoch that came.
    pub(super) epoch: u32,
    /// The epoch under which it was begun or answered last: the one that is on disk.
    pub(super) recorded: u32,
    pub(super) state: ReferenceState,
}

/// How far a task has come.
#[derive(Default)]
pub(super) enum ReferenceState {
    /// Nothing is under way, and no answer binds.
    #[default]
    Idle,
    /// It is executed, or about to be.
    Running(Vec<Waiter>),
    /// It was executed.
    Done,
    /// It was executed before a crash that left its id alone: no epoch is stale for it.
    DoneBefore,
    /// This epoch was answered so.
    Answered(u32, ExecutionAnswer),
    /// A crash cut its execution off, and nobody can say what became of it: its next command is refused.
    Cut,
}

impl Reference {
    /// A command arrives.
    pub(super) fn on_command(&mut self, waiter: Waiter) -> Ruling {
        let epoch = waiter.delivery.epoch.get();
        let past = self.tasks.entry(waiter.delivery.task).or_default();
        if matches!(past.state, ReferenceState::DoneBefore) {
            return Ruling::Knows(ExecutionAnswer::Done);
        }
        if epoch < past.epoch {
            return Ruling::Stale(past.epoch);
        }
        past.epoch = epoch;
        match &mut past.state {
            ReferenceState::Done | ReferenceState::DoneBefore => {
                return Ruling::Knows(ExecutionAnswer::Done);
            }
            ReferenceState::Running(waiters) if waiters.contains(&waiter) => return Ruling::Joins,
            ReferenceState::Running(waiters) if waiters.len() >= WAITERS_MAX => {
                return Ruling::Full;
            }
            ReferenceState::Running(waiters) => {
                waiters.push(waiter);
                return Ruling::Joins;
            }
            ReferenceState::Answered(answered, answer) if *answered == epoch => {
                return Ruling::Knows(*answer);
            }
            ReferenceState::Cut => {
                past.recorded = epoch;
                past.state = ReferenceState::Answered(epoch, ExecutionAnswer::Refused);
                return Ruling::Knows(ExecutionAnswer::Refused);
            }
            ReferenceState::Idle | ReferenceState::Answered(..) => {}
        }
        past.recorded = epoch;
        past.state = ReferenceState::Running(vec![waiter]);
        Ruling::Runs
    }

    /// The execution of `task` has come to `answer`, or to nothing. Who waits for that, in order.
    pub(super) fn on_finished(
        &mut self,
        task: TaskId,
        answer: Option<ExecutionAnswer>,
    ) -> Vec<Waiter> {
        let past = self.tasks.entry(task).or_default();
        let ReferenceState::Running(mut waiters) = std::mem::take(&mut past.state) else {
            return Vec::new();
        };
        waiters.sort_unstable();
        let epochs = waiters.iter().map(|waiter| waiter.delivery.epoch.get());
        let newest = epochs.max().unwrap_or(past.epoch);
        past.state = match answer {
            None => ReferenceState::Idle,
            Some(ExecutionAnswer::Done) => ReferenceState::Done,
            Some(answer) => ReferenceState::Answered(newest, answer),
        };
        past.recorded = newest;
        waiters
    }

    /// The process dies: what its inbox has on disk is left.
    pub(super) fn on_crash(&mut self, inbox: Inbox) {
        if inbox == Inbox::Memory {
            self.tasks.clear();
        }
        for past in self.tasks.values_mut() {
            past.epoch = past.recorded;
            past.state = match (std::mem::take(&mut past.state), inbox) {
                (ReferenceState::Running(_), Inbox::Blind) => ReferenceState::Cut,
                (ReferenceState::Running(_), _) => ReferenceState::Idle,
                (ReferenceState::Done, Inbox::Effect) => ReferenceState::DoneBefore,
                (state, _) => state,
            };
        }
    }

    /// All that is remembered.
    pub(super) fn tasks(&self) -> impl Iterator<Item = (TaskId, &ReferencePast)> {
        self.tasks.iter().map(|(task, past)| (*task, past))
    }
}

#[cfg(test)]
mod tests {
    use leasebridge::core::{DeliveryId, Epoch, Origin, SendNumber, Seq};
    use leasebridge::receiver::inbox::LinkId;

    use super::*;

    const TASK: TaskId = TaskId {
        seq: Seq(7),
        origin: Origin(1),
    };

    fn sent(epoch: u32, send: u32) -> Waiter {
        Waiter {
            delivery: DeliveryId {
                task: TASK,
                epoch: Epoch::new(epoch).expect("from 1"),
            },
            send: SendNumber::new(send).expect("from 1"),
            link: LinkId(0),
        }
    }

    #[test]
    fn a_done_binds_later_epochs_and_a_no_its_own() {
        let mut reference = Reference::default();
        assert_eq!(reference.on_command(sent(1, 1)), Ruling::Runs);
        assert_eq!(reference.on_command(sent(1, 2)), Ruling::Joins);
        let waited = reference.on_finished(TASK, Some(ExecutionAnswer::Rejected));
        assert_eq!(waited, [sent(1, 1), sent(1, 2)]);
        let no = Ruling::Knows(ExecutionAnswer::Rejected);
        assert_eq!(reference.on_command(sent(1, 3)), no);
        assert_eq!(reference.on_command(sent(2, 1)), Ruling::Runs);
        assert_eq!(reference.on_command(sent(1, 4)), Ruling::Stale(2));
        reference.on_finished(TASK, Some(ExecutionAnswer::Done));
        let done = Ruling::Knows(ExecutionAnswer::Done);
        assert_eq!(reference.on_command(sent(3, 1)), done);
        assert_eq!(reference.on_command(sent(2, 2)), Ruling::Stale(3));
    }

    #[test]
    fn a_crash_leaves_what_is_on_disk() {
        let cut_off = |inbox| {
            let mut reference = Reference::default();
            assert_eq!(reference.on_command(sent(1, 1)), Ruling::Runs);
            reference.on_crash(inbox);
            reference.on_command(sent(2, 1))
        };
        assert_eq!(cut_off(Inbox::Memory), Ruling::Runs);
        assert_eq!(cut_off(Inbox::File), Ruling::Runs);
        assert_eq!(
            cut_off(Inbox::Blind),
            Ruling::Knows(ExecutionAnswer::Refused)
        );
        let done = |inbox| {
            let mut reference = Reference::default();
            reference.on_command(sent(2, 1));
            reference.on_finished(TASK, Some(ExecutionAnswer::Done));
            reference.on_crash(inbox);
            reference.on_command(sent(1, 1))
        };
        assert_eq!(done(Inbox::Memory), Ruling::Runs);
        assert_eq!(done(Inbox::File), Ruling::Stale(2));
        assert_eq!(done(Inbox::Effect), Ruling::Knows(ExecutionAnswer::Done));
    }
}
