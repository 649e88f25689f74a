//! Routes, links and delivery with fallback.

mod breaker;
mod limits;
mod options;
mod waiters;

pub use breaker::{BreakerOptions, BreakerState};
pub use options::{BridgeOptions, Credentials, OnLostInbox, OptionsError, RouteOptions};
