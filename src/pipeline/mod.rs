//! What one command needs on its way: a context, timeouts, retries, compensations, taps, a ticker.
//!
//! Knows nothing of queues, links or messages: only [`crate::env`] and futures.
//!
//! - [`Context`] goes along with one command. It carries the clock, the cancellation token, the
//!   deadline and the compensations: what has to be undone should the command fail.
//! - [`with_timeout`] cuts an operation off. What is cut off is *in doubt*, never *failed*.
//! - [`retry`] tries again by a [`RetryPolicy`], never after a cancellation or a final answer, and
//!   remembers the doubt that an earlier try left behind.
//! - [`PipelineExt`] taps and consumes streams in which one failed item never stops the rest.
//! - [`Ticker`] ticks on a fixed grid and drops the ticks nobody took.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//!
//! use leasebridge::env::Env;
//! use leasebridge::pipeline::{
//!     Class, Classify, Context, ContextOptions, PipelineError, RetryPolicy, retry, with_timeout,
//! };
//!
//! #[derive(Debug, thiserror::Error)]
//! #[error("the endpoint is busy")]
//! struct Busy;
//!
//! impl Classify for Busy {
//!     fn class(&self) -> Class {
//!         Class::NotDone
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut command = Context::new(Env::real(), ContextOptions::default());
//! let policy = RetryPolicy::fixed(3, Duration::from_millis(1))?;
//!
//! let sent: Result<u32, PipelineError<Busy>> = retry(&command, &policy, |number, scope| async move {
//!     scope.register_compensation("withdraw the send", || async { Ok(()) });
//!     with_timeout(&scope, Duration::from_secs(5), |_scope| async move {
//!         if number.get() < 2 { Err(Busy) } else { Ok(number.get()) }
//!     })
//!     .await
//! })
//! .await;
//!
//! match sent {
//!     Ok(number) => {
//!         assert_eq!(number, 2);
//!         command.succeed(); // nothing is withdrawn
//!     }
//!     Err(_) => {
//!         command.compensate(Duration::from_millis(500)).await?;
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod compensation;
mod context;
mod error;
mod policy;
mod retry;
mod scope;
mod stream;
#[cfg(test)]
mod testing;
mod ticker;
mod timeout;

pub use compensation::{CompensationError, CompensationErrors, CompensationFailure};
pub use context::{Cancelled, Context, ContextOptions};
pub use error::{BoxError, Class, Classify, PipelineError};
pub use policy::{Exponential, RetryPolicy, RetryPolicyError, TryNumber};
pub use retry::retry;
pub use scope::AbandonedCounter;
pub use stream::{ItemCounts, PipelineExt};
pub use ticker::{Tick, Ticker, ZeroPeriod};
pub use timeout::with_timeout;
