//! A durable lease queue that delivers commands to remote endpoints and never loses one.
//!
//! Producers enqueue commands; each is answered after it is synced to a log. A *lease* is the exclusive, time-limited
//! right to deliver one task. A *bridge* leases tasks, sends them to their endpoints over a socket or gRPC, and settles
//! each lease with what the endpoint answered. What an outage, a crash or a full disk interrupts is delivered again; what
//! can't be delivered is kept in a *poison store* with its history. The `leasebridge` binary is built from this library.
//!
//! # Modules
//!
//! | module | what it has | feature |
//! |---|---|---|
//! | [`queue`] | [`queue::SafeTaskQueue`]: enqueue, lease, settle, poison store, events, status | |
//! | [`core`] | the lease state machine: `decide` makes events, `apply` folds them; no I/O, no clock | |
//! | [`journal`] | the log's records, batches and recovery, without I/O | |
//! | [`mod@env`] | the seams to the outside world: clock, transport, disk, randomness | |
//! | [`pipeline`] | contexts, timeouts, retries and compensations for one command | |
//! | [`observe`] | what is seen of queue, bridge and receiver at one moment: plain data, and as JSON | |
//! | [`coverage`] | counters of rare situations | |
//! | [`history`] | what happened in a run, as records that an oracle judges | |
//! | `wire` | the protocol between bridge and endpoint: frames and messages | `wire` |
//! | `bridge` | delivery: routes, links, heartbeats, fallback, breakers | `bridge` |
//! | `receiver` | the endpoint side: listeners, inbox, stores | `receiver` |
//! | `listening` | what a listener admits: places, deadlines, bytes | `receiver`, `server` |
//! | `server` | gRPC services for producers and operators | `server` |
//! | `node` | all of these in one process, started, served and drained in order | `node` |
//! | `config` | the configuration of a node, read from TOML | `config` |
//!
//! The default feature `cli` turns all of them on and adds what only the binary needs. A program that wants a queue alone
//! switches the default features off.
//!
//! # A queue alone
//!
//! ```
//! use leasebridge::queue::{Failure, QueueOptions, SafeTaskQueue, TaskOptions};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let queue = SafeTaskQueue::<String>::open(QueueOptions::new(folder.path())).await?;
//! queue.enqueue("open the valve".to_owned(), TaskOptions::default()).await?; // it is on the disk now
//!
//! let lease = queue.lease("default").await?;
//! assert_eq!(lease.value(), "open the valve");
//! lease.fail(Failure::Rejected("the valve is stuck".into())).await?; // it comes again, after a backoff
//!
//! let lease = queue.lease("default").await?;
//! assert_eq!(lease.delivery().epoch.get(), 2);
//! lease.ack().await?; // executed: it leaves the queue
//! queue.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # From a queue to an endpoint
//!
//! Both ends in one program; in earnest the endpoint is another machine.
//!
//! ```
//! # #[cfg(all(feature = "bridge", feature = "receiver"))]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use leasebridge::bridge::{Bridge, BridgeOptions, RouteOptions};
//! use leasebridge::env::{Address, BoxFuture, Env};
//! use leasebridge::queue::{Command, LifecycleKind, Heard, QueueOptions, SafeTaskQueue, TaskOptions};
//! use leasebridge::receiver::{Delivered, Handler, HandlerError, Receiver, ReceiverOptions};
//!
//! struct Valve;
//!
//! impl Handler for Valve {
//!     fn handle(&self, command: Delivered) -> BoxFuture<'_, Result<Bytes, HandlerError>> {
//!         Box::pin(async move { Ok(command.body) })
//!     }
//! }
//!
//! let env = Env::real();
//! let listen = ReceiverOptions::new(Address::tcp("127.0.0.1", 0));
//! let endpoint = Receiver::new(listen, Arc::new(Valve))?.start(env.clone()).await?;
//!
//! let folder = tempfile::tempdir()?;
//! let queue = SafeTaskQueue::<Command>::open(QueueOptions::new(folder.path())).await?;
//! queue.define_route("valves").await?;
//! let mut events = queue.subscribe();
//!
//! let route = RouteOptions::new("valves").socket(endpoint.socket_address().clone());
//! let bridge = Bridge::start(env, queue.clone(), BridgeOptions::new(vec![route]))?;
//!
//! queue.enqueue(Command::new("open"), TaskOptions::route("valves")).await?;
//! while let Some(heard) = events.next().await {
//!     if matches!(heard, Heard::Event(event) if event.kind == LifecycleKind::Done) {
//!         break; // the endpoint has answered, and that is on the disk
//!     }
//! }
//!
//! bridge.drain(Duration::from_secs(5)).await;
//! queue.close().await?;
//! endpoint.shutdown(Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "bridge", feature = "receiver")))]
//! # fn main() {}
//! ```

/// Whether a deliberate defect is on: in builds that are not made to have them, the literal `false`. What it
/// is given is not even looked up there.
#[cfg(not(leasebridge_planted))]
macro_rules! planted {
    (Bug::$bug:ident) => {
        false
    };
}

#[cfg(leasebridge_planted)]
macro_rules! planted {
    (Bug::$bug:ident) => {
        $crate::planted::is_on($crate::planted::Bug::$bug)
    };
}

#[cfg(feature = "bridge")]
pub mod bridge;
#[cfg(feature = "config")]
pub mod config;
pub mod core;
pub mod coverage;
pub mod env;
pub mod history;
pub mod journal;
#[cfg(any(feature = "receiver", feature = "server"))]
pub mod listening;
#[cfg(feature = "node")]
pub mod node;
pub mod observe;
pub mod pipeline;
#[cfg(leasebridge_planted)]
pub mod planted;
pub mod queue;
#[cfg(feature = "receiver")]
pub mod receiver;
#[cfg(any(feature = "bridge", feature = "receiver", feature = "server"))]
mod repeated;
#[cfg(any(feature = "bridge", feature = "receiver", feature = "config"))]
pub mod said;
#[cfg(feature = "server")]
pub mod server;
mod watched;
#[cfg(feature = "wire")]
pub mod wire;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
