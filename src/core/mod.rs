//! The lease state machine, pure.
//!
//! [`decide()`] turns an input into events under today's [`Policy`]; [`QueueState::apply`] folds events and
//! asks nothing else. Live traffic decides and applies, recovery only applies, and models, fuzzing
//! and simulation use the same two. No clock, no randomness, no I/O, no bodies: times and jitter are
//! inputs.

mod apply;
mod bodies;
pub mod decide;
mod ends;
pub mod event;
pub mod history;
pub mod ids;
mod jobs;
mod keys;
mod lane;
pub mod limits;
mod order;
mod origins;
mod policy;
mod ranges;
mod settled;
mod state;
mod task;
pub mod time;

pub use apply::Impossible;
pub use bodies::BodyUse;
pub use decide::{Input, Refusal, Reply, Report, Settlement, decide};
pub use event::Event;
pub use ids::{
    DeliveryId, Epoch, EpochError, IdRange, Origin, RouteId, SendNumber, Seq, TaskId, TaskIdError,
};
pub use jobs::{JobId, JobKind, PoisonJob};
pub use lane::{LaneCounts, LaneTotals};
pub use policy::{Policy, RejectionWait, RoutePolicy, SCHEDULE_DEFAULT_MS};
pub use ranges::IdRanges;
pub use state::{QueueState, TaskState, TaskView};
pub use time::{MonoMs, Now, QueueMs, SpanMs};
