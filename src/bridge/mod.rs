//! Routes, links and delivery with fallback.

mod breaker;
mod counters;
mod limits;
mod link;
mod options;
mod waiters;

pub use breaker::{BreakerOptions, BreakerState};
pub use counters::{LinkCounts, RouteCounts};
pub use options::{BridgeOptions, Credentials, OnLostInbox, OptionsError, RouteOptions};
