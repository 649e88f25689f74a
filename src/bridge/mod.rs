//! Routes, links and delivery with fallback: what takes commands out of the queue and brings them to
//! their endpoints.
//!
//! ```text
//! Bridge ──► lane (one per route) ──► delivery (one per lease) ──► keeper ──► link (socket | gRPC)
//!              │ leases, settles        │ sends, falls back,         │ reconnects
//!              └ gate: route breaker    └ rolls back                 └ link breaker
//! ```
//!
//! What holds whatever happens: a command counts as executed only by its endpoint's answer; a lease is
//! settled exactly once; after a *done* nothing is rolled back; a command whose frame may have left
//! is never called *not sent*; a route that is dead delays no other.

// Numbers of others are added up here. Tests may overflow as they like.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod breaker;
mod counters;
mod delivery;
mod doubts;
mod earlier;
mod feed;
mod keeper;
mod lane;
mod limits;
mod link;
mod options;
mod patience;
mod result;
mod route;
mod running;
mod settled;
mod view;
mod waiters;

pub use breaker::BreakerOptions;
pub use feed::{DeliveryEnd, DeliveryEnds, DeliveryNews};
pub use limits::{WINDOW_BYTES_MAX, WINDOW_MAX};
pub use options::{BridgeOptions, BridgeOptionsError, Credentials, OnLostInbox, RouteOptions};
pub use result::{RESULT_BYTES_MAX, TaskResult};
pub use running::{Bridge, DrainReport, RunningBridge, StartError};
pub use view::BridgeView;
