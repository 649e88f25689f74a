//! Rates over the last ten seconds, from samples of the totals.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::env::{Clock, Mono};
use crate::observe::{QueueStatus, Rates, RouteStatus};
use crate::queue::{Command, SafeTaskQueue};

/// How often the totals are looked at.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// Samples kept: what rates look back on, in units of [`SAMPLE_INTERVAL`].
const SAMPLES_MAX: usize = 10;

/// What one route has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Totals {
    enqueued: u64,
    done: u64,
}

/// What the routes had done at one moment, by name.
type Sample = (Mono, BTreeMap<String, Totals>);

/// The last samples, oldest first.
#[derive(Default)]
pub(super) struct Samples {
    samples: Mutex<VecDeque<Sample>>,
}

impl Samples {
    /// Takes samples for as long as it is polled. Cancel safe.
    pub(super) async fn take(
        &self,
        clock: &dyn Clock,
        queue: &SafeTaskQueue<Command>,
    ) -> Infallible {
        loop {
            let routes = queue.status().routes;
            let totals = |route: RouteStatus| (route.route.clone(), Totals::of(&route));
            self.note(clock.now(), routes.into_iter().map(totals).collect());
            clock.sleep(SAMPLE_INTERVAL).await;
        }
    }

    fn note(&self, at: Mono, totals: BTreeMap<String, Totals>) {
        let mut samples = self.samples();
        if samples.len() == SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back((at, totals));
    }

    /// Fills in the rates of each route until `status`, which is as of `now`.
    pub(super) fn rate(&self, now: Mono, status: &mut QueueStatus) {
        let samples = self.samples();
        let Some((since, then)) = samples.front() else {
            return;
        };
        let secs = now.saturating_since(*since).as_secs_f64();
        // Within the first moments a single command would look like thousands a second.
        let secs = secs.max(SAMPLE_INTERVAL.as_secs_f64());
        let per_second = |now: u64, then: u64| now.saturating_sub(then) as f64 / secs;
        for route in &mut status.routes {
            let now = Totals::of(route);
            let then = then.get(&route.route).copied().unwrap_or_default();
            route.rates = Rates {
                enqueued: per_second(now.enqueued, then.enqueued),
                done: per_second(now.done, then.done),
            };
        }
    }

    fn samples(&self) -> std::sync::MutexGuard<'_, VecDeque<Sample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Totals {
    fn of(route: &RouteStatus) -> Self {
        Self {
            enqueued: route.totals.enqueued,
            done: route.totals.done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::LaneTotals;

    #[test]
    fn rates_look_back_ten_samples_and_no_further() {
        let samples = Samples::default();
        let at = |secs| Mono::from_start(Duration::from_secs(secs));
        let rate = |now, enqueued, done| {
            let totals = LaneTotals {
                enqueued,
                done,
                ..LaneTotals::default()
            };
            let route = RouteStatus {
                route: "a".into(),
                totals,
                ..RouteStatus::default()
            };
            let mut status = QueueStatus {
                routes: vec![route],
                ..QueueStatus::default()
            };
            samples.rate(at(now), &mut status);
            status.routes[0].rates
        };
        assert_eq!(rate(0, 5, 5), Rates::default());
        for second in 0..20 {
            let (enqueued, done) = (second * 100, 7);
            let totals = BTreeMap::from([("a".to_owned(), Totals { enqueued, done })]);
            samples.note(at(second), totals);
        }
        assert_eq!(
            rate(20, 2_000, 17),
            Rates {
                enqueued: 100.0,
                done: 1.0
            }
        );
        let hasty = rate(10, 1_001, 7).enqueued;
        assert_eq!(hasty, 1.0, "the first second counts as a whole one");
    }
}
