//! The world that commands act upon: it counts every execution, and outlives the endpoints.
//!
//! The demo's verdict rests on these counts, not on what queue, bridge or inbox say of themselves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use leasebridge::core::TaskId;
use leasebridge::env::{BoxFuture, Env};
use leasebridge::receiver::{Delivered, Handler, HandlerError, RecoverOutcome};

/// How long an execution takes: with [`super::endpoint`]'s handlers about a thousand a second and route.
const WORK: Duration = Duration::from_millis(12);

/// The body of a command that no endpoint will ever execute.
pub(super) const IMPOSSIBLE: &str = "switch on lamp 9999";

/// One in so many commands is answered with no the first time.
const BUSY_ONE_IN: u64 = 199;

/// What happened to the commands of one route.
#[derive(Default)]
pub(super) struct ExecutionLedger {
    inner: Mutex<ExecutionCounts>,
}

#[derive(Default)]
struct ExecutionCounts {
    /// Which life of the endpoint may act: those before it are dead.
    life: u32,
    /// Executions by key.
    executions: BTreeMap<String, u32>,
    /// Which tasks were executed, for an endpoint that lost its own memory of that in a crash.
    tasks: BTreeMap<TaskId, ()>,
    /// Commands refused for good, by key.
    refused: BTreeMap<String, u32>,
    /// Commands that were told once to come again.
    busy: BTreeMap<String, ()>,
}

impl ExecutionLedger {
    fn inner(&self) -> MutexGuard<'_, ExecutionCounts> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often the command with `key` was executed.
    pub(super) fn executions(&self, key: &str) -> u32 {
        self.inner().executions.get(key).copied().unwrap_or(0)
    }

    /// Whether the command with `key` was refused for good.
    pub(super) fn is_refused(&self, key: &str) -> bool {
        self.inner().refused.contains_key(key)
    }

    /// Keys executed or refused so far.
    pub(super) fn settled(&self) -> u64 {
        let inner = self.inner();
        (inner.executions.len() + inner.refused.len()) as u64
    }

    /// Keys executed so far.
    pub(super) fn executed(&self) -> u64 {
        self.inner().executions.len() as u64
    }

    /// Keys executed more than once.
    pub(super) fn executed_again(&self) -> u64 {
        let inner = self.inner();
        inner
            .executions
            .values()
            .filter(|count| **count > 1)
            .count() as u64
    }

    /// Commands answered with "not now, come again".
    pub(super) fn rejected(&self) -> u64 {
        self.inner().busy.len() as u64
    }

    /// Keys refused for good.
    pub(super) fn refused(&self) -> Vec<String> {
        self.inner().refused.keys().cloned().collect()
    }

    /// The endpoint's process dies: from now on nothing of its past life acts.
    pub(super) fn die(&self) {
        self.inner().life += 1;
    }

    /// The hands of the endpoint's current life.
    pub(super) fn hands(self: &Arc<Self>, env: &Env) -> Hands {
        Hands {
            env: env.clone(),
            life: self.inner().life,
            ledger: Arc::clone(self),
        }
    }
}

/// Executes commands for one life of an endpoint.
pub(super) struct Hands {
    env: Env,
    life: u32,
    ledger: Arc<ExecutionLedger>,
}

impl Hands {
    fn act(&self, command: &Delivered) -> Result<Bytes, HandlerError> {
        let mut inner = self.ledger.inner();
        if inner.life != self.life {
            // A dead process does nothing, and nobody hears this answer.
            return Err(HandlerError::Rejected("the endpoint is dead".to_owned()));
        }
        let key = &command.key;
        if command.body.as_ref() == IMPOSSIBLE.as_bytes() {
            *inner.refused.entry(key.clone()).or_default() += 1;
            return Err(HandlerError::Refused("there is no lamp 9999".to_owned()));
        }
        let is_busy = command.delivery.task.seq.0.is_multiple_of(BUSY_ONE_IN);
        if is_busy && inner.busy.insert(key.clone(), ()).is_none() {
            return Err(HandlerError::Rejected("the lamp is busy".to_owned()));
        }
        *inner.executions.entry(key.clone()).or_default() += 1;
        inner.tasks.insert(command.delivery.task, ());
        Ok(Bytes::new())
    }
}

impl Handler for Hands {
    fn handle(&self, command: Delivered) -> BoxFuture<'_, Result<Bytes, HandlerError>> {
        Box::pin(async move {
            self.env.clock.sleep(WORK).await;
            self.act(&command)
        })
    }

    fn recover(&self, task: TaskId) -> BoxFuture<'_, RecoverOutcome> {
        let outcome = if self.ledger.inner().tasks.contains_key(&task) {
            RecoverOutcome::Done(Bytes::new())
        } else {
            RecoverOutcome::NotDone
        };
        Box::pin(std::future::ready(outcome))
    }
}
