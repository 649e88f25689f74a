//! Time as the library sees it: a monotonic reading, a wall reading, and a way to sleep.

use std::time::Duration;

use super::BoxFuture;

/// A reading of the monotonic clock: time since a fixed but arbitrary start, never running backwards.
///
/// Only comparable with readings of the same [`Clock`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(Duration);

impl Mono {
    /// A reading from the time since the clock's start.
    pub const fn from_start(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// The time since the clock's start.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// Whole milliseconds since the clock's start.
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub fn saturating_since(self, earlier: Mono) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Mono {
    /// So much later; the latest reading there can be, if that is beyond it.
    pub fn saturating_add(self, span: Duration) -> Mono {
        Mono(self.0.saturating_add(span))
    }
}

impl std::ops::Add<Duration> for Mono {
    type Output = Mono;

    fn add(self, rhs: Duration) -> Mono {
        self.saturating_add(rhs)
    }
}

/// A reading of the wall clock, in milliseconds since the Unix epoch. May jump either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(u64);

impl Wall {
    /// A reading from milliseconds since the Unix epoch.
    pub const fn from_unix_ms(unix_ms: u64) -> Self {
        Self(unix_ms)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn unix_ms(self) -> u64 {
        self.0
    }
}

/// Where all of the library's time comes from.
pub trait Clock: Send + Sync + 'static {
    /// The monotonic time now.
    fn now(&self) -> Mono;

    /// The wall time now.
    fn wall(&self) -> Wall;

    /// Completes once [`Clock::now`] has reached `at`. Cancel safe: dropping it forgets the timer.
    fn sleep_until(&self, at: Mono) -> BoxFuture<'static, ()>;

    /// Completes after `duration`. Cancel safe.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.sleep_until(self.now() + duration)
    }
}

/// A deadline passed before the operation finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the deadline of {after:?} passed")]
pub struct Elapsed {
    /// How long the operation was given.
    pub after: Duration,
}

/// Runs `operation` for at most `limit`, then drops it.
///
/// What a dropped operation has already done stays done: whether its outcome is in doubt is for the
/// caller to say. Cancel safe if `operation` is.
///
/// # Errors
/// [`Elapsed`] when the limit passed first. An operation that is ready at once always wins.
pub async fn timeout<F: Future>(
    clock: &dyn Clock,
    limit: Duration,
    operation: F,
) -> Result<F::Output, Elapsed> {
    let mut operation = std::pin::pin!(operation);
    let mut sleep: Option<BoxFuture<'static, ()>> = None;
    std::future::poll_fn(move |cx| {
        if let std::task::Poll::Ready(value) = operation.as_mut().poll(cx) {
            return std::task::Poll::Ready(Ok(value));
        }
        // The timer is made only when the operation has to wait: most are ready at once.
        let sleep = sleep.get_or_insert_with(|| clock.sleep(limit));
        sleep
            .as_mut()
            .poll(cx)
            .map(|()| Err(Elapsed { after: limit }))
    })
    .await
}
