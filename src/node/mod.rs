//! A node: everything that a process runs which takes commands from producers and delivers them.
//!
//! ```text
//! Node ──► queue      opened first, sealed last
//!   ├────► bridge     delivers what is in the queue
//!   └────► services   ingest for producers, admin for operators, on one address
//! ```
//!
//! There is one order of start and one order of end, for the binary, for the simulator, and for a program of
//! your own. Start: the queue is opened; its routes are compared with what the log holds; they are defined; the
//! address is bound; the bridge starts; the services answer. What can be refused is refused before anything is
//! delivered, and the log is sealed again. End: no new commands, no new leases; what is in flight is finished
//! or given back; the log is sealed; the services send their last answers.
//!
//! ```no_run
//! use leasebridge::bridge::RouteOptions;
//! use leasebridge::env::{Address, Env};
//! use leasebridge::node::{Node, NodeFailure, NodeOptions};
//!
//! # async fn asked_to_end() {}
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let lamps = RouteOptions::new("lamps").socket(Address::tcp("lamps.example", 7420));
//! let options = NodeOptions::new("/var/lib/lamps", Address::tcp("127.0.0.1", 7410), vec![lamps]);
//! let node = Node::start(Env::real(), options).await?;
//! tokio::select! {
//!     failure = node.ended() => return Err(failure.into()), // exit, and be started again
//!     () = asked_to_end() => {}
//! }
//! node.drain().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Who wants to see everything that happens in the queue, from its opening on, takes two steps:
//! [`Node::open`], then [`OpenNode::start`].

mod error;
mod open;
mod options;
mod part;
mod running;
mod status;

pub use error::{FailureKind, MissingRoute, NodeFailure, StartError};
pub use open::OpenNode;
pub use options::{NodeOptions, OnMissingRoute};
pub use running::Node;
pub use status::{NodeStatus, NodeView};
