//! The endpoint side as a library: listeners for both transports, one loop per link, and the inbox that
//! makes execution effectively-once.
//!
//! ```text
//! server ──► link (socket or gRPC) ──► engine ──► inbox      which commands run
//!                                        ├──────► handler    runs them
//!                                        └──────► store      remembers them
//! ```
//!
//! A link may break the protocol or die: it is closed, counted, and nothing else suffers. An execution
//! belongs to no link; its outcome goes to whoever waits for it when it ends.

// Numbers of others are added up here. Tests may overflow as they like.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod engine;
mod handler;
pub mod inbox;
mod link;
mod options;
mod server;
mod stats;
pub mod store;

pub use crate::wire::HandlerError;
pub use handler::{Delivered, Handler, RecoverOutcome};
pub use inbox::InboxLimits;
pub use options::{ReceiverOptions, ReceiverOptionsError};
pub use server::{Receiver, ReceiverError, ReceiverFailure, RunningReceiver, ShutdownReport};
pub use store::{EffectFile, EffectLog, FileStore, InboxStore, MemoryStore, StoreError};
