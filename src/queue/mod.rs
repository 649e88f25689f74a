//! `SafeTaskQueue`: core, journal and waiting callers.

mod adapter;
mod admin;
mod backpressure;
#[cfg(feature = "wire")]
mod command;
mod commit;
mod credits;
mod drain;
mod engine;
mod enqueue;
mod envelope;
mod error;
mod feed;
mod jobs;
mod kept;
mod lease;
pub mod log;
mod options;
mod payload;
#[expect(
    clippy::module_inception,
    reason = "the queue is what this module is about"
)]
mod queue;
mod route_limits;
mod status;
mod sync;

pub use adapter::{AdapterError, CONCURRENCY_MAX, TaskQueueChannelAdapter};
pub use admin::{Explained, Listed, MovedRoute, RouteMove};
pub use backpressure::BackpressureSignal;
#[cfg(feature = "wire")]
pub use command::Command;
pub use drain::{Drained, DrainedTask};
pub use enqueue::Enqueued;
pub use error::{EnqueueError, FullBecause, LeaseError, OpenError, RouteFullBecause};
pub use feed::{Heard, LeaseEnd, LifecycleEvent, LifecycleFeed, LifecycleKind};
pub use jobs::JobStatus;
pub use lease::{Extension, Failure, Lease, Sends};
pub use log::LogFailure;
pub use options::{
    BODY_BYTES_LIMIT, CAPACITY_MAX, DEFAULT_ROUTE, KEY_BYTES_MAX, QueueOptions, QueueOptionsError,
    TaskOptions,
};
pub use payload::{Json, Payload, PayloadError};
pub use queue::SafeTaskQueue;
pub use route_limits::{Backoff, RouteLimits, SCHEDULE_STEPS_MAX};
