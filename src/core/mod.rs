//! The lease state machine, pure.
//!
//! [`decide`] turns an input into events under today's [`Policy`]; [`State::apply`] folds events and
//! asks nothing else. Live traffic decides and applies, recovery only applies, and models, fuzzing
//! and simulation use the same two. No clock, no randomness, no I/O, no bodies: times and jitter are
//! inputs.

pub mod event;
pub mod history;
pub mod ids;
pub mod limits;
pub mod time;

pub use event::Event;
pub use ids::{DeliveryId, Epoch, Origin, RouteId, Seq, TaskId};
pub use time::{MonoMs, Now, QueueMs, SpanMs};
