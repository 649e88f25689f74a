//! The queue without its types: core, journal and waiting callers under one lock.
//!
//! An operation locks, decides, appends, applies and unlocks; what it learned comes back as a
//! [`Promise`], which opens only once the log position it rests on is durable. Log order is apply
//! order because both happen under the lock. Three drivers do the waiting for the disk ([`drivers`]),
//! one task lets time pass ([`time`]).

mod admission;
mod cache;
mod compaction;
mod drivers;
mod grants;
mod jobs;
mod leaving;
mod life;
mod locked;
mod moving;
mod notice;
mod reading;
mod shares;
mod tail;
mod time;
mod times;
mod told;
mod waiting;

use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, mpsc, watch};

use super::commit::{CommitEnd, CommitQueue};
use super::error::{EnqueueError, FullBecause, RouteFullBecause};
use super::log::{Log, LogFailure};
use super::options::QueueOptions;
use super::route_limits::RoutePolicies;
use crate::core::{
    Event, Input, Now, Policy, QueueMs, QueueState, Refusal, Reply, Seq, TaskId, decide,
};
use crate::env::{Env, Wall};
use crate::journal::Position;

pub(crate) use admission::{Wanted, WantedByRoute};
pub(crate) use cache::Page;
pub(crate) use grants::{Granted, Unclaimed, ending};
pub(crate) use life::Owner;
pub(crate) use locked::vital;
pub(crate) use reading::Unread;
pub(crate) use shares::Share;
pub(crate) use tail::Written;

/// See the module.
pub(crate) struct Engine {
    pub(crate) env: Env,
    pub(crate) options: QueueOptions,
    core: Mutex<Core>,
    commit: CommitQueue<LogFailure>,
    log: Arc<dyn Log>,
    /// Room has been made: enqueuers that wait look again.
    pub(crate) room: Notify,
    /// A lease ended without its holder: holders look whether it was theirs.
    pub(crate) lost: Notify,
    /// The next moment at which time changes something has moved forward.
    rearm: Arc<Notify>,
    /// The log has grown or shrunk: the keeper of segments looks again.
    upkeep: Arc<Notify>,
    /// A job was begun.
    pub(crate) jobs: Arc<Notify>,
    /// A job has gone on, durably.
    pub(crate) job_news: Notify,
    reads: mpsc::Sender<reading::ReadRequest>,
    /// Becomes set when the log has failed, or was closed.
    ended: watch::Sender<Option<EngineEnd>>,
}

/// How an engine's life ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EngineEnd {
    /// Closed, everything durable.
    Closed,
    /// The log failed, or is somebody else's.
    Failed(LogFailure),
}

/// What the lock guards: the state machine, and a part for each thing that is done with its decisions.
pub(crate) struct Core {
    pub(crate) state: QueueState,
    policy: Policy,
    /// What single routes have of their own.
    terms: RoutePolicies,
    clock: time::QueueClock,
    /// What the wall clock said at the opening, until its first events.
    heard: Option<time::WallClock>,
    pub(crate) stage: QueueStage,
    /// A panic cut off an operation in its middle: state and log may have come apart.
    broken: bool,
    /// The log's writing end: events are appended here.
    tail: tail::Tail,
    /// What part of the queue each route may fill.
    shares: shares::Shares,
    /// How much more the log may take.
    space: admission::Space,
    /// Which segment goes next, and when.
    compaction: compaction::Compaction,
    /// Bodies in memory, which need not be read back.
    bodies: cache::BodyCache,
    /// Callers that wait for a lease, for room or for the loss of a lease.
    pub(crate) waiting: waiting::Waiting,
    /// Listeners of the feed, watchers of the depth, and endpoints that hear what is settled.
    pub(crate) told: told::Told,
    /// How long commits and leases took.
    pub(crate) times: times::Times,
    /// Scratch for the events of one decision.
    events: Vec<Event>,
}

/// How far along its life a queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum QueueStage {
    /// Takes commands and grants leases.
    Open,
    /// Neither; what is held may still be settled.
    Closing,
    /// Nothing is appended any more.
    Closed,
}

/// A value that may not be told before the log position it rests on is durable: everything that an
/// operation learns is inside one, refusals too.
#[must_use = "a promise is worth something once it is kept"]
pub(crate) struct Promise<R> {
    value: R,
    position: Position,
}

impl<R> Promise<R> {
    /// For the engine's own bookkeeping; never to be told to anybody.
    fn peek(&self) -> &R {
        &self.value
    }

    /// Changes the value without looking at the clock.
    pub(crate) fn map<S>(self, change: impl FnOnce(R) -> S) -> Promise<S> {
        Promise {
            value: change(self.value),
            position: self.position,
        }
    }
}

impl Core {
    /// The run of ids around `id` that have all left for good, durably.
    pub(crate) fn settled_range(&mut self, id: TaskId) -> Option<(Seq, Seq)> {
        self.told.settled_range(id, &self.state, &self.tail)
    }

    /// Whether this input would be accepted; nothing is written down.
    pub(crate) fn would(&self, now: Now, input: Input<'_>) -> bool {
        decide(&self.state, &self.policy, now, input, &mut Vec::new()).is_ok()
    }

    /// Decides one input, writes its events down and applies them. `body` goes with an event that
    /// places one.
    pub(crate) fn run(
        &mut self,
        now: Now,
        input: Input<'_>,
        body: &[u8],
    ) -> Result<Reply, Refusal> {
        let mut events = std::mem::take(&mut self.events);
        let decided = decide(&self.state, &self.policy, now, input, &mut events);
        // By reference: an event is large, and each move of it a copy.
        for event in &mut events {
            self.tail.append(&self.state, event, body);
            let before = self.before(now, event);
            self.state.apply(event);
            self.notice(now, before, event);
        }
        events.clear();
        self.events = events;
        decided
    }
}

impl Engine {
    /// Runs one operation under the lock, wakes the writer, and promises what it learned.
    pub(crate) fn with<R>(&self, operation: impl FnOnce(&mut Core, Now) -> R) -> Promise<R> {
        let (promise, rearm, happened) = {
            let mut core = self.lock();
            let mono = self.env.clock.now();
            let now = core.clock.at(mono);
            // Behind the end nothing is appended: a refusal then rests on nothing that is still to come.
            let ended = core.stage == QueueStage::Closed;
            let before = core.tail.appended();
            let value = operation(&mut core, now);
            if let Some(batch) = core.tail.open_batch() {
                core.times.appended(batch, mono);
            }
            let rearm = core.clock.must_rearm(&core.state);
            let happened = core.waiting.take();
            (
                Promise {
                    value,
                    position: match ended
                        || (planted!(Bug::DuplicateToldEarly) && core.tail.appended() == before)
                    {
                        true => core.tail.durable(),
                        false => core.tail.appended(),
                    },
                },
                rearm,
                happened,
            )
        };
        self.commit.submit(promise.position);
        if rearm {
            self.rearm.notify_one();
        }
        if happened.lease_lost {
            self.lost.notify_waiters();
        }
        if happened.room_made {
            self.room.notify_waiters();
        }
        promise
    }

    /// Reads under the lock what rests on nothing that is still to become durable: status and the like.
    pub(crate) fn look<R>(&self, operation: impl FnOnce(&Core, Now) -> R) -> R {
        let core = self.lock();
        let now = core.clock.now(&*self.env.clock);
        operation(&core, now)
    }

    /// Runs an operation that appends nothing and promises nothing.
    pub(crate) fn look_and<R>(&self, operation: impl FnOnce(&mut Core, Now) -> R) -> R {
        let mut core = self.lock();
        let now = core.clock.now(&*self.env.clock);
        operation(&mut core, now)
    }

    /// Opens a promise once it is durable, if the log is still ours then: what it says may rest on memory
    /// alone, and is somebody else's to say if it isn't. Cancel safe: dropping the future takes nothing back.
    ///
    /// # Errors
    /// [`LogFailure`] when it may never be told: whether it happened is in doubt.
    pub(crate) async fn kept<R>(&self, promise: Promise<R>) -> Result<R, LogFailure> {
        if planted!(Bug::ReplyBeforeSync) {
            return Ok(promise.value);
        }
        match self.commit.wait(promise.position).await {
            Ok(()) => self.holds().map(|()| promise.value),
            Err(CommitEnd::Failed(failure)) => Err(failure),
            Err(CommitEnd::Closed) => Err(LogFailure::InDoubt("the queue was closed".into())),
        }
    }

    /// Whether what is in memory may be told and acted upon: the log is still ours, or was when it was closed.
    /// That it isn't any more ends the engine's life.
    ///
    /// # Errors
    /// Why not; *in doubt* may pass.
    pub(crate) fn holds(&self) -> Result<(), LogFailure> {
        self.log.holds().or_else(|failure| self.let_go(failure))
    }

    #[cold]
    fn let_go(&self, failure: LogFailure) -> Result<(), LogFailure> {
        match self.commit.end() {
            Some(CommitEnd::Closed) => return Ok(()),
            Some(CommitEnd::Failed(_)) => {}
            None if failure.may_pass() => {}
            None => self.fail(failure.clone()),
        }
        Err(failure)
    }

    /// Runs an operation and waits until what it learned is durable.
    pub(crate) async fn durably<R>(
        &self,
        operation: impl FnOnce(&mut Core, Now) -> R,
    ) -> Result<R, LogFailure> {
        let promise = self.with(operation);
        self.kept(promise).await
    }

    /// Why the log has failed, if it has.
    pub(crate) fn failure(&self) -> Option<LogFailure> {
        match self.commit.end() {
            Some(CommitEnd::Failed(failure)) => Some(failure),
            Some(CommitEnd::Closed) | None => None,
        }
    }

    /// Completes when the engine's life has ended.
    pub(crate) async fn ended(&self) -> EngineEnd {
        let mut ended = self.ended.subscribe();
        let found = ended.wait_for(Option::is_some).await;
        let found = found.expect("the sender lives as long as the engine");
        found.clone().expect("waited for it")
    }

    /// The salt of key hashes; never changes.
    pub(crate) fn salt(&self) -> u128 {
        self.look(|core, _| core.state.salt())
    }

    /// A wall-clock moment in queue time.
    pub(crate) fn queue_time(&self, state: &QueueState, now: Now, moment: Wall) -> QueueMs {
        time::QueueClock::at_wall(&*self.env.clock, state, now, moment)
    }

    /// An enqueue was refused: a full disk may have room by now.
    pub(crate) fn refused(&self, error: &EnqueueError) {
        if matches!(
            error,
            EnqueueError::Full {
                why: FullBecause::Disk,
                ..
            } | EnqueueError::RouteFull {
                why: RouteFullBecause::Bytes,
                ..
            }
        ) {
            self.upkeep.notify_one();
        }
    }

    /// Numbers about the journal, for status.
    pub(crate) fn journal_numbers(&self) -> JournalNumbers {
        // Counted by the log. Segments in use plus segments ready would count one twice: the tail counts a segment
        // as in use once a batch is to begin it, the log as ready until that batch is written.
        let segments = self.log.room().held;
        let numbers = self.look(|core, _| JournalNumbers {
            segments,
            segments_in_use: core.tail.in_use(),
            live_bytes: core.state.live_bytes(),
            key_bytes: compaction::KEY_BYTES * core.state.finished_keys_len() as u64,
            pending_bytes: core.tail.pending_bytes(),
            written: core.tail.written(),
            full: core
                .space
                .is_full(core.tail.in_use(), core.state.live_bytes()),
        });
        if numbers.full {
            // Others may have made room on the disk: whoever looks again sees it.
            self.upkeep.notify_one();
        }
        numbers
    }
}

/// What [`Engine::journal_numbers`] reads under one hold of the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JournalNumbers {
    pub(crate) segments: u32,
    pub(crate) segments_in_use: u32,
    pub(crate) live_bytes: u64,
    pub(crate) key_bytes: u64,
    pub(crate) pending_bytes: u64,
    pub(crate) written: tail::Written,
    pub(crate) full: bool,
}
