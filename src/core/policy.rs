//! The knobs a decision reads. Recovery never reads them.

use super::time::SpanMs;

/// Today's configuration of the state machine. Validated by whoever builds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a lease lasts unless it is extended.
    pub lease: SpanMs,
    /// How long a lease may be held in all, extensions included.
    pub hold_max: SpanMs,
    /// Retries after a rejected attempt.
    pub retries_max: u16,
    /// Retries after a charged in-doubt attempt.
    pub in_doubt_max: u16,
    /// First ceiling of the backoff; doubles with each setback.
    pub backoff_min: SpanMs,
    /// Last ceiling of the backoff, and the longest an endpoint may ask to be spared.
    pub backoff_max: SpanMs,
    /// How long a key is remembered after its command was enqueued.
    pub key_window: SpanMs,
    /// How many keys of finished tasks are remembered at most.
    pub keys_max: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            lease: SpanMs(30_000),
            hold_max: SpanMs(3_600_000),
            retries_max: 5,
            in_doubt_max: 20,
            backoff_min: SpanMs(250),
            backoff_max: SpanMs(300_000),
            key_window: SpanMs(24 * 3_600_000),
            keys_max: 1_000_000,
        }
    }
}

impl Policy {
    /// Exponential backoff with full jitter: uniform between zero and a ceiling that doubles with each
    /// setback (Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015).
    pub(crate) fn backoff(&self, setbacks: u16, jitter: u64) -> SpanMs {
        let doublings = u32::from(setbacks.min(40));
        let ceiling = self
            .backoff_min
            .0
            .saturating_mul(1_u64 << doublings)
            .min(self.backoff_max.0);
        let wide = u128::from(jitter) * (u128::from(ceiling) + 1);
        SpanMs(u64::try_from(wide >> 64).expect("at most the ceiling"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_to_its_ceiling_and_jitter_covers_all_of_it() {
        let policy = Policy::default();
        for (setbacks, ceiling) in [
            (0, 250),
            (1, 500),
            (4, 4_000),
            (10, 256_000),
            (11, 300_000),
            (u16::MAX, 300_000),
        ] {
            assert_eq!(policy.backoff(setbacks, u64::MAX), SpanMs(ceiling));
            assert_eq!(policy.backoff(setbacks, 0), SpanMs(0));
        }
        assert_eq!(policy.backoff(0, u64::MAX / 2), SpanMs(125));
    }
}
