//! tokio's timers and the system's wall clock.

use std::time::SystemTime;

use tokio::time::Instant;

use crate::env::{BoxFuture, Clock, Mono, Wall};

/// tokio's clock: follows `tokio::time::pause` in tests.
#[derive(Debug)]
pub struct TokioClock {
    start: Instant,
}

impl TokioClock {
    /// A clock whose monotonic time starts now.
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Mono {
        Mono::from_start(self.start.elapsed())
    }

    fn wall(&self) -> Wall {
        // A clock set before 1970 reads as 1970; durable times never run backwards anyway.
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let millis = since_epoch.map_or(0, |since| since.as_millis());
        Wall::from_unix_ms(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    fn sleep_until(&self, at: Mono) -> BoxFuture<'static, ()> {
        // tokio's own far future: an instant that can't be represented must not panic.
        let far = Instant::now() + std::time::Duration::from_secs(86_400 * 365 * 30);
        let deadline = self
            .start
            .checked_add(at.since_start())
            .unwrap_or(far)
            .min(far);
        Box::pin(tokio::time::sleep_until(deadline))
    }
}
