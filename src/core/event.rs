//! What can happen to a queue. Events are facts: [`super::QueueState::apply`] folds them without asking
//! today's configuration, live and in recovery alike.

use super::history::TaskHistory;
use super::ids::{
    BodyRef, DeliveryId, Epoch, Fingerprint, IdRange, KeyHash, Origin, RouteId, Seq, TaskId,
};
use super::jobs::PoisonJob;
use super::time::{MonoMs, QueueMs, SpanMs};

/// One change of state.
#[expect(missing_docs, reason = "each variant's line covers its fields")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The journal was opened; ids from here on carry this origin.
    Opened { at: QueueMs, origin: Origin },
    /// A route got its number, which is the count of routes before it.
    RouteDefined { route: RouteId, name: Box<str> },
    /// Leasing from the route was stopped or resumed by an operator.
    RoutePaused { route: RouteId, paused: bool },
    /// A command was accepted.
    Enqueued(Enqueued),
    /// A lease was granted. Durable before it is used.
    Granted {
        delivery: DeliveryId,
        at: QueueMs,
        lease: LeaseTimes,
    },
    /// A lease ended, or a late *done* arrived for the current epoch.
    Settled(Settled),
    /// The command's own deadline passed while nobody held it.
    Expired { id: TaskId, at: QueueMs },
    /// The task got older than its route's tasks may while nobody held it.
    TooOld { id: TaskId, at: QueueMs },
    /// Out of poison, back to ready, with fresh budgets.
    Requeued { id: TaskId, at: QueueMs },
    /// Out of the queue by somebody's hand.
    Removed {
        id: TaskId,
        at: QueueMs,
        why: Removal,
    },
    /// A waiting task changed its route.
    Rerouted { id: TaskId, route: RouteId },
    /// A task drained from a queue came into this one with all it had.
    Restored {
        image: Box<TaskImage>,
        body: BodyRef,
    },
    /// Compaction wrote a task anew, whole. Changes nothing but where its body lies.
    Moved {
        image: Box<TaskImage>,
        body: BodyRef,
    },
    /// Compaction wrote a remembered key anew whose task is gone.
    KeyMoved { key: KeyImage, body: BodyRef },
    /// Which origins this log gave to its openings, all that is remembered of it. Written at each opening, and anew when
    /// its segment goes.
    OriginsKept {
        origins: Box<OriginsImage>,
        /// Where it stands; empty.
        body: BodyRef,
    },
    /// An operator, or a clock that agrees again, has said what time it is.
    ClockSet {
        /// The time from then on.
        at: QueueMs,
        /// By how much it runs ahead of the wall clock.
        ahead: SpanMs,
    },
    /// A job on the poison store was begun, went on or ended: it stands so from now on.
    Job(PoisonJob),
    /// The dedupe window let go of the keys of finished tasks enqueued before this time.
    KeysForgotten { before: QueueMs },
    /// The end of the log was cut off: what stood there may have granted any task, with epochs that nobody knows. Those
    /// of all tasks rise by so much, so that none is given out twice.
    EpochsRaised { by: u32 },
    /// Volatile: a delay is over.
    Due { id: TaskId },
    /// Volatile: a holder asked for more time.
    Extended {
        delivery: DeliveryId,
        deadline: MonoMs,
    },
    /// Volatile: the holder is about to write the delivery to a transport.
    Sent { delivery: DeliveryId },
    /// Volatile: until then only the suspects of the bridge's death are granted, one by one. Zero: no more.
    Quarantined { until: MonoMs },
    /// Volatile: the wall clock tells a time that can't be, so that nobody knows how long the log was closed.
    ClockDoubted,
    /// Volatile: how old the route's tasks may get from now on, for as long as this process lives.
    AgeLimited {
        route: RouteId,
        age_max: Option<SpanMs>,
    },
}

impl Event {
    /// Whether the event goes to the journal. The others shape only what a restart may forget: a due
    /// task is found due again, and a lease does not outlive the process that holds it.
    pub fn is_durable(&self) -> bool {
        !matches!(
            self,
            Self::Due { .. }
                | Self::Extended { .. }
                | Self::Sent { .. }
                | Self::Quarantined { .. }
                | Self::ClockDoubted
                | Self::AgeLimited { .. }
        )
    }
}

/// What is durable of an accepted command: the content of [`Event::Enqueued`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// The new task.
    pub id: TaskId,
    /// When it was accepted.
    pub at: QueueMs,
    /// The route that it waits on.
    pub route: RouteId,
    /// After this time it must not be executed any more.
    pub deadline: Option<QueueMs>,
    /// Remembered in the dedupe window.
    pub key: Option<(KeyHash, Fingerprint)>,
    /// What a newer program said about it.
    pub carried: Carried,
    /// Filled in by the journal when it places the body.
    pub body: BodyRef,
}

/// Optional fields of a command that this program doesn't know: a newer one wrote them. They go wherever the
/// command goes, as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carried(Box<[u8]>);

impl Carried {
    /// Fields as they stand in the log; whoever reads them has checked them.
    pub(crate) fn new(fields: &[u8]) -> Self {
        Self(fields.into())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As they stand in the log.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The volatile times of a lease; not journaled, zero in recovery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseTimes {
    /// When it was granted.
    pub granted: MonoMs,
    /// When it ends unless it is extended.
    pub deadline: MonoMs,
}

/// What is durable of a lease's end: the content of [`Event::Settled`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The task, and the epoch of the lease that ended.
    pub delivery: DeliveryId,
    /// When it ended.
    pub at: QueueMs,
    /// What became of it.
    pub outcome: LeaseOutcome,
    /// Whether it spent of the budget that its outcome has.
    pub charged: bool,
    /// With what company the task flies from now on.
    pub isolation: Isolation,
    /// Where the task went.
    pub next: Next,
    /// Sends made under this lease.
    pub sends: u8,
    /// The transport of the last send.
    pub transport: Option<TransportKind>,
    /// What went wrong, capped by [`super::limits::ERROR_BYTES_MAX`].
    pub error: Option<Box<str>>,
}

impl Settled {
    /// Whether it shows that the endpoint answers at all. A refusal without a send came from this
    /// side (a command over a limit, a holder's `move_to_poison`) and shows nothing.
    pub fn is_answer(&self) -> bool {
        self.outcome.is_answer() && (self.outcome != LeaseOutcome::Refused || self.sends > 0)
    }
}

/// How a lease ended, durably: what its holder's [`Report`](super::Report) was judged to mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeaseOutcome {
    /// The endpoint executed it.
    Done,
    /// The endpoint answered no.
    Rejected,
    /// The endpoint, or its holder, answered no for good.
    Refused,
    /// The endpoint answered: not now.
    Unavailable,
    /// Sent, and no definite answer came.
    InDoubt(Doubt),
    /// Certainly never reached an endpoint.
    NotSent,
    /// Given back before any send.
    Released,
}

impl LeaseOutcome {
    /// Whether somebody said what became of the command; see also [`Settled::is_answer`].
    pub fn is_answer(self) -> bool {
        matches!(
            self,
            Self::Done | Self::Rejected | Self::Refused | Self::Unavailable
        )
    }

    /// The words of the field guide, for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Rejected => "rejected",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::InDoubt(_) => "in doubt",
            Self::NotSent => "not sent",
            Self::Released => "released",
        }
    }
}

/// Why an outcome is in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// No answer came in time, or the link died under it.
    NoAnswer,
    /// The lease's deadline passed.
    LeaseExpired,
    /// The holder dropped the lease without a word.
    LeaseDropped,
    /// The process that held it died.
    BridgeDied,
}

/// With what company a task may be in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isolation {
    /// Any number of others may be in flight beside it.
    #[default]
    None,
    /// Alone in its route: suspected of killing its endpoint.
    Route,
    /// Alone in the whole queue: suspected of killing the bridge.
    Queue,
}

/// Where a settled task went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Out of the queue.
    Done,
    /// Back to its old place.
    Ready,
    /// Waiting until a time.
    Delayed(QueueMs),
    /// To the poison store.
    Poison(PoisonCause),
}

/// Why a task is in the poison store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PoisonCause {
    /// Rejected once more than `max_retries` allows.
    RetriesSpent,
    /// In doubt once more than `max_in_doubt` allows.
    InDoubtSpent,
    /// Refused for good by its endpoint, by its holder or by a limit.
    Refused,
    /// Its own deadline passed.
    Expired,
    /// It got older than its route's tasks may.
    TooOld,
}

impl PoisonCause {
    /// The cause in words, as status, feed and histories print it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RetriesSpent => "retries spent",
            Self::InDoubtSpent => "in doubt spent",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::TooOld => "too old",
        }
    }
}

/// The transport of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TransportKind {
    /// The framed socket.
    Socket,
    /// The gRPC duplex stream.
    Grpc,
}

impl TransportKind {
    /// `socket` or `grpc`, as status and histories print it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Grpc => "grpc",
        }
    }
}

/// Why a task left without being executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Removal {
    /// Purged from the poison store.
    Purged,
    /// Drained out of the queue.
    Drained,
    /// Purged from the poison store, and its key with it: nothing was executed, or somebody takes that upon himself.
    PurgedWithKey,
}

/// A task with everything durable about it but its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskImage {
    /// The task's id, which stays the same wherever it is written anew.
    pub id: TaskId,
    /// The route it belongs to.
    pub route: RouteId,
    /// When it was enqueued.
    pub enqueued_at: QueueMs,
    /// Its own deadline.
    pub deadline: Option<QueueMs>,
    /// Its key, if the window still holds it.
    pub key: Option<(KeyHash, Fingerprint)>,
    /// What a newer program said about it.
    pub carried: Carried,
    /// The epoch of its last lease, if it had one.
    pub epoch: Option<Epoch>,
    /// Where it is.
    pub life: LifeImage,
    /// What it has spent.
    pub budgets: Budgets,
    /// With what company it flies.
    pub isolation: Isolation,
    /// What happened to it; absent if nothing did.
    pub history: Option<Box<TaskHistory>>,
}

/// The durable part of a task's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifeImage {
    /// Waiting for a lease.
    Ready,
    /// Waiting for a time.
    Delayed(QueueMs),
    /// Held; the flags say whether it flew without company so far.
    Leased {
        /// Alone in its route.
        alone_in_route: bool,
        /// Alone in the queue.
        alone_in_queue: bool,
    },
    /// In the poison store.
    Poison {
        /// When it got there.
        at: QueueMs,
        /// Why it is there.
        cause: PoisonCause,
    },
}

/// What a task has spent since it was enqueued or last requeued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budgets {
    /// Charged rejections, which `max_retries` bounds.
    pub retries: u16,
    /// Charged doubts, which `max_in_doubt` bounds.
    pub in_doubt: u16,
    /// In-doubt outcomes that cost nothing because company was to blame as well.
    pub uncharged: u16,
    /// Deaths of the bridge, likewise.
    pub deaths: u16,
    /// Failed attempts that were answered by a delay; the exponent of the backoff.
    pub setbacks: u16,
}

impl Budgets {
    /// Adds what a settled attempt cost. An answer clears the suspicion that company had raised.
    pub(super) fn spend(&mut self, settled: &Settled) {
        let charge = u16::from(settled.charged);
        match settled.outcome {
            LeaseOutcome::Unavailable if planted!(Bug::UnavailableSpends) => self.retries += 1,
            LeaseOutcome::NotSent if planted!(Bug::NotSentSpends) => self.in_doubt += 1,
            LeaseOutcome::Rejected => {
                self.retries += charge;
                self.setbacks = self.setbacks.saturating_add(1);
            }
            LeaseOutcome::InDoubt(doubt) => {
                self.in_doubt += charge;
                self.setbacks = self.setbacks.saturating_add(1);
                let free = if doubt == Doubt::BridgeDied {
                    &mut self.deaths
                } else {
                    &mut self.uncharged
                };
                *free = free.saturating_add(1 - charge);
            }
            LeaseOutcome::Done
            | LeaseOutcome::Refused
            | LeaseOutcome::Unavailable
            | LeaseOutcome::NotSent
            | LeaseOutcome::Released => {}
        }
        if settled.outcome.is_answer() {
            self.uncharged = 0;
            self.deaths = 0;
        }
    }
}

/// A remembered key whose task is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyImage {
    /// The key's hash under the queue's salt.
    pub key: KeyHash,
    /// What it stood for.
    pub fingerprint: Fingerprint,
    /// The task it named.
    pub id: TaskId,
    /// When that was enqueued.
    pub at: QueueMs,
    /// Whether the task was executed; otherwise it was removed.
    pub done: bool,
}

/// The openings of a log that are remembered: see [`Event::OriginsKept`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginsImage {
    /// Oldest first, the current one last. Each goes as far as the next one's first number.
    pub openings: Vec<OpeningImage>,
    /// Ids of theirs that were drained and have not come back: they may live in another queue.
    pub drained: Vec<IdRange>,
}

/// One opening of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpeningImage {
    /// What its tasks are called by.
    pub origin: Origin,
    /// The number of its first task.
    pub first: Seq,
}

/// The small part of the state that outlives every task: written at the head of each segment, so
/// that the segments before it can go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base {
    /// The next task's sequence number.
    pub next_seq: Seq,
    /// The origin of this opening.
    pub origin: Origin,
    /// The time of the last event.
    pub at: QueueMs,
    /// Secret that salts the hashes of keys; made once, when the journal is created.
    pub salt: u128,
    /// Names of the routes in the order of their numbers, and whether they are paused.
    pub routes: Vec<(Box<str>, bool)>,
    /// By how much queue time runs ahead of the wall clock, as an operator has accepted it.
    pub ahead: SpanMs,
    /// Jobs on the poison store that run, and the last of those that are over.
    pub jobs: Vec<PoisonJob>,
}
