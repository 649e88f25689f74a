//! One budget of bytes for what peers have sent that nobody has accepted yet, and for answers that they don't read.
//!
//! Whoever needs room gets it: from the request that holds the most for the least rate, which is given up. So neither
//! requests that stop half-way nor answers that nobody reads keep others out, however many connections make them. What
//! is charged is what has arrived, never what a length promises.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::Context;
use std::time::Duration;

use futures_util::task::AtomicWaker;

use super::limits::{IDLE_TIMEOUT, RATE_GRACE, RATE_MIN, RATE_WINDOW};
use crate::env::Mono;

/// A request that was given up, so that others have room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GivenUp;

/// See the module's description.
#[derive(Debug)]
pub(crate) struct ByteBudget {
    bytes_max: usize,
    held: Mutex<HeldBytes>,
}

#[derive(Debug, Default)]
struct HeldBytes {
    bytes: usize,
    next: u64,
    holdings: BTreeMap<u64, Holding>,
    given_up: u64,
    /// Whom to tell that they were given up, once the lock is free.
    untold: Vec<Arc<Alarm>>,
}

/// What one request holds.
#[derive(Debug)]
struct Holding {
    bytes: usize,
    stage: Stage,
    began: Mono,
    rate: Rate,
    alarm: Arc<Alarm>,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// For the first byte of a stream's first message. It may be given up, and has a deadline.
    Opening,
    /// For the first message of a request. It may be given up, and has a least rate.
    Arriving,
    /// For the rest of a message on a stream, or for the peer to read one. It may be given up.
    Continuing,
    /// For us, or for whatever a stream that was accepted says next.
    Served,
    /// For the peer to read an answer. It may be given up, and has a least rate.
    Leaving,
}

/// What is dropped when it is given up, whether anybody looks or not.
pub(super) trait Cargo: Send + Sync {
    /// Drops it, unless somebody is at it just now, who will look afterwards.
    fn jettison(&self);
}

/// Tells whoever waits for a request's bytes that it was given up.
#[derive(Default)]
struct Alarm {
    rang: AtomicBool,
    waker: AtomicWaker,
    cargo: OnceLock<Weak<dyn Cargo>>,
}

impl Alarm {
    fn tell(&self) {
        if let Some(cargo) = self.cargo.get().and_then(Weak::upgrade) {
            cargo.jettison();
        }
        self.waker.wake();
    }
}

impl std::fmt::Debug for Alarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Alarm")
            .field("rang", &self.rang)
            .finish_non_exhaustive()
    }
}

/// The share of one request. Dropped, it is given back.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<ByteBudget>,
    number: u64,
    alarm: Arc<Alarm>,
}

impl ByteBudget {
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes_max,
            held: Mutex::default(),
        })
    }

    /// A share for something that begins now and costs `bytes`.
    pub(super) fn begin(
        self: &Arc<Self>,
        bytes: usize,
        stage: Stage,
        now: Mono,
    ) -> Result<Share, GivenUp> {
        let alarm = Arc::new(Alarm::default());
        let holding = Holding {
            bytes: 0,
            stage,
            began: now,
            rate: Rate::new(now),
            alarm: Arc::clone(&alarm),
        };
        let (number, grown) = self.change(|held| {
            let number = held.next;
            held.next = held.next.saturating_add(1);
            held.holdings.insert(number, holding);
            (number, held.grow(number, bytes, self.bytes_max, now))
        });
        // Dropped when there is no room for it, it takes its entry along.
        let share = Share {
            budget: Arc::clone(self),
            number,
            alarm,
        };
        grown.map(|()| share)
    }

    /// Gives up what has been too slow for too long.
    pub(super) fn sweep(&self, now: Mono) {
        let is_late = |holding: &Holding| {
            let age = now.saturating_since(holding.began);
            match holding.stage {
                Stage::Opening => age >= IDLE_TIMEOUT,
                Stage::Arriving | Stage::Leaving => {
                    age >= RATE_GRACE && holding.rate.bytes_a_second(now) < RATE_MIN
                }
                Stage::Continuing | Stage::Served => false,
            }
        };
        self.change(|held| {
            let living = held.holdings.iter();
            let late = living.filter(|(_, holding)| !holding.is_given_up() && is_late(holding));
            let late: Vec<u64> = late.map(|(number, _)| *number).collect();
            for number in late {
                held.give_up(number);
            }
        });
    }

    /// Bytes that are held, and requests that were given up.
    pub(super) fn counted(&self) -> (usize, u64) {
        let held = self.held();
        (held.bytes, held.given_up)
    }

    /// Changes what is held, and tells those that were given up by it: dropping what they had may come back here.
    fn change<R>(&self, change: impl FnOnce(&mut HeldBytes) -> R) -> R {
        let (result, untold) = {
            let mut held = self.held();
            let result = change(&mut held);
            (result, std::mem::take(&mut held.untold))
        };
        untold.iter().for_each(|alarm| alarm.tell());
        result
    }

    fn held(&self) -> MutexGuard<'_, HeldBytes> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HeldBytes {
    fn grow(
        &mut self,
        number: u64,
        bytes: usize,
        bytes_max: usize,
        now: Mono,
    ) -> Result<(), GivenUp> {
        loop {
            if self.holdings[&number].is_given_up() {
                return Err(GivenUp);
            }
            let wanted = self.bytes.saturating_add(bytes);
            if wanted <= bytes_max {
                self.bytes = wanted;
                let holding = self.holdings.get_mut(&number).expect("just seen");
                holding.bytes = holding.bytes.saturating_add(bytes);
                return Ok(());
            }
            // The one that asks may be the one that has to go.
            let worst = self.worst(now).unwrap_or(number);
            self.give_up(worst);
        }
    }

    /// What holds the most for the least rate.
    fn worst(&self, now: Mono) -> Option<u64> {
        let burden = |holding: &Holding| {
            let rate = holding.rate.bytes_a_second(now).saturating_add(1);
            // Scaled, because whole seconds would make all that are small or quick alike.
            let scaled = (holding.bytes as u128) << 32;
            scaled.checked_div(rate.into()).unwrap_or(scaled)
        };
        self.holdings
            .iter()
            .filter(|(_, holding)| holding.stage != Stage::Served && !holding.is_given_up())
            .max_by_key(|(_, holding)| burden(holding))
            .map(|(number, _)| *number)
    }

    fn give_up(&mut self, number: u64) {
        let holding = self.holdings.get_mut(&number).expect("it is held");
        self.bytes = self.bytes.saturating_sub(holding.bytes);
        holding.bytes = 0;
        self.given_up = self.given_up.saturating_add(1);
        holding.alarm.rang.store(true, Ordering::Release);
        self.untold.push(Arc::clone(&holding.alarm));
    }
}

impl Holding {
    fn is_given_up(&self) -> bool {
        self.alarm.rang.load(Ordering::Acquire)
    }
}

impl Share {
    /// Charges `bytes` more, taking them from others if need be.
    pub(super) fn grow(&self, bytes: usize, now: Mono) -> Result<(), GivenUp> {
        let bytes_max = self.budget.bytes_max;
        self.budget
            .change(|held| held.grow(self.number, bytes, bytes_max, now))
    }

    /// Gives everything back and waits for something else.
    pub(super) fn settle(&self, stage: Stage) {
        let mut held = self.budget.held();
        let held = &mut *held;
        let holding = held.holdings.get_mut(&self.number).expect("it is held");
        held.bytes = held.bytes.saturating_sub(holding.bytes);
        holding.bytes = 0;
        holding.stage = stage;
    }

    /// Waits for something else from now on. What is held stays held.
    pub(super) fn turn(&self, stage: Stage, now: Mono) {
        let mut held = self.budget.held();
        let holding = held.holdings.get_mut(&self.number).expect("it is held");
        if holding.stage != stage {
            holding.stage = stage;
            holding.began = now;
            holding.rate = Rate::new(now);
        }
    }

    /// So many bytes have come or gone.
    pub(super) fn moved(&self, bytes: usize, now: Mono) {
        let mut held = self.budget.held();
        let holding = held.holdings.get_mut(&self.number).expect("it is held");
        holding.rate.add(bytes, now);
    }

    /// What is dropped when it is given up. Said once.
    pub(super) fn carry(&self, cargo: Weak<dyn Cargo>) {
        let first = self.alarm.cargo.set(cargo);
        assert!(first.is_ok(), "a share carries one cargo");
    }

    /// Whether it was given up.
    pub(super) fn is_given_up(&self) -> bool {
        self.alarm.rang.load(Ordering::Acquire)
    }

    /// Whether it was given up. If not, `context` is woken when it is.
    pub(super) fn poll_given_up(&self, context: &Context<'_>) -> bool {
        self.alarm.waker.register(context.waker());
        self.alarm.rang.load(Ordering::Acquire)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.budget.held();
        if let Some(holding) = held.holdings.remove(&self.number)
            && !planted!(Bug::UnacceptedBytesKept)
        {
            held.bytes = held.bytes.saturating_sub(holding.bytes);
        }
    }
}

const RATE_WINDOW_MS: u128 = RATE_WINDOW.as_millis();

/// Bytes a second over the last one or two windows of [`RATE_WINDOW`] since the beginning.
#[derive(Debug)]
struct Rate {
    began: Mono,
    /// The number of the window in which bytes moved last.
    window: u128,
    /// Bytes of that window, and of the one before it.
    bytes: u64,
    before: u64,
}

impl Rate {
    fn new(now: Mono) -> Self {
        Self {
            began: now,
            window: 0,
            bytes: 0,
            before: 0,
        }
    }

    fn add(&mut self, bytes: usize, now: Mono) {
        (self.bytes, self.before) = self.windows(now);
        self.window = self.window_at(now);
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    fn bytes_a_second(&self, now: Mono) -> u64 {
        let (bytes, before) = self.windows(now);
        let elapsed = now.saturating_since(self.began);
        let over = match self.window_at(now) {
            0 => elapsed.max(Duration::from_secs(1)),
            _ => RATE_WINDOW.saturating_add(into_window(elapsed)),
        };
        let millis = u64::try_from(over.as_millis()).unwrap_or(u64::MAX);
        let moved = bytes.saturating_add(before).saturating_mul(1_000);
        moved.checked_div(millis).unwrap_or(moved)
    }

    /// Bytes of the window that is on, and of the one before it.
    fn windows(&self, now: Mono) -> (u64, u64) {
        match self.window_at(now).saturating_sub(self.window) {
            0 => (self.bytes, self.before),
            1 => (0, self.bytes),
            _ => (0, 0),
        }
    }

    fn window_at(&self, now: Mono) -> u128 {
        now.saturating_since(self.began).as_millis() / RATE_WINDOW_MS
    }
}

fn into_window(elapsed: Duration) -> Duration {
    let millis = elapsed.as_millis() % RATE_WINDOW_MS;
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}
#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Mono {
        Mono::from_start(Duration::from_secs(secs))
    }

    fn is_given_up(share: &Share) -> bool {
        share.poll_given_up(&Context::from_waker(std::task::Waker::noop()))
    }

    #[test]
    fn the_one_that_holds_the_most_for_the_least_rate_makes_room() {
        let budget = ByteBudget::new(100);
        let large_and_slow = budget.begin(50, Stage::Arriving, at(0)).unwrap();
        let small_and_slow = budget.begin(10, Stage::Arriving, at(0)).unwrap();
        let large_and_quick = budget.begin(40, Stage::Arriving, at(0)).unwrap();
        large_and_quick.moved(1_000, at(1));
        let newcomer = budget.begin(10, Stage::Arriving, at(2)).unwrap();
        assert!(is_given_up(&large_and_slow));
        for kept in [&small_and_slow, &large_and_quick, &newcomer] {
            assert!(!is_given_up(kept));
        }
        assert_eq!(large_and_slow.grow(1, at(2)), Err(GivenUp));
        assert_eq!(budget.counted(), (60, 1));
        drop((large_and_slow, small_and_slow, large_and_quick, newcomer));
        assert_eq!(budget.counted().0, 0);
    }

    #[test]
    fn what_is_served_is_not_given_up_and_a_newcomer_waits() {
        let budget = ByteBudget::new(100);
        let served = budget.begin(100, Stage::Arriving, at(0)).unwrap();
        served.turn(Stage::Served, at(0));
        assert!(budget.begin(1, Stage::Arriving, at(60)).is_err());
        budget.sweep(at(600));
        assert!(!is_given_up(&served));
        served.settle(Stage::Served);
        assert!(budget.begin(100, Stage::Arriving, at(600)).is_ok());
    }

    #[test]
    fn progress_counts_and_no_total_does() {
        let budget = ByteBudget::new(1_000_000);
        let steady = budget.begin(1, Stage::Arriving, at(0)).unwrap();
        let stopped = budget.begin(1, Stage::Arriving, at(0)).unwrap();
        let trickle = budget.begin(1, Stage::Arriving, at(0)).unwrap();
        // Nearly all at once, and then next to nothing.
        stopped.moved(1 << 20, at(0));
        for second in 1..100 {
            steady.moved(RATE_MIN as usize, at(second));
            trickle.moved(100, at(second));
            budget.sweep(at(second));
            let late = second >= 10;
            assert_eq!(is_given_up(&trickle), late, "at {second}");
            assert_eq!(is_given_up(&stopped), late, "at {second}");
            assert!(!is_given_up(&steady), "at {second}");
        }
        budget.sweep(at(2_000));
        assert!(is_given_up(&steady));
    }
}
