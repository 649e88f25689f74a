//! What an endpoint's own code sees: a command in, an outcome out.

use std::time::Duration;

use bytes::Bytes;

use crate::core::{DeliveryId, SendNumber, TaskId};
use crate::env::BoxFuture;
use crate::wire::{HandlerError, v1};

/// A command to execute.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivered {
    /// The task and its epoch.
    pub delivery: DeliveryId,
    /// Which send of the delivery brought it.
    pub send: SendNumber,
    /// The route it was sent along.
    pub route: String,
    /// The producer's headers, in order.
    pub headers: Vec<v1::Header>,
    /// What the producer gave: opaque bytes.
    pub body: Bytes,
    /// The producer's idempotency key; empty if there is none.
    pub key: String,
    /// What was left until the command's own deadline when it was sent.
    pub expires_in: Option<Duration>,
}

/// What a handler knows of a task that was started before a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoverOutcome {
    /// It was executed, with this result.
    Done(Bytes),
    /// It was certainly not executed: its next delivery runs.
    NotDone,
    /// Nobody can say. Its next delivery is refused for good, so that a person finds it in the poison
    /// store and decides; requeued from there, it runs.
    Unknown,
}

/// Executes commands.
///
/// At most one execution of a task goes on at a time, and none follows one that returned `Ok`. An
/// error must mean that the command had no effect.
pub trait Handler: Send + Sync + 'static {
    /// Executes one command and returns its result, which every later delivery of the task is told.
    ///
    /// Runs on a task of its own, whatever becomes of the link that brought the command. A panic
    /// counts as [`HandlerError::Rejected`]. It is dropped unfinished only if the process ends.
    ///
    /// # Errors
    /// A [`HandlerError`], if and only if the command had no effect.
    fn handle(&self, command: Delivered) -> BoxFuture<'_, Result<Bytes, HandlerError>>;

    /// Decides about a task that had started when the process died. Called at start, before any
    /// command, and only with a store that survives a restart.
    fn recover(&self, task: TaskId) -> BoxFuture<'_, RecoverOutcome> {
        let _ = task;
        Box::pin(std::future::ready(RecoverOutcome::Unknown))
    }
}

/// The longest error text that is kept and sent, in bytes: histories cap it as well.
pub(super) const ERROR_BYTES_MAX: usize = 4 << 10;
