//! The knobs a decision reads. Recovery never reads them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ids::RouteId;
use super::time::SpanMs;

/// The waits after a first rejection, a second one, and so on: an endpoint that says no for three quarters of an hour
/// loses nothing.
pub const SCHEDULE_DEFAULT_MS: [u64; 5] = [1_000, 10_000, 60_000, 600_000, 3_600_000];

/// By how much a step of a schedule is shortened or lengthened at most, as a part of it: so that what failed together
/// doesn't come again together.
const SPREAD_PART: u64 = 5;

/// Today's configuration of the state machine. Validated by whoever builds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a lease lasts unless it is extended.
    pub lease: SpanMs,
    /// How long a lease may be held in all, extensions included.
    pub hold_max: SpanMs,
    /// What failed attempts cost, on routes that have nothing of their own.
    pub route: RoutePolicy,
    /// The same, of routes that have.
    pub routes: BTreeMap<RouteId, RoutePolicy>,
    /// How long a key is remembered after its command was enqueued.
    pub key_window: SpanMs,
    /// How many keys of finished tasks are remembered at most.
    pub keys_max: usize,
}

/// What failed attempts cost on a route, and how long its tasks wait after them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePolicy {
    /// Retries after a rejected attempt.
    pub retries_max: u16,
    /// Retries after a charged in-doubt attempt.
    pub in_doubt_max: u16,
    /// How long a rejected task waits.
    pub after_rejection: RejectionWait,
    /// First ceiling of the exponential backoff; doubles with each setback.
    pub backoff_min: SpanMs,
    /// Last ceiling of it, and the longest an endpoint may ask to be spared.
    pub backoff_max: SpanMs,
}

/// How long a task waits after its endpoint has answered no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RejectionWait {
    /// As after a doubt: anything up to a ceiling that doubles with each setback.
    Exponential,
    /// The first of these after the first charged rejection, and so on; the last one from then on. Each a fifth shorter
    /// or longer. Never empty.
    Schedule(Arc<[SpanMs]>),
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            lease: SpanMs(30_000),
            hold_max: SpanMs(3_600_000),
            route: RoutePolicy::default(),
            routes: BTreeMap::new(),
            key_window: SpanMs(24 * 3_600_000),
            keys_max: 1_000_000,
        }
    }
}

impl Policy {
    /// What holds on a route.
    pub fn of(&self, route: RouteId) -> &RoutePolicy {
        self.routes.get(&route).unwrap_or(&self.route)
    }
}

impl Default for RoutePolicy {
    fn default() -> Self {
        Self {
            retries_max: 5,
            in_doubt_max: 20,
            after_rejection: RejectionWait::default(),
            backoff_min: SpanMs(250),
            backoff_max: SpanMs(300_000),
        }
    }
}

impl Default for RejectionWait {
    fn default() -> Self {
        Self::Schedule(SCHEDULE_DEFAULT_MS.map(SpanMs).into())
    }
}

impl RoutePolicy {
    /// Exponential backoff with full jitter: uniform between zero and a ceiling that doubles with each
    /// setback (Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015).
    pub(crate) fn backoff(&self, setbacks: u16, jitter: u64) -> SpanMs {
        let doublings = u32::from(setbacks.min(40));
        let ceiling = self
            .backoff_min
            .0
            .saturating_mul(1_u64 << doublings)
            .min(self.backoff_max.0);
        SpanMs(part(ceiling, jitter))
    }

    /// How long a task waits that is rejected, having been charged for `retries` rejections before and set back
    /// `setbacks` times in all.
    pub(crate) fn wait_after_rejection(&self, retries: u16, setbacks: u16, jitter: u64) -> SpanMs {
        match &self.after_rejection {
            RejectionWait::Exponential => self.backoff(setbacks, jitter),
            RejectionWait::Schedule(steps) => {
                let next = usize::from(retries) + usize::from(planted!(Bug::ScheduleOffByOne));
                spread(steps[next.min(steps.len() - 1)], jitter)
            }
        }
    }

    /// The longest that a task may be told to wait.
    pub(crate) fn wait_max(&self) -> SpanMs {
        match &self.after_rejection {
            RejectionWait::Exponential => self.backoff_max,
            RejectionWait::Schedule(steps) => {
                let longest = steps.iter().map(|step| spread(*step, u64::MAX)).max();
                self.backoff_max.max(longest.unwrap_or_default())
            }
        }
    }
}

/// A step, a fifth shorter or longer or anything between.
fn spread(step: SpanMs, jitter: u64) -> SpanMs {
    let most = step.0 / SPREAD_PART;
    let most = match () {
        () if planted!(Bug::JitterLeftOut) => 0,
        () if planted!(Bug::JitterDoubled) => most.saturating_mul(2),
        () => most,
    };
    let shortest = step.0 - most;
    SpanMs(shortest.saturating_add(part(most.saturating_mul(2), jitter)))
}

/// A number from zero to `whole`, as far up as `jitter` lies between zero and 2^64.
fn part(whole: u64, jitter: u64) -> u64 {
    let wide = u128::from(jitter) * (u128::from(whole) + 1);
    u64::try_from(wide >> 64).expect("at most the whole")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_to_its_ceiling_and_jitter_covers_all_of_it() {
        let policy = RoutePolicy::default();
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

    #[test]
    fn a_schedule_is_followed_step_by_step_a_fifth_shorter_or_longer() {
        let policy = RoutePolicy::default();
        let wait = |retries, jitter| policy.wait_after_rejection(retries, 40, jitter).0;
        for (retries, step) in (0..).zip(SCHEDULE_DEFAULT_MS) {
            assert_eq!(wait(retries, 0), step / 5 * 4);
            assert_eq!(wait(retries, u64::MAX / 2), step);
            assert_eq!(wait(retries, u64::MAX), step / 5 * 6);
        }
        assert_eq!(wait(5, u64::MAX / 2), 3_600_000, "the last one stays");
        assert_eq!(wait(u16::MAX, 0), 2_880_000);
        assert_eq!(policy.wait_max(), SpanMs(4_320_000));
    }

    /// The promise of the default in the words: no for three quarters of an hour loses nothing.
    #[test]
    fn three_quarters_of_an_hour_of_rejections_spend_no_budget() {
        let policy = RoutePolicy::default();
        let waits = 0..policy.retries_max;
        let shortest: u64 = waits
            .map(|retries| policy.wait_after_rejection(retries, retries, 0).0)
            .sum();
        assert!(shortest >= 45 * 60_000, "{shortest} ms");
    }

    #[test]
    fn the_exponential_backoff_is_a_choice() {
        let policy = RoutePolicy {
            after_rejection: RejectionWait::Exponential,
            ..RoutePolicy::default()
        };
        assert_eq!(policy.wait_after_rejection(0, 1, u64::MAX), SpanMs(500));
        assert_eq!(policy.wait_max(), SpanMs(300_000));
    }
}
