//! What can go wrong with a queue, and whether the outcome is known.

use std::time::Duration;

use crate::core::{DeliveryId, Epoch, JobId, Refusal, TaskId};

use super::log::{self, LogFailure};
use super::options::QueueOptionsError;
use crate::journal::GeometryError;

/// A queue was not opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An option makes no sense.
    #[error(transparent)]
    Options(#[from] QueueOptionsError),
    /// The configured sizes don't go together.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The log can't be used.
    #[error(transparent)]
    Log(#[from] log::LogOpenError),
    /// The log was read, but its first own records could not be made durable.
    #[error(transparent)]
    Journal(#[from] LogFailure),
    /// No driver for the log could be started.
    #[error("no thread for the disk could be started: {0}")]
    Thread(#[source] std::io::Error),
}

impl OpenError {
    /// Whether another process has the log, or a queue of this one that is still letting go of it.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Log(error) if error.is_held())
    }

    /// Whether the log is damaged where no power cut damages it.
    pub fn is_damaged(&self) -> bool {
        matches!(self, Self::Log(error) if error.is_damaged())
    }
}

/// A command was not accepted, or it isn't known whether it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnqueueError {
    /// No room for now; nothing was kept.
    #[error("the queue is full ({why}); try again in {retry_after:?}")]
    Full {
        /// What is used up.
        why: FullBecause,
        /// When to try again.
        retry_after: Duration,
    },
    /// More commands at once than the queue, or their route, takes in all: there is never room for them. Nothing was kept.
    #[error(
        "{commands} commands at once are more than their queue or route takes in all, {capacity}; send fewer at once"
    )]
    BatchTooLarge {
        /// Commands of the batch that are new.
        commands: u64,
        /// The queue's `capacity`, or the most tasks that the route may hold.
        capacity: u64,
    },
    /// A route holds as much as its share of the queue allows; nothing was kept. Others have room for theirs.
    #[error("route `{route}` is full: {why}; commands for other routes are taken")]
    RouteFull {
        /// The route whose commands find no room.
        route: String,
        /// What it has used up.
        why: RouteFullBecause,
        /// A guess at when to try again.
        retry_after: Duration,
    },
    /// No such route.
    #[error("there is no route `{0}`")]
    UnknownRoute(String),
    /// The body exceeds the limit.
    #[error("the command has {bytes} bytes, {bytes_max} are allowed")]
    BodyTooLarge {
        /// Bytes that it has.
        bytes: usize,
        /// Bytes that are allowed.
        bytes_max: u32,
    },
    /// The key exceeds the limit.
    #[error("the key has {0} bytes, 256 are allowed")]
    KeyTooLong(usize),
    /// The key stands for another route or body.
    #[error("the key already stands for another command, task {first}")]
    KeyConflict {
        /// The command it stands for.
        first: TaskId,
    },
    /// The command's own deadline has passed already.
    #[error("the command's deadline has passed already")]
    DeadlinePassed,
    /// The queue is closing or closed; nothing was kept.
    #[error("the queue is closed")]
    Closed,
    /// In doubt: the command may or may not be found after a restart.
    #[error("in doubt whether the command was kept: {0}")]
    InDoubt(LogFailure),
}

impl EnqueueError {
    /// Whether it is certain that nothing was kept.
    pub fn is_definite(&self) -> bool {
        !matches!(self, Self::InDoubt(_))
    }

    /// Whether the same command may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.room_after().is_some() || matches!(self, Self::Closed | Self::InDoubt(_))
    }

    /// If there was no room: a guess at when to try again.
    pub fn room_after(&self) -> Option<Duration> {
        match self {
            Self::Full { retry_after, .. } | Self::RouteFull { retry_after, .. } => {
                Some(*retry_after)
            }
            _ => None,
        }
    }
}

/// What is used up in a full queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FullBecause {
    /// As many tasks are pending as may be.
    #[error("its capacity is used up")]
    Capacity,
    /// The poison store holds as many tasks as it may.
    #[error("the poison store is full: requeue or purge")]
    Poison,
    /// The log's share of the disk is used up.
    #[error("the log's share of the disk is used up")]
    Disk,
    /// More is waiting to be written than fits in memory.
    #[error("the disk can't keep up")]
    Backlog,
}

/// What a route has used up of its share of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteFullBecause {
    /// As many of its tasks are pending as may be.
    #[error(
        "as many of its tasks wait as its share of the queue's `capacity` allows: see to its endpoint, or move them"
    )]
    Capacity,
    /// As many of its tasks are in the poison store as may be.
    #[error(
        "as many of its tasks are in poison as its share of `poison_capacity` allows: requeue or purge them"
    )]
    Poison,
    /// Its tasks take as much of the log as they may.
    #[error(
        "its tasks take up its share of the log: see to its endpoint, or purge what is in poison"
    )]
    Bytes,
}

/// An operation on leases or tasks did not happen, or it isn't known whether it did.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// The lease is over; nothing was changed.
    #[error("the lease {delivery} is over{}", current_text(*.current))]
    Stale {
        /// The lease that was named.
        delivery: DeliveryId,
        /// The epoch of the task's last lease; `None` if the task has left the queue.
        current: Option<Epoch>,
    },
    /// No such route; nothing was changed.
    #[error("there is no route `{0}`")]
    UnknownRoute(String),
    /// The task is not where the operation takes it from; nothing was changed.
    #[error("task {id} is not {wanted}")]
    NotThere {
        /// The task that was named.
        id: TaskId,
        /// Where it would have to be.
        wanted: &'static str,
    },
    /// As many jobs run as may; nothing was changed.
    #[error("as many jobs run already as may: wait for one of them to end")]
    TooManyJobs,
    /// No such job, or nobody remembers it; nothing was changed.
    #[error("there is no job {0}, or it was over long ago")]
    UnknownJob(JobId),
    /// The queue is closed; nothing was changed. A lease that was open then went back by itself.
    #[error("the queue is closed")]
    Closed,
    /// In doubt: the operation may or may not be found done after a restart.
    #[error("in doubt whether it was recorded: {0}")]
    InDoubt(LogFailure),
}

fn current_text(current: Option<Epoch>) -> String {
    match current {
        Some(epoch) => format!(", epoch {epoch} is current"),
        None => ", the task has left the queue".to_owned(),
    }
}

impl LeaseError {
    /// Whether it is certain that nothing was changed.
    pub fn is_definite(&self) -> bool {
        !matches!(self, Self::InDoubt(_))
    }
}

impl From<Refusal> for LeaseError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Stale { delivery, current } => Self::Stale { delivery, current },
            Refusal::NotThere { id, wanted } => Self::NotThere { id, wanted },
            Refusal::TooManyJobs => Self::TooManyJobs,
            Refusal::UnknownJob(id) => Self::UnknownJob(id),
            Refusal::UnknownRoute(route) => Self::UnknownRoute(format!("number {}", route.0)),
            Refusal::BadRoute(why) => Self::UnknownRoute(why.to_owned()),
            Refusal::KeyConflict { .. } | Refusal::DeadlinePassed => {
                unreachable!("only enqueueing is refused for its key or deadline")
            }
        }
    }
}
