//! How long a keeper waits before it connects again.

use std::time::Duration;

use crate::bridge::limits::RECONNECT_FIRST;

/// Failures in a row, when a link has ended, or taken nothing new, that lasted so long until then. One that lasted for a
/// heartbeat was none.
pub(super) fn failures_after(failures: u32, lasted: Duration, heartbeat: Duration) -> u32 {
    match lasted >= heartbeat {
        true => 0,
        false => failures.saturating_add(1),
    }
}

/// How long to wait before the next connect: doubling up to `longest`, between a half and the whole of it, as the `dice`
/// say, so that the bridges of a restarted endpoint don't all come at once.
pub(super) fn backoff(failures: u32, longest: Duration, dice: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let whole = RECONNECT_FIRST.saturating_mul(1 << doublings).min(longest);
    let half = whole.checked_div(2).unwrap_or_default();
    let share = half.as_micros().saturating_mul(u128::from(dice)) >> u64::BITS;
    half.saturating_add(Duration::from_micros(u64::try_from(share).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::limits::{RECONNECT_IDLE_MAX, RECONNECT_MAX};

    #[test]
    fn a_link_that_lasted_for_a_heartbeat_ends_the_row_of_failures() {
        let beat = Duration::from_secs(5);
        assert_eq!(failures_after(7, beat, beat), 0);
        assert_eq!(failures_after(7, beat - Duration::from_millis(1), beat), 8);
        assert_eq!(failures_after(0, Duration::ZERO, beat), 1);
    }

    #[test]
    fn reconnects_wait_longer_each_time_and_never_too_long() {
        for (failures, busy_ms, idle_ms) in [
            (0, 50, 50),
            (1, 50, 50),
            (2, 100, 100),
            (4, 400, 400),
            (8, 5_000, 6_400),
            (99, 5_000, 60_000),
        ] {
            for (longest, whole_ms) in [(RECONNECT_MAX, busy_ms), (RECONNECT_IDLE_MAX, idle_ms)] {
                let whole = Duration::from_millis(whole_ms);
                assert_eq!(backoff(failures, longest, 0), whole / 2);
                let most = backoff(failures, longest, u64::MAX);
                assert!(
                    most <= whole && most + Duration::from_micros(2) > whole,
                    "{most:?}"
                );
            }
        }
    }
}
