//! How often to try, and how long to wait between tries.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::env::Entropy;

/// The most tries a policy may ask for. A retry loop holds its caller, so it is for seconds and
/// minutes; what takes longer belongs back into the queue, where a delay is a state.
const TRIES_MAX: u32 = 1_000;

/// The number of a try, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TryNumber(NonZeroU32);

impl TryNumber {
    /// The first try.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// The number, from 1.
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    pub(super) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for TryNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A policy that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum RetryPolicyError {
    /// `max_tries` is out of range.
    #[error("max_tries must be from 1 to {TRIES_MAX}, the first try included, not {given}")]
    MaxTries {
        /// What was asked for.
        given: u32,
    },
    /// `multiplier` is out of range.
    #[error("multiplier must be a finite number above 1, not {given}")]
    Multiplier {
        /// What was asked for.
        given: f64,
    },
}

/// The numbers of an exponential policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exponential {
    /// How often at most, the first try included.
    pub max_tries: u32,
    /// The wait after the first failed try.
    pub initial: Duration,
    /// By what each wait is longer than the one before. Above 1.
    pub multiplier: f64,
    /// No wait is longer.
    pub cap: Duration,
}

/// How often to try, and how long to wait after each failed try.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    max_tries: TryNumber,
    backoff: Backoff,
    full_jitter: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Backoff {
    Fixed(Duration),
    Exponential {
        initial: Duration,
        multiplier: f64,
        cap: Duration,
    },
}

impl RetryPolicy {
    /// `max_tries` tries, the first included, always `delay` apart.
    ///
    /// # Errors
    /// [`RetryPolicyError`] if `max_tries` is 0 or above 1000.
    pub fn fixed(max_tries: u32, delay: Duration) -> Result<Self, RetryPolicyError> {
        Ok(Self {
            max_tries: checked_tries(max_tries)?,
            backoff: Backoff::Fixed(delay),
            full_jitter: false,
        })
    }

    /// Waits that grow: after try `n`, `min(cap, initial × multiplier^(n−1))`.
    ///
    /// # Errors
    /// [`RetryPolicyError`], naming the field, if `max_tries` is 0 or above 1000, or `multiplier`
    /// is not a finite number above 1.
    pub fn exponential(numbers: Exponential) -> Result<Self, RetryPolicyError> {
        let given = numbers.multiplier;
        if !given.is_finite() || given <= 1.0 {
            return Err(RetryPolicyError::Multiplier { given });
        }
        Ok(Self {
            max_tries: checked_tries(numbers.max_tries)?,
            backoff: Backoff::Exponential {
                initial: numbers.initial,
                multiplier: numbers.multiplier,
                cap: numbers.cap,
            },
            full_jitter: false,
        })
    }

    /// The same with full jitter: each wait is uniform between zero and what it would have been, so
    /// that callers which failed together don't come back together.
    #[must_use]
    pub fn with_full_jitter(self) -> Self {
        Self {
            full_jitter: true,
            ..self
        }
    }

    /// How often at most, the first try included.
    pub fn max_tries(&self) -> TryNumber {
        self.max_tries
    }

    /// How long to wait after `failed` has failed.
    pub fn delay_after(&self, failed: TryNumber, entropy: &dyn Entropy) -> Duration {
        let delay = match self.backoff {
            Backoff::Fixed(delay) => delay,
            Backoff::Exponential {
                initial,
                multiplier,
                cap,
            } => grown(initial, multiplier, cap, failed),
        };
        if !self.full_jitter {
            return delay;
        }
        let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(entropy.below(nanos.saturating_add(1)))
    }
}

fn checked_tries(given: u32) -> Result<TryNumber, RetryPolicyError> {
    NonZeroU32::new(given)
        .filter(|tries| tries.get() <= TRIES_MAX)
        .map(TryNumber)
        .ok_or(RetryPolicyError::MaxTries { given })
}

/// `min(cap, initial × multiplier^(failed−1))`.
fn grown(initial: Duration, multiplier: f64, cap: Duration, failed: TryNumber) -> Duration {
    // Multiplied step by step, because the result of `powi` may differ between platforms, and a
    // seed has to give the same run everywhere.
    let mut secs = initial.as_secs_f64();
    for _ in 1..failed.get() {
        secs *= multiplier;
    }
    // What no duration can hold is beyond any cap.
    Duration::try_from_secs_f64(secs).map_or(cap, |delay| delay.min(cap))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Env;

    /// Always gives the highest draw.
    struct Highest;

    impl Entropy for Highest {
        fn next_u64(&self) -> u64 {
            u64::MAX
        }
    }

    fn delays_ms(policy: &RetryPolicy) -> Vec<u128> {
        let mut failed = TryNumber::FIRST;
        let mut delays = Vec::new();
        while failed < policy.max_tries() {
            delays.push(policy.delay_after(failed, &Highest).as_millis());
            failed = failed.next();
        }
        delays
    }

    fn exponential() -> Exponential {
        Exponential {
            max_tries: 6,
            initial: Duration::from_millis(100),
            multiplier: 2.0,
            cap: Duration::from_millis(1_000),
        }
    }

    #[test]
    fn bad_numbers_are_rejected_by_name() {
        for max_tries in [0, TRIES_MAX + 1] {
            let fixed = RetryPolicy::fixed(max_tries, Duration::ZERO);
            let error = fixed.expect_err("out of range");
            assert_eq!(error, RetryPolicyError::MaxTries { given: max_tries });
            assert!(error.to_string().contains("max_tries"));
            let numbers = Exponential {
                max_tries,
                ..exponential()
            };
            assert_eq!(RetryPolicy::exponential(numbers), Err(error));
        }
        for multiplier in [1.0, 0.5, -2.0, f64::NAN, f64::INFINITY] {
            let numbers = Exponential {
                multiplier,
                ..exponential()
            };
            let error = RetryPolicy::exponential(numbers).expect_err("out of range");
            assert!(error.to_string().contains("multiplier"), "{error}");
        }
        assert!(RetryPolicy::fixed(TRIES_MAX, Duration::ZERO).is_ok());
    }

    #[test]
    fn fixed_waits_are_all_the_same() {
        let policy = RetryPolicy::fixed(4, Duration::from_millis(30)).expect("valid");
        assert_eq!(delays_ms(&policy), [30, 30, 30]);
    }

    #[test]
    fn exponential_waits_double_up_to_the_cap() {
        let policy = RetryPolicy::exponential(exponential()).expect("valid");
        assert_eq!(delays_ms(&policy), [100, 200, 400, 800, 1_000]);
    }

    #[test]
    fn a_cap_below_the_initial_wait_wins_and_huge_numbers_stop_at_it() {
        let low = Exponential {
            cap: Duration::ZERO,
            ..exponential()
        };
        let policy = RetryPolicy::exponential(low).expect("valid");
        assert_eq!(delays_ms(&policy), [0, 0, 0, 0, 0]);
        let huge = Exponential {
            multiplier: f64::MAX,
            cap: Duration::MAX,
            ..exponential()
        };
        let policy = RetryPolicy::exponential(huge).expect("valid");
        let third = TryNumber::FIRST.next().next();
        assert_eq!(policy.delay_after(third, &Highest), Duration::MAX);
    }

    #[test]
    fn full_jitter_stays_between_zero_and_the_whole_wait() {
        let policy = RetryPolicy::exponential(exponential()).expect("valid");
        let policy = policy.with_full_jitter();
        // The highest draw is the whole wait, which shows that the upper end is reached.
        assert_eq!(delays_ms(&policy), [100, 200, 400, 800, 1_000]);
        let entropy = Env::real().entropy;
        let draws: Vec<_> = (0..200)
            .map(|_| policy.delay_after(TryNumber::FIRST, &*entropy))
            .collect();
        let most = Duration::from_millis(100);
        assert!(draws.iter().all(|draw| *draw <= most));
        // 200 uniform draws miss one half with a probability of 2^-200.
        assert!(draws.iter().any(|draw| *draw < most / 2));
        assert!(draws.iter().any(|draw| *draw > most / 2));
    }
}
