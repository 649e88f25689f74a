//! A world that keeps one log, and in which the process that has it open can die.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};

use leasebridge::queue::log::LogStore;

/// One life of a process, from opening to death.
pub(crate) type Life<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// What a kind of log has to offer so that the suite can be run over it.
pub(crate) trait LogFixture {
    /// The log as a process sees it that is started now.
    fn store(&self) -> Arc<dyn LogStore>;

    /// From now on the running process dies at its `operation`-th use of what keeps the log, from 1. How much of
    /// that is done is the `way`-th of [`LogFixture::ways`].
    fn die_at(&self, operation: u64, way: u64);

    /// Lets a process live; `false` if it died.
    fn live(&self, life: Life<'_>) -> bool;

    /// The process is gone, dead already or crashed just now, and the next one may come. What is left is
    /// the `way`-th of [`LogFixture::ways`].
    fn bury(&self, way: u64);

    /// In how many ways a process can die.
    fn ways(&self) -> u64;

    /// The sweep crashes at each so many-th operation: more than 1 where a life takes real time.
    fn stride(&self) -> u64;

    /// Whatever carries the next append breaks under it, for good. Whether it has `arrived`, its process is
    /// never told.
    fn break_append(&self, arrived: bool);

    /// A bit of something that was confirmed long ago is another from now on; the next time as it was again.
    fn rot(&self);

    /// All of the first segment is gone.
    fn lose_oldest(&self);
}

/// Polls a life whose every step is done at once: still pending, it waits for something that a dead process
/// never gets.
pub(crate) fn finishes(life: Life<'_>) -> bool {
    let mut life = pin!(life);
    let mut context = Context::from_waker(Waker::noop());
    life.as_mut().poll(&mut context).is_ready()
}

/// When a process dies, counted in operations.
#[derive(Debug)]
pub(crate) struct Fate {
    left: AtomicU64,
    way: AtomicU64,
}

/// What becomes of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Goes,
    /// The process dies in the middle of it, in this way.
    Last(u64),
    /// The process is dead: nothing happens any more.
    Never,
}

impl Default for Fate {
    fn default() -> Self {
        Self {
            left: AtomicU64::new(u64::MAX),
            way: AtomicU64::new(0),
        }
    }
}

impl Fate {
    pub(crate) fn die_at(&self, operation: u64, way: u64) {
        self.way.store(way, Ordering::SeqCst);
        self.left.store(operation, Ordering::SeqCst);
    }

    pub(crate) fn turn(&self) -> Turn {
        match self.left.load(Ordering::SeqCst) {
            0 => Turn::Never,
            left => {
                self.left.store(left - 1, Ordering::SeqCst);
                match left {
                    1 => Turn::Last(self.way.load(Ordering::SeqCst)),
                    _ => Turn::Goes,
                }
            }
        }
    }
}
