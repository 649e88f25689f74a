//! How fast a stream goes while it has something to carry.
//!
//! Only spans count at whose beginning a good deal of commands was on its way: a stream that rests says nothing of its
//! line, and what a heartbeat takes says only how long the line is. What was long ago weighs less and less.

use std::time::Duration;

use crate::env::Mono;

/// Less time than this says nothing: what was measured may have been one report.
const KNOWN_AFTER: Duration = Duration::from_secs(1);

/// Bytes of commands that are on their way at the least for the stream to show how fast it goes.
pub(super) const LOADED_BYTES: usize = 16 << 10;

/// Beyond this all that was seen weighs half.
const HALVED_AFTER: Duration = Duration::from_secs(16);

/// What may be on its way while nothing is known: it grows with what has arrived.
const UNKNOWN_BYTES: u64 = 128 << 10;

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Pace {
    bytes: u64,
    time: Duration,
    /// Up to where the stream had left, and when that was seen, if enough was on its way then.
    since: Option<(u64, Mono)>,
}

impl Pace {
    /// The stream has left up to `left` by `now`; whether enough more is on its way.
    pub(super) fn seen(&mut self, left: u64, is_loaded: bool, now: Mono) {
        if let Some((before, at)) = self.since {
            self.bytes = self.bytes.saturating_add(left.saturating_sub(before));
            self.time = self.time.saturating_add(now.saturating_since(at));
            if self.time > HALVED_AFTER {
                self.bytes /= 2;
                self.time = self.time.checked_div(2).unwrap_or_default();
            }
        }
        self.since = is_loaded.then_some((left, now));
    }

    fn is_known(&self) -> bool {
        self.time >= KNOWN_AFTER
    }

    /// How many bytes may be on their way if they are to arrive within `span`; the stream has left up to `left`.
    pub(super) fn bytes_in(&self, span: Duration, left: u64) -> u64 {
        if !self.is_known() {
            return left.saturating_mul(2).max(UNKNOWN_BYTES);
        }
        let carried = u128::from(self.bytes).saturating_mul(span.as_millis());
        let bytes = carried.checked_div(self.time.as_millis());
        u64::try_from(bytes.unwrap_or(carried)).unwrap_or(u64::MAX)
    }

    /// How long so many bytes take, as far as is known.
    pub(super) fn time_for(&self, bytes: u64) -> Option<Duration> {
        if !self.is_known() {
            return None;
        }
        let taken = u128::from(bytes).saturating_mul(self.time.as_millis());
        let millis = taken.checked_div(self.bytes.into()).unwrap_or(taken);
        Some(Duration::from_millis(
            u64::try_from(millis).unwrap_or(u64::MAX),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Mono {
        Mono::from_start(Duration::from_millis(millis))
    }

    #[test]
    fn a_stream_that_rests_says_nothing_of_its_line() {
        let mut pace = Pace::default();
        pace.seen(1_000, false, at(0));
        pace.seen(2_000, true, at(60_000));
        assert_eq!(pace.time_for(1_000), None);
        assert_eq!(pace.bytes_in(Duration::from_secs(9), 2_000), UNKNOWN_BYTES);
        assert_eq!(pace.bytes_in(Duration::from_secs(9), 1 << 20), 2 << 20);
        pace.seen(10_000, true, at(62_000));
        assert_eq!(pace.time_for(4_000), Some(Duration::from_secs(1)));
        assert_eq!(pace.bytes_in(Duration::from_secs(9), 10_000), 36_000);
    }

    #[test]
    fn what_was_long_ago_weighs_less() {
        let mut pace = Pace::default();
        pace.seen(0, true, at(0));
        pace.seen(1_000_000, true, at(1_000));
        for second in 2..=60 {
            pace.seen(1_000_000 + second * 100, true, at(second * 1_000));
        }
        let second = Duration::from_secs(1);
        let bytes = pace.bytes_in(second, 0);
        assert!((100..10_000).contains(&bytes), "{bytes}");
    }
}
