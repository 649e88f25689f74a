//! What happened to one task: its first and last attempts, exact counters, all of bounded size.

use std::collections::VecDeque;

use super::event::{LeaseOutcome, TransportKind};
use super::ids::Epoch;
use super::limits::{HISTORY_FIRST, HISTORY_LAST};
use super::time::QueueMs;

/// One lease's outcome, as remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The epoch of the lease, from 1; the task is the history's.
    pub epoch: Epoch,
    /// When it ended.
    pub at: QueueMs,
    /// How the lease ended.
    pub outcome: LeaseOutcome,
    /// Whether that was charged.
    pub charged: bool,
    /// The transport of its last send.
    pub transport: Option<TransportKind>,
    /// How many sends it made.
    pub sends: u8,
    /// What went wrong.
    pub error: Option<Box<str>>,
    /// How many in a row this stands for; above 1 only for attempts that never left.
    pub times: u32,
}

impl Attempt {
    /// Attempts that never left the bridge tell nothing one by one.
    fn collapses_with(&self, next: &Attempt) -> bool {
        self.outcome == next.outcome
            && matches!(self.outcome, LeaseOutcome::NotSent | LeaseOutcome::Released)
    }
}

/// How often each outcome happened, exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutcomeCounts {
    /// Endpoint answered no.
    pub rejected: u32,
    /// Endpoint answered no for good.
    pub refused: u32,
    /// Endpoint answered: not now.
    pub unavailable: u32,
    /// No definite answer.
    pub in_doubt: u32,
    /// Never reached an endpoint.
    pub not_sent: u32,
    /// Given back before any send.
    pub released: u32,
}

impl OutcomeCounts {
    fn count(&mut self, outcome: LeaseOutcome) {
        let counter = match outcome {
            // A done task is gone, and its history with it.
            LeaseOutcome::Done => return,
            LeaseOutcome::Rejected => &mut self.rejected,
            LeaseOutcome::Refused => &mut self.refused,
            LeaseOutcome::Unavailable => &mut self.unavailable,
            LeaseOutcome::InDoubt(_) => &mut self.in_doubt,
            LeaseOutcome::NotSent => &mut self.not_sent,
            LeaseOutcome::Released => &mut self.released,
        };
        *counter = counter.saturating_add(1);
    }
}

/// The history of one task. Holds at most [`HISTORY_FIRST`] + [`HISTORY_LAST`] attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskHistory {
    /// The first attempts.
    pub first: Vec<Attempt>,
    /// The latest attempts, oldest first.
    pub last: VecDeque<Attempt>,
    /// Attempts between the two that are only counted.
    pub omitted: u64,
    /// Exact counts of all.
    pub counts: OutcomeCounts,
    /// When it was last brought back from the poison store.
    pub requeued_at: Option<QueueMs>,
}

impl TaskHistory {
    /// Remembers one more attempt.
    pub fn push(&mut self, attempt: Attempt) {
        self.counts.count(attempt.outcome);
        if let Some(previous) = self.last.back_mut().or_else(|| self.first.last_mut())
            && previous.collapses_with(&attempt)
        {
            let times = previous.times.saturating_add(1);
            *previous = Attempt { times, ..attempt };
            return;
        }
        if planted!(Bug::HistoryBackwards) && self.first.len() < HISTORY_FIRST {
            self.first.insert(0, attempt);
            return;
        }
        if self.last.is_empty() && self.first.len() < HISTORY_FIRST {
            self.first.push(attempt);
            return;
        }
        if self.last.len() == HISTORY_LAST {
            self.last.pop_front();
            self.omitted += 1;
        }
        self.last.push_back(attempt);
    }

    /// The remembered attempts in order, with the gap (if any) after the first few.
    pub fn attempts(&self) -> impl Iterator<Item = &Attempt> {
        self.first.iter().chain(self.last.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(epoch: u32, outcome: LeaseOutcome) -> Attempt {
        Attempt {
            epoch: Epoch::new(epoch).unwrap(),
            at: QueueMs(u64::from(epoch)),
            outcome,
            charged: false,
            transport: None,
            sends: 0,
            error: None,
            times: 1,
        }
    }

    #[test]
    fn the_first_five_and_the_last_twenty_stay_and_the_rest_is_counted() {
        let mut history = TaskHistory::default();
        for epoch in 1..=100 {
            history.push(attempt(epoch, LeaseOutcome::Rejected));
        }
        let epochs: Vec<u32> = history.attempts().map(|a| a.epoch.get()).collect();
        let expected: Vec<u32> = (1..=5).chain(81..=100).collect();
        assert_eq!(epochs, expected);
        assert_eq!(history.omitted, 75);
        assert_eq!(history.counts.rejected, 100);
    }

    #[test]
    fn runs_of_not_sent_collapse_into_the_latest_and_keep_their_count() {
        let mut history = TaskHistory::default();
        history.push(attempt(1, LeaseOutcome::Rejected));
        for epoch in 2..=50 {
            history.push(attempt(epoch, LeaseOutcome::NotSent));
        }
        history.push(attempt(51, LeaseOutcome::Rejected));
        let seen: Vec<(u32, u32)> = history
            .attempts()
            .map(|a| (a.epoch.get(), a.times))
            .collect();
        assert_eq!(seen, [(1, 1), (50, 49), (51, 1)]);
        assert_eq!(history.counts.not_sent, 49);
        assert_eq!(history.omitted, 0);
    }
}
