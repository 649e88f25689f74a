//! What can go wrong with compensations, and how one of them is run.

use std::borrow::Cow;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;

use super::BoxError;
use crate::env::{BoxFuture, Clock, timeout};

/// A registered compensation, not yet started.
pub(super) type Compensation =
    Box<dyn FnOnce() -> BoxFuture<'static, Result<(), BoxError>> + Send + 'static>;

/// What went wrong with one compensation.
#[derive(Debug, thiserror::Error)]
pub enum CompensationError {
    /// It said so itself.
    #[error("failed: {0}")]
    Failed(#[source] BoxError),
    /// It did not finish in time and was cut off: in doubt.
    #[error("cut off after {after:?}; in doubt")]
    TimedOut {
        /// How long it was given.
        after: Duration,
    },
    /// It panicked: in doubt.
    #[error("panicked; in doubt")]
    Panicked,
    /// Whoever ran the compensations went away while this one was under way: in doubt.
    #[error("interrupted while it ran; in doubt")]
    Interrupted,
}

/// One compensation that did not do its work for certain.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {error}")]
pub struct CompensationFailure {
    /// The name it was registered under.
    pub name: Cow<'static, str>,
    /// What went wrong.
    #[source]
    pub error: CompensationError,
}

/// All compensations of one scope that went wrong, in the order in which they were run. Every other
/// one was run too, and none is run again.
#[derive(Debug)]
pub struct CompensationErrors {
    /// At least one, in the order in which they were run. Those that an interrupted earlier run
    /// left behind come first.
    pub failures: Vec<CompensationFailure>,
    /// How many compensations the call that reports this has run, failed ones included.
    pub ran: usize,
}

impl fmt::Display for CompensationErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} compensations went wrong: ", self.failures.len())?;
        for (index, failure) in self.failures.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{failure}")?;
        }
        Ok(())
    }
}

impl std::error::Error for CompensationErrors {}

/// Runs one compensation for at most `limit`. Never panics, whatever the compensation does.
pub(super) async fn run_one(
    clock: &dyn Clock,
    limit: Duration,
    compensation: Compensation,
) -> Result<(), CompensationError> {
    // Nothing of a panicked compensation is looked at again, so no broken invariant can leak out.
    let work = AssertUnwindSafe(async move { compensation().await }).catch_unwind();
    match timeout(clock, limit, work).await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(error))) => Err(CompensationError::Failed(error)),
        Ok(Err(_panic)) => Err(CompensationError::Panicked),
        Err(elapsed) => Err(CompensationError::TimedOut {
            after: elapsed.after,
        }),
    }
}
