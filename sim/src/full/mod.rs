//! The full-stack world: producers, bridges and endpoints as processes on simulated machines, inside turmoil.
//!
//! Everything that runs is the product's own: ingest over gRPC, queue and journal, bridge, both transports,
//! receiver and inbox. The simulator plays the producers' and operators' hands, the handler's body, and the
//! world around: machines that die and start, disks, clocks, the network.
//!
//! ```text
//! world ──► seats (one per host) ──► processes: producer_host, bridge_host, endpoint_host
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
mod handler;
mod ledger;
mod liveness;
mod operator;
mod panics;
mod producer_host;
mod seat;
mod shared;
mod words;
mod world;

use crate::plan::Plan;
use crate::run::Ran;

/// Runs a plan. A process runs one: a second one in the same process may take another course, because tokio
/// numbers its tasks per process.
pub fn run(plan: &Plan) -> Ran {
    let (ran, panic) = panics::watched(|| world::World::new(plan).run());
    let mut ran = ran.unwrap_or_default();
    ran.panic = ran.panic.or(panic);
    ran
}
