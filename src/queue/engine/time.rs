//! Time passes: queue time, and the task that lets leases end, delays end and commands expire.

// Numbers of others are added up here.
#![warn(clippy::arithmetic_side_effects)]

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::Engine;
use super::locked::Watched;
use crate::core::{Input, MonoMs, Now, QueueMs, QueueState, Reply, SpanMs};
use crate::env::{Clock, Mono, Point, Wall};

/// Events of one tick under the lock: a few hundred microseconds of it.
const TICK_EVENTS_MAX: usize = 1024;

/// By how much time does its work late, where that point fires.
const LATE: Duration = Duration::from_millis(200);

/// Turns the monotonic clock into queue time: it starts where the log ended or at the wall clock,
/// whichever is later, and from there follows the monotonic clock alone. So it never runs backwards,
/// and no delay lasts longer than it was set for, whatever the wall clock does.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueClock {
    opened_at: QueueMs,
    opened_mono: Mono,
    /// The moment for which the timer was last set.
    armed: Option<MonoMs>,
}

impl QueueClock {
    pub(super) fn new(clock: &dyn Clock, last: QueueMs) -> Self {
        let wall = QueueMs(clock.wall().unix_ms());
        Self {
            opened_at: wall.max(last),
            opened_mono: clock.now(),
            armed: None,
        }
    }

    pub(super) fn now(&self, clock: &dyn Clock) -> Now {
        self.at(clock.now())
    }

    /// Both times at a reading of the monotonic clock.
    pub(super) fn at(&self, mono: Mono) -> Now {
        let since = mono
            .as_millis()
            .saturating_sub(self.opened_mono.as_millis());
        Now {
            mono: MonoMs(mono.as_millis()),
            queue: self.opened_at.after(SpanMs(since)),
        }
    }

    /// A wall-clock moment in queue time: as far from now as the wall clock says it is.
    pub(super) fn at_wall(clock: &dyn Clock, now: Now, moment: Wall) -> QueueMs {
        now.queue.moved(clock.wall().unix_ms(), moment.unix_ms())
    }

    /// The earliest moment at which time alone changes something.
    fn next(&self, state: &QueueState) -> Option<MonoMs> {
        let (mono, queue) = state.next_wake();
        let queue = queue.map(|at| {
            let ahead = at.since(self.opened_at);
            MonoMs(self.opened_mono.as_millis()).after(ahead)
        });
        mono.into_iter().chain(queue).min()
    }

    /// Whether the timer must be set anew because that moment has come nearer.
    pub(super) fn must_rearm(&self, state: &QueueState) -> bool {
        match (self.next(state), self.armed) {
            (Some(next), Some(armed)) => next < armed,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }
}

impl Engine {
    /// Lets time do its work once. Says whether there is more, else when to come again.
    fn tick(&self) -> Result<Option<MonoMs>, More> {
        let jitter = self.env.entropy.next_u64();
        let mut outcome = Ok(None);
        // Nobody waits for this to be durable: what it did is found due again after a crash.
        let _rests = self.with(|core, now| {
            let input = Input::Tick {
                jitter,
                limit: TICK_EVENTS_MAX,
            };
            if core.stage < super::QueueStage::Closed
                && core.run(now, input, &[]) == Ok(Reply::Ticked { more: true })
            {
                outcome = Err(More);
                return;
            }
            let next = core.clock.next(&core.state);
            core.clock.armed = next;
            outcome = Ok(next);
        });
        outcome
    }
}

/// A tick reached its limit.
struct More;

/// Ticks until the engine is gone. It holds the engine only during a tick, so that a queue nobody holds can end.
pub(super) async fn keep_time(engine: Weak<Engine>, rearm: Arc<Notify>) {
    let _watched = Watched::new(engine.clone(), "clock");
    loop {
        let Some(engine) = engine.upgrade() else {
            return;
        };
        if engine.is_closed() {
            return;
        }
        let (clock, points) = (engine.env.clock.clone(), engine.env.points.clone());
        let next = match engine.tick() {
            Err(More) => {
                tokio::task::yield_now().await;
                continue;
            }
            Ok(next) => next,
        };
        drop(engine);
        let asleep = async {
            match next {
                Some(at) => {
                    clock
                        .sleep_until(Mono::from_start(Duration::from_millis(at.0)))
                        .await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = rearm.notified() => {}
            () = asleep => {
                if points.fires(Point::LateTick) {
                    clock.sleep(LATE).await;
                }
            }
        }
    }
}
