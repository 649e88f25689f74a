//! From an input to the events it causes, under today's policy.
//!
//! One file for each family of inputs. A decision reads the state and changes nothing; the caller
//! writes the events down, in order, and applies them before it decides again.

mod clock;
mod enqueue;
mod grant;
mod jobs;
mod open;
mod operate;
mod settle;
mod tick;

use super::event::{Doubt, Event, TaskImage, TransportKind};
use super::ids::{
    BodyRef, DeliveryId, Epoch, Fingerprint, KeyHash, Origin, RouteId, SegmentNo, TaskId,
};
use super::jobs::{JobId, JobKind};
use super::policy::Policy;
use super::state::{QueueState, TaskState};
use super::time::{MonoMs, Now, QueueMs, SpanMs};

/// Something somebody wants of the queue.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// The journal was opened: a new origin, and the end of every lease of the dead process.
    Open {
        /// Fresh and random.
        origin: Origin,
        /// A random number, which draws the backoffs of what the dead process left in doubt.
        jitter: u64,
        /// The end of the log was cut off by a repair.
        is_cut: bool,
    },
    /// Make a route known. Changes nothing if it is.
    DefineRoute {
        /// The route's name; empty or too long, it is refused.
        name: &'a str,
    },
    /// Stop or resume leasing from a route.
    PauseRoute {
        /// The route that is stopped or resumed.
        route: RouteId,
        /// Stop, or resume.
        paused: bool,
    },
    /// Let a route's tasks get so old and no older. For as long as this process lives.
    LimitAge {
        /// The route whose tasks are meant.
        route: RouteId,
        /// How old they may get since they were enqueued or last requeued; none: any age.
        age_max: Option<SpanMs>,
    },
    /// Accept a command. Admission (capacity, disk) has been decided before.
    Enqueue {
        /// The route that the task will wait on.
        route: RouteId,
        /// The idempotency key's hash, and what tells a repetition from a conflict.
        key: Option<(KeyHash, Fingerprint)>,
        /// After this time it must not be executed.
        deadline: Option<QueueMs>,
    },
    /// Lease the next task of a route.
    Grant {
        /// The route whose next task is wanted.
        route: RouteId,
    },
    /// The end of a lease, or a late *done*.
    Settle(Settlement),
    /// More time for a lease.
    Extend {
        /// The lease that is to last longer.
        delivery: DeliveryId,
    },
    /// The holder is about to write the delivery to a transport.
    Send {
        /// The lease under which it is sent.
        delivery: DeliveryId,
    },
    /// Out of poison, back to ready.
    Requeue {
        /// A task in poison.
        id: TaskId,
    },
    /// Out of poison, for good.
    Purge {
        /// A task in poison.
        id: TaskId,
        /// Let its key go even if it may have been executed.
        release_key: bool,
    },
    /// Nobody knows what time it is.
    DoubtClock,
    /// Somebody says what time it is. It never runs backwards.
    SetClock {
        /// The time.
        at: QueueMs,
        /// By how much it runs ahead of the wall clock.
        ahead: SpanMs,
    },
    /// Do something to everything that is in poison now, in steps.
    BeginJob {
        /// What is done.
        kind: JobKind,
        /// On this route only.
        route: Option<RouteId>,
    },
    /// Go on with a job that runs.
    StepJob {
        /// The job.
        id: JobId,
        /// About so many tasks.
        limit: usize,
    },
    /// End a job that runs where it stands.
    StopJob {
        /// The job.
        id: JobId,
    },
    /// A leased task leaves by a drain.
    DrainOut {
        /// The lease under which it was drained.
        delivery: DeliveryId,
    },
    /// Move a waiting task to another route.
    Reroute {
        /// The task that moves.
        id: TaskId,
        /// The route that it waits on from then on.
        to: RouteId,
    },
    /// Take in a task that was drained elsewhere.
    Restore {
        /// All it had.
        image: &'a TaskImage,
    },
    /// Write a task anew if its record still stands in `from`.
    Move {
        /// The live task.
        id: TaskId,
        /// The segment that is to go.
        from: SegmentNo,
    },
    /// Write a finished task's key anew if its record still stands in `from`.
    MoveKey {
        /// The key's hash.
        key: KeyHash,
        /// The segment that is to go.
        from: SegmentNo,
    },
    /// Write what is known of this log's openings anew if its record still stands in `from`.
    KeepOrigins {
        /// The segment that is to go.
        from: SegmentNo,
    },
    /// Time has passed.
    Tick {
        /// A random number, which draws the backoffs of leases that are over.
        jitter: u64,
        /// At most so many events.
        limit: usize,
    },
}

/// How a holder says its lease ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The task, and the epoch of the lease that is over.
    pub delivery: DeliveryId,
    /// What became of it.
    pub report: Report,
    /// Sends made under it.
    pub sends: u8,
    /// The transport of the last send.
    pub transport: Option<TransportKind>,
    /// What went wrong.
    pub error: Option<Box<str>>,
    /// For a backoff.
    pub jitter: u64,
}

/// What became of a lease, as its holder saw it: judged, it becomes a [`LeaseOutcome`](super::event::LeaseOutcome).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// The endpoint executed the command.
    Done,
    /// The endpoint answered no.
    Rejected,
    /// The endpoint answered no for good, or a limit forbids the delivery.
    Refused,
    /// The endpoint asks to be spared for a while.
    Unavailable {
        /// When to try again.
        retry_after: SpanMs,
    },
    /// Sent, no definite answer.
    InDoubt(Doubt),
    /// The holder's own code failed on it, whether it had sent anything or not: in doubt, and charged whoever else was
    /// answered. Given back it would fail again, for ever.
    Panicked,
    /// Certainly never reached the endpoint.
    NotSent,
    /// Never sent, given back.
    Released,
    /// The holder is gone: in doubt if it may have sent, else released.
    Dropped,
}

impl Report {
    /// Whether the task may have to wait for a backoff: only then its settlement's jitter counts.
    pub(crate) fn may_back_off(self) -> bool {
        match self {
            Self::Rejected | Self::InDoubt(_) | Self::Panicked | Self::Released | Self::Dropped => {
                true
            }
            Self::Done | Self::Refused | Self::Unavailable { .. } | Self::NotSent => false,
        }
    }
}

/// What a decision says to whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Done as asked.
    Changed,
    /// Nothing had to change.
    Unchanged,
    /// The route's number.
    Route(RouteId),
    /// The job's number.
    Job(JobId),
    /// Accepted as a new task.
    Enqueued(TaskId),
    /// The key is known: its first task, and where that is.
    Duplicate(TaskId, TaskState),
    /// A task was leased.
    Granted(Grant),
    /// A task expired in place of being leased; ask again.
    AskAgain,
    /// Nothing to lease just now.
    NothingReady,
    /// Ended; where the task went.
    Settled(super::event::Next),
    /// The lease ends then.
    Until {
        /// The deadline now.
        deadline: MonoMs,
        /// Whether this call moved it.
        extended: bool,
    },
    /// Time's work is done, or there is more of it.
    Ticked {
        /// The limit was reached.
        more: bool,
    },
}

/// A granted lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The task and the epoch of this lease: together they fence it.
    pub delivery: DeliveryId,
    /// When it ends unless it is extended.
    pub deadline: MonoMs,
    /// Where the body lies.
    pub body: BodyRef,
    /// When the task was enqueued.
    pub enqueued_at: QueueMs,
    /// The command's own deadline.
    pub expires_at: Option<QueueMs>,
}

/// Why nothing was changed. Definite, always.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The lease is over: another epoch is current, or the task is gone or was taken back.
    #[error("the lease {delivery} is over (current epoch: {})", epoch_or_gone(*.current))]
    Stale {
        /// The lease that was named.
        delivery: DeliveryId,
        /// The epoch of the task's last lease; `None` if the task is gone.
        current: Option<Epoch>,
    },
    /// The key stands for another route or body.
    #[error("the key already stands for another command, task {first}")]
    KeyConflict {
        /// The task it stands for.
        first: TaskId,
    },
    /// The command's own deadline has passed already.
    #[error("the command's deadline has passed already")]
    DeadlinePassed,
    /// No such task, or not where the operation takes it from.
    #[error("task {id} is not {wanted}")]
    NotThere {
        /// The task that was named.
        id: TaskId,
        /// Where it would have to be.
        wanted: &'static str,
    },
    /// As many jobs run as may.
    #[error("as many jobs run already as may: wait for one of them to end")]
    TooManyJobs,
    /// No such job, or nobody remembers it.
    #[error("there is no job {0}, or it was over long ago")]
    UnknownJob(JobId),
    /// No such route.
    #[error("there is no route number {}", .0.0)]
    UnknownRoute(RouteId),
    /// A route name that is empty or too long, or one route too many.
    #[error("the route can't be defined: {0}")]
    BadRoute(&'static str),
}

fn epoch_or_gone(epoch: Option<Epoch>) -> String {
    epoch.map_or_else(
        || "none, the task is gone".to_owned(),
        |epoch| epoch.to_string(),
    )
}

/// Decides one input. The events go to `out` in the order in which they are to be applied.
///
/// # Errors
/// [`Refusal`], with nothing in `out`.
pub fn decide(
    state: &QueueState,
    policy: &Policy,
    now: Now,
    input: Input<'_>,
    out: &mut Vec<Event>,
) -> Result<Reply, Refusal> {
    debug_assert!(
        out.is_empty(),
        "the events of the decision before were written down"
    );
    match input {
        Input::Open {
            origin,
            jitter,
            is_cut,
        } => Ok(open::open(
            state,
            policy,
            now,
            (origin, jitter, is_cut),
            out,
        )),
        Input::DefineRoute { name } => operate::define_route(state, name, out),
        Input::PauseRoute { route, paused } => operate::pause(state, route, paused, out),
        Input::LimitAge { route, age_max } => operate::limit_age(state, route, age_max, out),
        Input::Enqueue {
            route,
            key,
            deadline,
        } => enqueue::enqueue(state, policy, now, (route, key, deadline), out),
        Input::Grant { route } => grant::grant(state, policy, now, route, out),
        Input::Settle(settlement) => settle::settle(state, policy, now, settlement, out),
        Input::Extend { delivery } => grant::extend(state, policy, now, delivery, out),
        Input::Send { delivery } => grant::send(state, now, delivery, out),
        Input::Requeue { id } => operate::requeue(state, now, id, out),
        Input::Purge { id, release_key } => operate::purge(state, now, id, release_key, out),
        Input::DoubtClock => Ok(clock::doubt(state, out)),
        Input::SetClock { at, ahead } => Ok(clock::set(state, now, (at, ahead), out)),
        Input::BeginJob { kind, route } => jobs::begin(state, now, (kind, route), out),
        Input::StepJob { id, limit } => jobs::step(state, now, (id, limit), out),
        Input::StopJob { id } => jobs::stop(state, now, id, out),
        Input::DrainOut { delivery } => operate::drain_out(state, now, delivery, out),
        Input::Reroute { id, to } => operate::reroute(state, id, to, out),
        Input::Restore { image } => operate::restore(state, policy, now, image, out),
        Input::Move { id, from } => Ok(operate::move_task(state, id, from, out)),
        Input::MoveKey { key, from } => Ok(operate::move_key(state, key, from, out)),
        Input::KeepOrigins { from } => Ok(operate::keep_origins(state, from, out)),
        Input::Tick { jitter, limit } => Ok(tick::tick(state, policy, now, jitter, limit, out)),
    }
}

/// Another jitter for another task, from one random number (the finalizer of SplitMix64, Steele et
/// al., OOPSLA 2014).
fn mix(jitter: u64, id: TaskId) -> u64 {
    let mut z = jitter.wrapping_add(id.seq.0.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
