//! Ticks on a fixed grid, by the clock of the environment.
//!
//! A ticker owns no task and no queue: the grid says at any time which tick was the last one due.
//! That is a buffer of one that drops the oldest, by construction: whoever reads late gets the
//! latest tick at once, learns how many were missed, and is back on the grid.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::env::{Clock, Env, Mono};

/// A ticker needs a period above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the period of a ticker must be above zero")]
pub struct ZeroPeriod;

/// That a period is over, and how many were missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// When it was due: a whole number of periods after the ticker was made.
    pub due: Mono,
    /// How many ticks before it went by unread.
    pub missed: u64,
}

/// Ticks exactly one period apart, the first one period after it was made.
pub struct Ticker {
    clock: Arc<dyn Clock>,
    period: Duration,
    next_due: Mono,
    stop: CancellationToken,
}

impl Ticker {
    /// A ticker that starts now.
    ///
    /// # Errors
    /// [`ZeroPeriod`].
    pub fn new(env: &Env, period: Duration) -> Result<Self, ZeroPeriod> {
        if period.is_zero() {
            return Err(ZeroPeriod);
        }
        Ok(Self {
            clock: Arc::clone(&env.clock),
            period,
            next_due: env.clock.now() + period,
            stop: CancellationToken::new(),
        })
    }

    /// Waits for the next tick; `None` once the ticker has been stopped, also while this waits.
    ///
    /// Cancel safe: no tick is used up unless it is returned.
    pub async fn tick(&mut self) -> Option<Tick> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            () = self.clock.sleep_until(self.next_due) => {
                // The wake-up may come late, never early; a clock that reads early must not be
                // able to turn this into a busy loop.
                Some(self.take(self.clock.now().max(self.next_due)))
            }
        }
    }

    /// The tick that is due, without waiting; `None` if there is none or the ticker was stopped.
    pub fn try_tick(&mut self) -> Option<Tick> {
        let now = self.clock.now();
        let due = now >= self.next_due && !self.stop.is_cancelled();
        due.then(|| self.take(now))
    }

    /// Stops the ticker: every read from now on, and the one that waits, gets `None`.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// A token that stops the ticker from elsewhere.
    pub fn stopper(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Takes the latest tick due at `now`, which lies at or behind `next_due`.
    fn take(&mut self, now: Mono) -> Tick {
        let behind_ns = now.saturating_since(self.next_due).as_nanos();
        let period_ns = self.period.as_nanos();
        let past_grid = Duration::from_nanos_u128(behind_ns % period_ns);
        let due = Mono::from_start(now.since_start().saturating_sub(past_grid));
        self.next_due = due + self.period;
        Tick {
            due,
            missed: u64::try_from(behind_ns / period_ns).unwrap_or(u64::MAX),
        }
    }
}

impl std::fmt::Debug for Ticker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticker")
            .field("period", &self.period)
            .field("next_due", &self.next_due)
            .field("stopped", &self.stop.is_cancelled())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(100);

    fn ticker() -> (Env, Ticker, Mono) {
        let env = Env::real();
        let start = env.clock.now();
        let ticker = Ticker::new(&env, PERIOD).expect("a period above zero");
        (env, ticker, start)
    }

    #[tokio::test(start_paused = true)]
    async fn a_period_of_zero_is_rejected() {
        let ticker = Ticker::new(&Env::real(), Duration::ZERO);
        assert_eq!(ticker.map(|_| ()), Err(ZeroPeriod));
    }

    #[tokio::test(start_paused = true)]
    async fn ticks_are_exactly_one_period_apart() {
        let (env, mut ticker, start) = ticker();
        for number in 1..=5 {
            let tick = ticker.tick().await.expect("not stopped");
            let due = start + PERIOD * number;
            assert_eq!(tick, Tick { due, missed: 0 });
            assert_eq!(env.clock.now(), due);
            // A reader that is busy for less than a period doesn't shift the grid.
            env.clock.sleep(PERIOD / 3).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_misses_ticks_and_gets_the_latest_at_once() {
        let (env, mut ticker, start) = ticker();
        env.clock.sleep(PERIOD * 7 / 2).await;
        let tick = ticker.tick().await.expect("not stopped");
        let due = start + PERIOD * 3;
        assert_eq!(tick, Tick { due, missed: 2 });
        assert_eq!(env.clock.now(), start + PERIOD * 7 / 2);
        let tick = ticker.tick().await.expect("not stopped");
        let due = start + PERIOD * 4;
        assert_eq!(tick, Tick { due, missed: 0 });
        assert_eq!(env.clock.now(), due);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_can_be_taken_before_it_is_due() {
        let (env, mut ticker, start) = ticker();
        assert_eq!(ticker.try_tick(), None);
        env.clock.sleep(PERIOD - Duration::from_millis(1)).await;
        assert_eq!(ticker.try_tick(), None);
        env.clock.sleep(Duration::from_millis(1)).await;
        let due = start + PERIOD;
        assert_eq!(ticker.try_tick(), Some(Tick { due, missed: 0 }));
        assert_eq!(ticker.try_tick(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_wait_uses_up_no_tick() {
        let (env, mut ticker, start) = ticker();
        for _ in 0..3 {
            let cut_off = crate::env::timeout(&*env.clock, PERIOD / 4, ticker.tick()).await;
            assert!(cut_off.is_err());
        }
        let tick = ticker.tick().await.expect("not stopped");
        let due = start + PERIOD;
        assert_eq!(tick, Tick { due, missed: 0 });
    }

    #[tokio::test(start_paused = true)]
    async fn a_stopped_ticker_reads_closed_even_with_a_tick_due() {
        let (env, mut ticker, _) = ticker();
        env.clock.sleep(PERIOD * 2).await;
        ticker.stop();
        assert_eq!(ticker.try_tick(), None);
        assert_eq!(ticker.tick().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_from_elsewhere_ends_the_wait() {
        let (env, mut ticker, start) = ticker();
        let stopper = ticker.stopper();
        let reader = async { ticker.tick().await };
        let stop = async {
            env.clock.sleep(PERIOD / 2).await;
            stopper.cancel();
        };
        let (tick, ()) = tokio::join!(reader, stop);
        assert_eq!(tick, None);
        assert_eq!(env.clock.now(), start + PERIOD / 2);
    }
}
