//! How long things took.
//!
//! What starts in one process and ends in another is told by the wall clock of the machine that both run on.
//! (Each command carries when it was called, in the first bytes of its body.) A clock that is set meanwhile
//! shows as a figure that nobody would believe.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

/// Bytes of the time that a body begins with.
pub(super) const STAMP_BYTES: usize = size_of::<u64>();

/// Nanoseconds since 1970.
pub(super) fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

/// A body of `bytes` bytes that says when it was made.
pub(super) fn stamped(bytes: usize) -> Vec<u8> {
    let mut body = vec![b'x'; bytes];
    body[..STAMP_BYTES].copy_from_slice(&wall_ns().to_be_bytes());
    body
}

/// How long ago `body` was made; `None` if it doesn't say.
pub(super) fn age(body: &[u8]) -> Option<Duration> {
    let made = u64::from_be_bytes(*body.first_chunk()?);
    Some(Duration::from_nanos(wall_ns().saturating_sub(made)))
}

/// Times of one kind. Four bytes each: as many as there are commands in a round.
#[derive(Debug, Default)]
pub(super) struct Latencies {
    micros: Vec<u32>,
}

impl Latencies {
    pub(super) fn add(&mut self, took: Duration) {
        self.micros
            .push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    pub(super) fn extend(&mut self, others: Self) {
        self.micros.extend(others.micros);
    }

    /// Their number, half and 99 of a hundred of them.
    pub(super) fn json(mut self) -> Value {
        self.micros.sort_unstable();
        json!({
            "count": self.micros.len(),
            "p50_ms": self.share(50),
            "p99_ms": self.share(99),
        })
    }

    /// The shortest time, in ms, that `percent` of them don't exceed.
    fn share(&self, percent: usize) -> Option<f64> {
        let rank = (self.micros.len() * percent).div_ceil(100);
        let micros = self.micros.get(rank.checked_sub(1)?)?;
        Some(f64::from(*micros) / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_time_that_was_seen() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.share(50), None);
        for ms in (1..=200).rev() {
            latencies.add(Duration::from_millis(ms));
        }
        let said = latencies.json();
        assert_eq!(said["count"], 200);
        assert_eq!(said["p50_ms"], 100.0);
        assert_eq!(said["p99_ms"], 198.0);
    }

    #[test]
    fn a_body_tells_its_age() {
        let age = age(&stamped(64)).unwrap();
        assert!(age < Duration::from_secs(60), "{age:?}");
        assert_eq!(super::age(b"short"), None);
    }
}
