//! Simulated time as one host sees it: its monotonic clock drifts, its wall clock also jumps.
//!
//! True time is the simulation's. A host's monotonic time advances at its own rate and never runs
//! backwards, neither when the rate changes nor when the host restarts; only its wall clock can be
//! set. Timers inside tonic and h2 follow true time.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the simulated side of the clock seam; tokio's time is simulated here"
)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leasebridge::env::{BoxFuture, Clock, Mono, Wall};
use tokio::time::Instant;

use crate::gate::HostGate;

/// The longest single timer: tokio can't represent every instant. A longer sleep takes several.
const SLEEP_MAX: Duration = Duration::from_secs(86_400 * 365);

/// A rate of exactly true time.
const RATE_ONE: u32 = 1_000_000;

/// How much faster than true time a clock runs, in parts per million; negative is slower. Clamped
/// to half a million either way: real clocks stay below a few hundred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DriftPpm(pub i32);

impl DriftPpm {
    /// Local microseconds per true second.
    fn rate(self) -> u32 {
        let half = RATE_ONE / 2;
        RATE_ONE
            .saturating_add_signed(self.0)
            .clamp(half, RATE_ONE + half)
    }
}

/// Where true time comes from.
#[derive(Clone, Copy, Debug)]
pub enum TimeSource {
    /// turmoil's simulated time. Read outside a host it stands still where that host last saw it.
    Turmoil,
    /// The current tokio runtime's time, from this instant on. Deterministic if paused.
    Tokio(Instant),
}

impl TimeSource {
    /// tokio's time, from now on.
    pub fn tokio() -> Self {
        Self::Tokio(Instant::now())
    }

    fn elapsed(self) -> Option<Duration> {
        match self {
            Self::Turmoil => turmoil::sim_elapsed(),
            Self::Tokio(start) => Some(start.elapsed()),
        }
    }
}

/// One host's clock; clones share it.
#[derive(Clone, Debug)]
pub struct SimClock {
    source: TimeSource,
    hands: Arc<Mutex<Hands>>,
    gate: HostGate,
}

/// Where the clock stands. Local time is `local_anchor` plus what has passed since `true_anchor`,
/// at the current rate.
#[derive(Debug)]
struct Hands {
    /// The last reading of true time: it may never run backwards.
    true_last: Duration,
    true_anchor: Duration,
    local_anchor: Duration,
    drift: DriftPpm,
    wall_start: Wall,
    wall_offset_ms: i64,
}

impl SimClock {
    /// A clock without drift, whose wall time is `wall_start` at the start of simulated time.
    pub fn new(source: TimeSource, wall_start: Wall) -> Self {
        Self {
            source,
            hands: Arc::new(Mutex::new(Hands {
                true_last: Duration::ZERO,
                true_anchor: Duration::ZERO,
                local_anchor: Duration::ZERO,
                drift: DriftPpm(0),
                wall_start,
                wall_offset_ms: 0,
            })),
            gate: HostGate::new(),
        }
    }

    /// Its sleeps end when this gate lets them.
    pub fn with_gate(mut self, gate: HostGate) -> Self {
        self.gate = gate;
        self
    }

    /// Changes the rate from now on. A sleep under way notices when its timer, set for the old
    /// rate, ends: it may end late, never early.
    pub fn set_drift(&self, drift: DriftPpm) {
        let mut hands = self.hands();
        hands.local_anchor = hands.local();
        hands.true_anchor = hands.true_last;
        hands.drift = drift;
    }

    /// Sets the wall clock forward (or back) by so many milliseconds.
    pub fn jump_wall_ms(&self, delta_ms: i64) {
        let mut hands = self.hands();
        hands.wall_offset_ms = hands.wall_offset_ms.saturating_add(delta_ms);
    }

    /// The hands, moved to the present.
    fn hands(&self) -> MutexGuard<'_, Hands> {
        let mut hands = self.hands.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(elapsed) = self.source.elapsed() {
            hands.true_last = hands.true_last.max(elapsed);
        }
        hands
    }
}

impl Hands {
    fn local(&self) -> Duration {
        let passed = self.true_last.saturating_sub(self.true_anchor);
        let local = passed.as_nanos() * u128::from(self.drift.rate()) / u128::from(RATE_ONE);
        self.local_anchor + nanos(local)
    }

    /// How long in true time until local time is `at`, at least; `None` if it is already.
    fn true_until(&self, at: Duration) -> Option<Duration> {
        let ahead = at
            .checked_sub(self.local())
            .filter(|left| !left.is_zero())?;
        let ahead = ahead.as_nanos() * u128::from(RATE_ONE);
        Some(nanos(ahead.div_ceil(u128::from(self.drift.rate()))))
    }
}

fn nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

impl Clock for SimClock {
    fn now(&self) -> Mono {
        Mono::from_start(self.hands().local())
    }

    fn wall(&self) -> Wall {
        let hands = self.hands();
        let local_ms = u64::try_from(hands.local().as_millis()).unwrap_or(u64::MAX);
        let unset = hands.wall_start.unix_ms().saturating_add(local_ms);
        Wall::from_unix_ms(unset.saturating_add_signed(hands.wall_offset_ms))
    }

    fn sleep_until(&self, at: Mono) -> BoxFuture<'static, ()> {
        let clock = self.clone();
        Box::pin(async move {
            loop {
                let left = clock.hands().true_until(at.since_start());
                match left {
                    Some(left) => tokio::time::sleep(left.min(SLEEP_MAX)).await,
                    None => return clock.gate.passed().await,
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Wall = Wall::from_unix_ms(1_000_000);

    fn paused<F: Future>(body: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(body)
    }

    #[test]
    fn a_fast_clock_sleeps_less_of_true_time_and_a_slow_one_more() {
        paused(async {
            let true_start = Instant::now();
            let fast = SimClock::new(TimeSource::tokio(), START);
            fast.set_drift(DriftPpm(250_000));
            fast.sleep(Duration::from_secs(10)).await;
            assert_eq!(true_start.elapsed(), Duration::from_secs(8));
            assert_eq!(fast.now(), Mono::from_start(Duration::from_secs(10)));
            let slow = SimClock::new(TimeSource::tokio(), START);
            slow.set_drift(DriftPpm(-200_000));
            slow.sleep(Duration::from_secs(4)).await;
            assert_eq!(true_start.elapsed(), Duration::from_secs(13));
        });
    }

    #[test]
    fn a_sleep_never_ends_early_whatever_the_rate() {
        paused(async {
            for ppm in [-499_999, -77, -1, 1, 333, 499_999] {
                let clock = SimClock::new(TimeSource::tokio(), START);
                clock.set_drift(DriftPpm(ppm));
                for micros in [1, 999, 1_000_001] {
                    let at = clock.now() + Duration::from_micros(micros);
                    clock.sleep_until(at).await;
                    assert!(clock.now() >= at, "{ppm} ppm, {micros} us");
                }
            }
        });
    }

    #[test]
    fn monotonic_time_goes_on_through_changes_of_rate_and_wall_jumps() {
        paused(async {
            let clock = SimClock::new(TimeSource::tokio(), START);
            tokio::time::advance(Duration::from_secs(100)).await;
            clock.set_drift(DriftPpm(-400_000));
            assert_eq!(clock.now(), Mono::from_start(Duration::from_secs(100)));
            tokio::time::advance(Duration::from_secs(10)).await;
            clock.jump_wall_ms(-1_000_000);
            assert_eq!(clock.now(), Mono::from_start(Duration::from_secs(106)));
            assert_eq!(clock.wall(), Wall::from_unix_ms(106_000));
            clock.jump_wall_ms(5_000);
            assert_eq!(clock.wall(), Wall::from_unix_ms(111_000));
            clock.jump_wall_ms(i64::MIN);
            assert_eq!(clock.wall(), Wall::from_unix_ms(0));
        });
    }
    #[test]
    fn a_reading_from_outside_the_simulation_does_not_turn_the_clock_back() {
        let (clock, inside) = paused(async {
            let clock = SimClock::new(TimeSource::tokio(), START);
            tokio::time::advance(Duration::from_secs(100)).await;
            let inside = clock.now();
            (clock, inside)
        });
        assert_eq!(clock.now(), inside);
    }
}
