//! Rates over the last ten seconds, from samples of the totals.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::env::{Env, Mono};
use crate::queue::{Command, QueueStatus, SafeTaskQueue};

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

/// Commands a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rate {
    pub(super) enqueued: f64,
    pub(super) done: f64,
}

/// The samples.
pub(super) struct Rates {
    env: Env,
    samples: Mutex<VecDeque<(Mono, BTreeMap<String, Totals>)>>,
}

impl Rates {
    pub(super) fn new(env: Env) -> Self {
        Self {
            env,
            samples: Mutex::default(),
        }
    }

    /// Takes samples for as long as it is polled. Cancel safe.
    pub(super) async fn sample(&self, queue: &SafeTaskQueue<Command>) -> Infallible {
        loop {
            self.note(self.env.clock.now(), totals(&queue.status()));
            self.env.clock.sleep(SAMPLE_INTERVAL).await;
        }
    }

    fn note(&self, at: Mono, totals: BTreeMap<String, Totals>) {
        let mut samples = self.samples();
        if samples.len() == SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back((at, totals));
    }

    /// The rates of each route until `status`, which is as of now.
    pub(super) fn of(&self, status: &QueueStatus) -> BTreeMap<String, Rate> {
        self.between(self.env.clock.now(), totals(status))
    }

    fn between(&self, now: Mono, current: BTreeMap<String, Totals>) -> BTreeMap<String, Rate> {
        let samples = self.samples();
        let Some((since, then)) = samples.front() else {
            return BTreeMap::new();
        };
        let secs = now.saturating_since(*since).as_secs_f64();
        // Within the first moments a single command would look like thousands a second.
        let secs = secs.max(SAMPLE_INTERVAL.as_secs_f64());
        let per_second = |now: u64, then: u64| now.saturating_sub(then) as f64 / secs;
        current
            .into_iter()
            .map(|(route, totals)| {
                let then = then.get(&route).copied().unwrap_or_default();
                let rate = Rate {
                    enqueued: per_second(totals.enqueued, then.enqueued),
                    done: per_second(totals.done, then.done),
                };
                (route, rate)
            })
            .collect()
    }

    fn samples(&self) -> std::sync::MutexGuard<'_, VecDeque<(Mono, BTreeMap<String, Totals>)>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn totals(status: &QueueStatus) -> BTreeMap<String, Totals> {
    let of_route = |route: &crate::queue::RouteStatus| {
        let totals = Totals {
            enqueued: route.totals.enqueued,
            done: route.totals.done,
        };
        (route.route.clone(), totals)
    };
    status.routes.iter().map(of_route).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn rates_look_back_ten_samples_and_no_further() {
        let rates = Rates::new(Env::real());
        let at = |secs| Mono::from_start(Duration::from_secs(secs));
        let totals = |enqueued, done| BTreeMap::from([("a".to_owned(), Totals { enqueued, done })]);
        assert!(rates.between(at(0), totals(5, 5)).is_empty());
        for second in 0..20 {
            rates.note(at(second), totals(second * 100, 7));
        }
        let rate = rates.between(at(20), totals(2_000, 17))["a"];
        assert_eq!(
            rate,
            Rate {
                enqueued: 100.0,
                done: 1.0
            }
        );
        let rate = rates.between(at(10), totals(1_001, 7))["a"];
        assert_eq!(rate.enqueued, 1.0, "the first second counts as a whole one");
    }
}
