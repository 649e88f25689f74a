//! What an endpoint does with a command: its behaviour says, unless a fault of the endpoint overrides it.

use std::panic::panic_any;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use leasebridge::core::TaskId;
use leasebridge::env::{BoxFuture, Env};
use leasebridge::receiver::{Delivered, Handler, HandlerError, RecoverOutcome};

use super::body::Body;
use super::panics::PLANNED;
use super::seat::Seat;
use super::shared::{ProcessEnd, Shared};
use crate::history::{TaskName, What};
use crate::plan::{OpId, Step};

/// How long a command that kills its bridge goes on before it answers no: the bridge is dead by then.
const KILL_BRIDGE_WORK: Duration = Duration::from_secs(1);

/// The handler of one endpoint's process.
pub(super) struct Executor {
    pub(super) env: Env,
    pub(super) seat: Arc<Seat>,
    pub(super) shared: Arc<Shared>,
    /// Whether it can't say what became of an execution that was cut off.
    pub(super) is_blind: bool,
}

impl Handler for Executor {
    fn handle(&self, command: Delivered) -> BoxFuture<'_, Result<Bytes, HandlerError>> {
        Box::pin(async move {
            let Some(body) = Body::decode(&command.body) else {
                return Err(HandlerError::Refused("no body of the simulator's".into()));
            };
            self.shared
                .record(&self.seat.name, executing(&self.shared, &command, body.op));
            let result = self.execute(&command, &body).await;
            let word = match &result {
                Ok(_) => "done",
                Err(HandlerError::Rejected(_)) => "rejected",
                Err(HandlerError::Refused(_)) => "refused",
                Err(HandlerError::Unavailable { .. }) => "unavailable",
            };
            self.executed(&command, body.op, word);
            if result.is_ok() {
                self.shared
                    .ledger
                    .effect(&self.seat.name, command.delivery.task);
            }
            result
        })
    }

    /// Asks the world whether the effect is there: what a careful handler can find out.
    fn recover(&self, task: TaskId) -> BoxFuture<'_, RecoverOutcome> {
        let known = match self.shared.ledger.is_effected(task) {
            _ if self.is_blind => RecoverOutcome::Unknown,
            true => RecoverOutcome::Done(Bytes::new()),
            false => RecoverOutcome::NotDone,
        };
        Box::pin(std::future::ready(known))
    }
}

impl Executor {
    async fn execute(&self, command: &Delivered, body: &Body) -> Result<Bytes, HandlerError> {
        let manners = *self.seat.manners();
        let now = || turmoil::sim_elapsed().unwrap_or_default().into();
        if let Some(fault) = manners.refuses {
            self.shared.strike(now(), fault, 1);
            return Err(HandlerError::Refused("the endpoint refuses".into()));
        }
        if let Some(fault) = manners.rejects {
            self.shared.strike(now(), fault, 1);
            return Err(HandlerError::Rejected("the endpoint rejects".into()));
        }
        let execution = self.shared.ledger.executes(command.delivery.task);
        let clock = &self.env.clock;
        match body.steps.step(execution) {
            Step::Done(work) => {
                clock.sleep(work.as_duration()).await;
                match &self.shared.work {
                    Some(own) => own.work(&self.seat.name, body.op, command).await,
                    None => Ok(Bytes::new()),
                }
            }
            Step::Reject(work) => {
                clock.sleep(work.as_duration()).await;
                Err(HandlerError::Rejected("rejected by plan".into()))
            }
            Step::Refuse(work) => {
                clock.sleep(work.as_duration()).await;
                Err(HandlerError::Refused("refused by plan".into()))
            }
            Step::Unavailable(span) => Err(HandlerError::Unavailable {
                retry_after: span.as_duration(),
                text: "unavailable by plan".into(),
            }),
            Step::Silent => std::future::pending().await,
            Step::Panic => {
                self.executed(command, body.op, "rejected");
                panic_any(PLANNED)
            }
            Step::KillEndpoint => self.shared.die(&self.seat.name, ProcessEnd::Pill).await,
            Step::KillBridge => {
                if let Some(op) = self.shared.op(body.op) {
                    self.shared.kill(&op.bridge, ProcessEnd::Pill);
                }
                clock.sleep(KILL_BRIDGE_WORK).await;
                Err(HandlerError::Rejected("its bridge died of it".into()))
            }
        }
    }

    fn executed(&self, command: &Delivered, op: OpId, result: &str) {
        let what = What::Executed {
            task: TaskName::from(command.delivery.task),
            epoch: command.delivery.epoch.get(),
            result: result.to_owned(),
            op,
        };
        self.shared.record(&self.seat.name, what);
    }
}

/// The record of a command that begins to be executed.
pub(super) fn executing(shared: &Shared, command: &Delivered, op: OpId) -> What {
    What::Executing {
        task: TaskName::from(command.delivery.task),
        epoch: command.delivery.epoch.get(),
        send: command.send.get(),
        op,
        bridge: shared.op(op).map(|op| op.bridge.clone()),
    }
}
