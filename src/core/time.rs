//! Two kinds of time, never mixed: monotonic time for leases, and queue time, which is durable.

// Numbers of others are added up here.
#![warn(clippy::arithmetic_side_effects)]

use std::time::Duration;

/// Durable time in milliseconds: persisted, never running backwards, close to Unix time but not it.
/// Delays, deadlines and histories are in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueMs(pub u64);

/// Volatile monotonic time in milliseconds since this process's clock started. Lease deadlines are in
/// it; it means nothing to the next process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonoMs(pub u64);

/// A span in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanMs(pub u64);

impl SpanMs {
    /// From a duration, rounded down, at least 1 ms unless it is zero.
    pub fn from_duration(duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(if millis == 0 && !duration.is_zero() {
            1
        } else {
            millis
        })
    }

    /// As a duration.
    pub const fn as_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl QueueMs {
    /// Later by `span`.
    pub fn after(self, span: SpanMs) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The span since `earlier`; zero if it lies ahead.
    pub fn since(self, earlier: Self) -> SpanMs {
        SpanMs(self.0.saturating_sub(earlier.0))
    }

    /// As far from this moment as `to` lies from `from`, both read from another clock in milliseconds. Whoever
    /// sets that clock may say anything: what can't be told comes out as the first or the last moment there is.
    pub(crate) fn moved(self, from: u64, to: u64) -> Self {
        match to.checked_sub(from) {
            Some(ahead) => self.after(SpanMs(ahead)),
            None => Self(self.0.saturating_sub(from.saturating_sub(to))),
        }
    }
}

/// A queue time or none, in the room of one: the last millisecond there is stands for none, and is told as the one
/// before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MaybeMs(u64);

impl MaybeMs {
    const NONE: u64 = u64::MAX;

    pub(crate) fn get(self) -> Option<QueueMs> {
        (self.0 != Self::NONE).then_some(QueueMs(self.0))
    }
}

impl From<Option<QueueMs>> for MaybeMs {
    fn from(time: Option<QueueMs>) -> Self {
        Self(time.map_or(Self::NONE, |at| at.0.min(Self::NONE.saturating_sub(1))))
    }
}

impl MonoMs {
    /// Later by `span`.
    pub fn after(self, span: SpanMs) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The span since `earlier`; zero if it lies ahead.
    pub fn since(self, earlier: Self) -> SpanMs {
        SpanMs(self.0.saturating_sub(earlier.0))
    }
}

/// Both readings at one moment; an input of every decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Volatile monotonic time.
    pub mono: MonoMs,
    /// Durable time, which never runs backwards.
    pub queue: QueueMs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_may_be_missing_is_told_as_it_was_set() {
        for at in [None, Some(QueueMs(0)), Some(QueueMs(u64::MAX - 1))] {
            assert_eq!(MaybeMs::from(at).get(), at);
        }
        let last = MaybeMs::from(Some(QueueMs(u64::MAX)));
        assert_eq!(last.get(), Some(QueueMs(u64::MAX - 1)));
    }

    #[test]
    fn no_moment_of_another_clock_is_too_far() {
        let here = QueueMs(1_000);
        assert_eq!(here.moved(50, 70), QueueMs(1_020));
        assert_eq!(here.moved(70, 50), QueueMs(980));
        assert_eq!(here.moved(0, u64::MAX), QueueMs(u64::MAX));
        assert_eq!(here.moved(u64::MAX, 0), QueueMs(0));
        assert_eq!(QueueMs(u64::MAX).moved(7, 8), QueueMs(u64::MAX));
    }
}
