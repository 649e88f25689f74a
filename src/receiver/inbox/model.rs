//! Random sequences of operations against an independent model: it keeps the whole past of each task
//! and judges every decision by it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::tests::{id, range};
use super::*;

#[derive(Clone, Debug)]
enum Operation {
    Command {
        seq: u64,
        epoch: u32,
        send: u32,
        link: u64,
    },
    /// Starts the oldest, or the newest, run not yet started.
    Start {
        newest: bool,
    },
    /// Finishes a running task: done or not.
    Finish {
        pick: usize,
        done: bool,
    },
    Rollback {
        seq: u64,
        epoch: u32,
        send: u32,
        link: u64,
    },
    LinkGone {
        link: u64,
    },
    Settle {
        first: u64,
        length: u64,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    let (seq, epoch, send) = (0_u64..6, 1_u32..5, 1_u32..4);
    prop_oneof![
        6 => (seq.clone(), epoch.clone(), send.clone(), 0_u64..3).prop_map(
            |(seq, epoch, send, link)| Operation::Command { seq, epoch, send, link }),
        4 => any::<bool>().prop_map(|newest| Operation::Start { newest }),
        3 => (any::<usize>(), any::<bool>()).prop_map(
            |(pick, done)| Operation::Finish { pick, done }),
        3 => (seq.clone(), epoch, send, 0_u64..3).prop_map(
            |(seq, epoch, send, link)| Operation::Rollback { seq, epoch, send, link }),
        1 => (0_u64..3).prop_map(|link| Operation::LinkGone { link }),
        1 => (seq, 0_u64..3).prop_map(
            |(first, length)| Operation::Settle { first, length }),
    ]
}

/// The past of one task.
#[derive(Default)]
struct TaskPast {
    settled: bool,
    done: Option<ExecutionOutcome>,
    running: Option<RunId>,
    epoch_max: u32,
    rolled_back: BTreeSet<(u32, u32)>,
    answers: BTreeMap<u32, ExecutionOutcome>,
    /// Who was told to wait and has no answer yet.
    waiting: BTreeSet<Waiter>,
    executions: u32,
    /// A command of it was taken.
    received: bool,
    /// The links over which it was rolled back while none was, and that live.
    marked_by: BTreeSet<u64>,
}

impl TaskPast {
    fn is_tombstone(&self) -> bool {
        !self.received && !self.settled && !self.marked_by.is_empty()
    }
}

struct ModelWorld {
    inbox: Inbox,
    past: BTreeMap<u64, TaskPast>,
    runs: Vec<(u64, RunId)>,
    finished: u64,
}

impl ModelWorld {
    fn new() -> Self {
        let limits = InboxLimits {
            entries_max: 4,
            result_bytes_max: 1_000_000,
            settled_ranges_max: 100,
            tombstones_per_link: 2,
        };
        Self {
            inbox: Inbox::new(limits),
            past: (0..6).map(|seq| (seq, TaskPast::default())).collect(),
            runs: Vec::new(),
            finished: 0,
        }
    }

    fn delivery(seq: u64, epoch: u32, send: u32) -> (DeliveryId, SendNumber) {
        let task = id(seq);
        let epoch = Epoch::new(epoch).unwrap();
        (DeliveryId { task, epoch }, SendNumber::new(send).unwrap())
    }

    fn command(&mut self, seq: u64, epoch: u32, send: u32, link: u64) {
        let (delivery, number) = Self::delivery(seq, epoch, send);
        let waiter = Waiter {
            delivery,
            send: number,
            link: LinkId(link),
        };
        let held = self.inbox.len() - self.inbox.tombstones();
        let decision = self.inbox.on_command(waiter);
        let past = self.past.get_mut(&seq).unwrap();
        let fresh = !past.settled && past.done.is_none() && epoch >= past.epoch_max;
        let back = past.rolled_back.contains(&(epoch, send));
        match &decision {
            Decision::Run(run) => {
                assert!(fresh && !back && past.running.is_none() && past.waiting.is_empty());
                assert!(
                    !past.answers.contains_key(&epoch),
                    "the epoch has its answer"
                );
                past.waiting.insert(waiter);
                past.received = true;
                self.runs.push((seq, *run));
            }
            Decision::Join => {
                assert!(fresh && !back && !past.waiting.is_empty());
                past.waiting.insert(waiter);
            }
            Decision::Answer(outcome) => {
                let expected = past.done.as_ref().or_else(|| past.answers.get(&epoch));
                assert_eq!(Some(outcome), expected);
                assert!(epoch >= past.epoch_max);
            }
            Decision::Stale(current) => {
                assert!(!past.settled && current.get() == past.epoch_max && epoch < current.get());
            }
            Decision::Settled => assert!(past.settled),
            Decision::RolledBack => assert!(fresh && back),
            Decision::Full(full) => {
                assert_eq!(*full, Full::Entries);
                assert!(held >= 4 && past.waiting.is_empty() && past.done.is_none());
            }
        }
        if !past.settled && !matches!(decision, Decision::Full(_)) {
            past.epoch_max = past.epoch_max.max(epoch);
        }
    }

    fn start(&mut self, newest: bool) {
        if self.runs.is_empty() {
            return;
        }
        let at = if newest { self.runs.len() - 1 } else { 0 };
        let (seq, run) = self.runs.remove(at);
        let started = self.inbox.on_start(id(seq), run);
        let past = self.past.get_mut(&seq).unwrap();
        if started {
            assert!(!past.settled && past.done.is_none() && past.running.is_none());
            assert!(!past.waiting.is_empty(), "somebody wants it");
            past.running = Some(run);
            past.executions += 1;
        }
    }

    fn finish(&mut self, pick: usize, done: bool) {
        let running: Vec<(u64, RunId)> = self
            .past
            .iter()
            .filter_map(|(seq, past)| Some((*seq, past.running?)))
            .collect();
        if running.is_empty() {
            return;
        }
        let (seq, run) = running[pick % running.len()];
        self.finished += 1;
        let text = format!("outcome {}", self.finished);
        let outcome: ExecutionOutcome = if done {
            Ok(text.into())
        } else {
            Err(HandlerError::Rejected(text))
        };
        let answered = self.inbox.on_finished(id(seq), run, &outcome);
        let past = self.past.get_mut(&seq).unwrap();
        let waiting = std::mem::take(&mut past.waiting);
        assert_eq!(answered.len(), waiting.len(), "each is answered once");
        assert_eq!(answered.into_iter().collect::<BTreeSet<_>>(), waiting);
        let newest = waiting
            .iter()
            .map(|waiter| waiter.delivery.epoch.get())
            .max();
        past.running = None;
        if done {
            past.done = Some(outcome);
        } else {
            past.answers
                .insert(newest.expect("somebody waited"), outcome);
        }
    }

    fn rollback(&mut self, seq: u64, epoch: u32, send: u32, link: u64) {
        let (delivery, number) = Self::delivery(seq, epoch, send);
        let decision = self.inbox.on_rollback(LinkId(link), delivery, number);
        let marks = self.past.values().filter(|past| past.is_tombstone());
        let marks = marks.filter(|past| past.marked_by.contains(&link)).count();
        let past = self.past.get_mut(&seq).unwrap();
        let is_news = !past.received && !past.settled && !past.marked_by.contains(&link);
        let named = |waiter: &Waiter| waiter.delivery == delivery && waiter.send == number;
        let waits = past.waiting.iter().any(named);
        match &decision {
            RollbackDecision::AlreadyDone(result) => {
                assert_eq!(past.done, Some(Ok(result.clone())));
            }
            RollbackDecision::InProgress => assert!(past.running.is_some()),
            RollbackDecision::RolledBack(links) if waits => {
                assert!(past.running.is_none() && past.done.is_none());
                let told: BTreeSet<LinkId> = links.iter().copied().collect();
                let gone = past.waiting.extract_if(.., named).map(|waiter| waiter.link);
                assert_eq!(gone.collect::<BTreeSet<_>>(), told);
            }
            RollbackDecision::RolledBack(links) => {
                let bound = past.answers.contains_key(&epoch);
                assert!(bound || past.rolled_back.contains(&(epoch, send)));
                assert!(links.is_empty());
            }
            RollbackDecision::Unknown => {
                assert!(past.settled || (past.done.is_none() && past.running.is_none() && !waits));
            }
            RollbackDecision::Full => {
                assert!(self.inbox.tombstones() >= 2 && is_news);
                return;
            }
            RollbackDecision::TooMany => {
                assert!(marks >= 2 && is_news);
                return;
            }
        }
        if past.settled {
            return;
        }
        if !past.received {
            assert!(past.marked_by.contains(&link) || marks < 2);
            past.marked_by.insert(link);
        }
        if !(waits && past.running.is_some()) {
            past.rolled_back.insert((epoch, send));
        }
        past.epoch_max = past.epoch_max.max(epoch);
    }

    /// What it carried can't arrive any more: of what was never received nothing is left with its last mark.
    fn link_gone(&mut self, link: u64) {
        self.inbox.on_link_gone(LinkId(link));
        for past in self.past.values_mut() {
            if past.marked_by.remove(&link) && past.marked_by.is_empty() && !past.received {
                past.rolled_back.clear();
                past.epoch_max = 0;
            }
        }
        let tombstones = self.past.values().filter(|past| past.is_tombstone());
        assert_eq!(self.inbox.tombstones(), tombstones.count());
    }

    fn settle(&mut self, first: u64, last: u64) {
        let range = range(first, last);
        let told = self.inbox.on_settled(range).expect("room for the range");
        let mut expected = BTreeSet::new();
        for (_, past) in self.past.range_mut(first..=last) {
            past.settled = true;
            if past.running.is_none() {
                expected.append(&mut past.waiting);
            }
        }
        assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), expected);
    }

    fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Command {
                seq,
                epoch,
                send,
                link,
            } => self.command(seq, epoch, send, link),
            Operation::Start { newest } => self.start(newest),
            Operation::Finish { pick, done } => self.finish(pick, done),
            Operation::Rollback {
                seq,
                epoch,
                send,
                link,
            } => self.rollback(seq, epoch, send, link),
            Operation::LinkGone { link } => self.link_gone(link),
            Operation::Settle { first, length } => self.settle(first, (first + length).min(5)),
        }
    }

    /// Whatever has happened: once a task that may run is delivered under a newer epoch and there is
    /// room, it runs or joins, and everybody who waits is answered.
    fn everything_can_still_end(&mut self) {
        while !self.runs.is_empty() {
            self.start(false);
        }
        for _ in 0..6 {
            self.finish(0, true);
        }
        for (seq, past) in &self.past {
            assert!(past.waiting.is_empty(), "task {seq} left somebody waiting");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn every_decision_agrees_with_the_past(
        operations in proptest::collection::vec(operation(), 1..80),
    ) {
        let mut world = ModelWorld::new();
        for operation in &operations {
            world.apply(operation);
        }
        world.everything_can_still_end();
    }
}
