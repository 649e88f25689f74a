//! Time passes: queue time, and the task that lets leases end, delays end and commands expire.

// Numbers of others are added up here.
#![warn(clippy::arithmetic_side_effects)]

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::{Core, Engine, QueueStage};
use crate::core::{Input, MonoMs, Now, QueueMs, QueueState, Reply, SpanMs};
use crate::env::{Clock, Mono, Point, Wall};

/// Events of one tick under the lock: a few hundred microseconds of it.
const TICK_EVENTS_MAX: usize = 1024;

/// How often a clock in doubt is looked at.
const ASK_CLOCK: SpanMs = SpanMs(1_000);

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
    /// For a log that ended with `state`. Where the wall clock stands too far from there, it is not believed.
    pub(super) fn new(
        clock: &dyn Clock,
        state: &QueueState,
        jump_max: SpanMs,
    ) -> (Self, WallClock) {
        let verdict = judge(clock.wall(), state.at(), state, jump_max);
        let opened_at = match verdict {
            WallClock::Agrees { at, .. } => at,
            WallClock::Doubtful => state.at(),
        };
        let clock = Self {
            opened_at,
            opened_mono: clock.now(),
            armed: None,
        };
        (clock, verdict)
    }

    /// Goes on from that time, which is not before its own.
    pub(super) fn go_on_from(&mut self, now: Now, at: QueueMs) {
        self.opened_at = self.opened_at.after(at.since(now.queue));
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

    /// A wall-clock moment in queue time: as far from now as the wall clock says it is. While nobody knows what time it
    /// is, whoever named the moment is believed.
    pub(super) fn at_wall(
        clock: &dyn Clock,
        state: &QueueState,
        now: Now,
        moment: Wall,
    ) -> QueueMs {
        match state.clock_doubt() {
            Some(_) => QueueMs(moment.unix_ms()).after(state.ahead()),
            None => now.queue.moved(clock.wall().unix_ms(), moment.unix_ms()),
        }
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

/// What the wall clock says of how long the log was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WallClock {
    /// It may be right.
    Agrees {
        /// The time that it is then.
        at: QueueMs,
        /// By how much that runs ahead of it.
        ahead: SpanMs,
    },
    /// It stands where it can't be.
    Doubtful,
}

/// Whether the wall clock may be right, for a log whose time is `last`: it stands near that, or near the time that is as
/// much behind it as an operator has accepted.
fn judge(wall: Wall, last: QueueMs, state: &QueueState, jump_max: SpanMs) -> WallClock {
    let wall = QueueMs(wall.unix_ms());
    let agrees = |ahead: SpanMs| WallClock::Agrees {
        at: wall.after(ahead).max(last),
        ahead,
    };
    let is_near = |at: QueueMs| at.since(last).max(last.since(at)) <= jump_max;
    // A new log knows of no time.
    if is_near(wall) || last == QueueMs(0) || planted!(Bug::ClockBelieved) {
        return agrees(SpanMs(0));
    }
    match is_near(wall.after(state.ahead())) {
        true => agrees(state.ahead()),
        false => WallClock::Doubtful,
    }
}

impl Core {
    /// At an opening: what the wall clock says holds, or is doubted.
    pub(super) fn hear_clock(&mut self, now: Now, verdict: WallClock, wall: Wall) {
        match verdict {
            WallClock::Agrees { at, ahead } if ahead != self.state.ahead() => {
                self.set_clock(now, at, ahead);
            }
            WallClock::Agrees { .. } => {}
            WallClock::Doubtful => {
                let last = self.state.at().0;
                let wall = wall.unix_ms();
                tracing::error!(
                    wall_unix_ms = wall,
                    log_unix_ms = last,
                    "the clock has moved further while the log was closed than `clock_jump_max` allows, and is not \
                     believed: commands with deadlines wait until it agrees again, or until `leasebridge clock accept`"
                );
                let doubted = self.run(now, Input::DoubtClock, &[]);
                debug_assert!(doubted.is_ok(), "nobody refuses to doubt");
            }
        }
    }

    fn set_clock(&mut self, now: Now, at: QueueMs, ahead: SpanMs) {
        let set = self.run(now, Input::SetClock { at, ahead }, &[]);
        debug_assert!(set.is_ok(), "it is never refused");
        self.clock.go_on_from(now, self.state.at());
    }

    /// While the clock is in doubt: whether it agrees by now.
    fn ask_clock_again(&mut self, now: Now, wall: Wall, jump_max: SpanMs) {
        if self.state.clock_doubt().is_none() {
            return;
        }
        if let WallClock::Agrees { at, ahead } = judge(wall, now.queue, &self.state, jump_max) {
            tracing::info!("the clock agrees with the log again, and is believed");
            self.set_clock(now, at, ahead);
        }
    }

    /// An operator says that the wall clock is right. Whether it was in doubt.
    pub(crate) fn accept_clock(&mut self, now: Now, wall: Wall) -> bool {
        if self.state.clock_doubt().is_none() {
            return false;
        }
        let wall = QueueMs(wall.unix_ms());
        // Time never runs backwards: it is ahead of the wall clock from now on.
        self.set_clock(now, wall, now.queue.since(wall));
        true
    }
}

impl Engine {
    /// Lets time do its work once. Says whether there is more, else when to come again.
    pub(super) fn tick(&self) -> Result<Option<MonoMs>, More> {
        let jitter = self.env.entropy.next_u64();
        let mut outcome = Ok(None);
        let wall = self.env.clock.wall();
        let jump_max = SpanMs::from_duration(self.options.clock_jump_max);
        // Nobody waits for this to be durable: what it did is found due again after a crash.
        let _rests = self.with(|core, now| {
            let input = Input::Tick {
                jitter,
                limit: TICK_EVENTS_MAX,
            };
            if core.stage < QueueStage::Closed {
                core.ask_clock_again(now, wall, jump_max);
            }
            if core.stage < QueueStage::Closed
                && core.run(now, input, &[]) == Ok(Reply::Ticked { more: true })
            {
                outcome = Err(More);
                return;
            }
            let again = core.state.clock_doubt().map(|_| now.mono.after(ASK_CLOCK));
            let next = core.clock.next(&core.state).into_iter().chain(again).min();
            core.clock.armed = next;
            outcome = Ok(next);
        });
        outcome
    }
}

/// A tick reached its limit.
pub(super) struct More;

/// Ticks until the engine is gone. It holds the engine only during a tick, so that a queue nobody holds can end.
pub(super) async fn keep_time(engine: Weak<Engine>, rearm: Arc<Notify>) {
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
