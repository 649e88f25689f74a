//! Credits: how many leases a pump may take before its reader has taken some.
//!
//! A small piece of its own, so that loom can try every order in which pump and reader meet: a lost wake
//! here is an adapter that silently stops. One pump, any number of readers.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::sync::{Mutex, lock};

/// See the module.
#[derive(Debug)]
pub(crate) struct Credits {
    inner: Mutex<CreditState>,
}

#[derive(Debug)]
struct CreditState {
    free: usize,
    pump: Option<Waker>,
}

impl Credits {
    /// So many places are free at first.
    pub(crate) fn new(free: usize) -> Self {
        Self {
            inner: Mutex::new(CreditState { free, pump: None }),
        }
    }

    /// Waits until more than so many places are free and says how many are. Takes none yet: see
    /// [`Credits::spend`]. Cancel safe.
    pub(crate) fn more_than(&self, free: usize) -> Available<'_> {
        Available {
            credits: self,
            free,
        }
    }

    /// The pump has filled `places` of those it was told are free.
    pub(crate) fn spend(&self, places: usize) {
        let mut inner = lock(&self.inner);
        inner.free = inner
            .free
            .checked_sub(places)
            .expect("no more is taken than is free");
    }

    /// A reader has emptied `places`.
    pub(crate) fn give_back(&self, places: usize) {
        let pump = {
            let mut inner = lock(&self.inner);
            inner.free += places;
            inner.pump.take()
        };
        if let Some(pump) = pump {
            pump.wake();
        }
    }
}

/// The future of [`Credits::more_than`]: over once there are so many free places.
#[derive(Debug)]
pub(crate) struct Available<'a> {
    credits: &'a Credits,
    free: usize,
}

impl Future for Available<'_> {
    type Output = usize;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<usize> {
        let mut inner = lock(&self.credits.inner);
        if inner.free > self.free {
            return Poll::Ready(inner.free);
        }
        inner.pump = Some(context.waker().clone());
        Poll::Pending
    }
}

#[cfg(all(test, leasebridge_loom))]
mod loom_tests {
    use loom::future::block_on;
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicUsize, Ordering};
    use loom::thread;

    use super::*;

    /// A pump fills places while a reader empties them one by one: the pump never stops for good while
    /// places are free, and never fills more than there are.
    #[test]
    fn the_pump_never_sleeps_through_a_free_place() {
        loom::model(|| {
            const PLACES: usize = 1;
            const LEASES: usize = 3;
            let credits = Arc::new(Credits::new(PLACES));
            let filled = Arc::new(AtomicUsize::new(0));
            let reader = {
                let (credits, filled) = (credits.clone(), filled.clone());
                thread::spawn(move || {
                    for _ in 0..LEASES - 1 {
                        while filled.load(Ordering::Acquire) == 0 {
                            thread::yield_now();
                        }
                        filled.fetch_sub(1, Ordering::AcqRel);
                        credits.give_back(1);
                    }
                })
            };
            let mut left = LEASES;
            while left > 0 {
                let places = block_on(credits.more_than(0)).min(left);
                credits.spend(places);
                let before = filled.fetch_add(places, Ordering::AcqRel);
                assert!(before + places <= PLACES);
                left -= places;
            }
            reader.join().unwrap();
        });
    }
}
