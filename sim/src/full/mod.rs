//! The full-stack world: producers, bridges and endpoints as processes on simulated machines, inside turmoil.
//!
//! Everything that runs is the product's own: ingest over gRPC, queue and journal, bridge, both transports,
//! receiver and inbox. The simulator plays the producers' and operators' hands, the handler's body, and the
//! world around: machines that die and start, disks, clocks, the network.
//!
//! ```text
//! world ──► seats (one per host) ──► processes: producer_host, bridge_host, endpoint_host, stranger_host
//!   │ faults, deaths, boots            │ ask to die, tell what they see
//!   └ liveness                         └──► shared: history, ledger (what outlives processes)
//! ```
//!
//! What holds: a process touches nothing of the world but through its `Env` and its seat; all that a process
//! knows is gone when it dies; records are made where the thing happens, with the simulation's time.

mod body;
mod bridge_host;
mod build;
mod deaths;
mod disk_faults;
mod endpoint_host;
mod faults;
mod greed;
mod handler;
mod ledger;
mod life;
mod lines;
mod liveness;
mod operator;
mod panics;
mod producer_host;
mod seat;
mod shared;
mod stranger_host;
mod strangers;
mod words;
mod world;

use std::sync::Arc;

use bytes::Bytes;
use leasebridge::env::BoxFuture;
use leasebridge::receiver::{Delivered, HandlerError};

use crate::plan::{HostName, OpId, Plan};
use crate::ran::Ran;

/// What handlers of a user's own do at the step `done` of a command's behaviour, on endpoints whose inbox calls
/// a handler at all (one with effects does not).
pub trait Work: Send + Sync {
    /// Executes the command of operation `op` at the endpoint `host`; the history tells of it by itself.
    fn work<'a>(
        &'a self,
        host: &'a HostName,
        op: OpId,
        command: &'a Delivered,
    ) -> BoxFuture<'a, Result<Bytes, HandlerError>>;
}

/// Runs a plan. A process runs one: a second one in the same process may take another course, because tokio
/// numbers its tasks per process.
pub fn run(plan: &Plan) -> Ran {
    run_with(plan, None)
}

/// Runs a plan with handlers of one's own. As [`run`] otherwise.
pub fn run_with(plan: &Plan, work: Option<Arc<dyn Work>>) -> Ran {
    let (ran, panic) = panics::watched(|| world::World::new(plan, work).run());
    let mut ran = ran.unwrap_or_default();
    ran.panic = ran.panic.or(panic);
    ran
}
