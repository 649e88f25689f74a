//! Where the drivers of a simulated disk run.

use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use leasebridge::env::BoxFuture;

/// Takes the drivers that [`leasebridge::env::Disk::run`] is given.
pub trait Spawner: Send + Sync + 'static {
    /// Runs `driver` beside the caller.
    ///
    /// # Errors
    /// When it can't be run.
    fn spawn(&self, name: &str, driver: BoxFuture<'static, ()>) -> io::Result<()>;
}

/// Spawns on the current tokio runtime, which under turmoil is the current host's: the driver dies
/// with the host.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioSpawner;

impl Spawner for TokioSpawner {
    fn spawn(&self, _name: &str, driver: BoxFuture<'static, ()>) -> io::Result<()> {
        let runtime = tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
        drop(runtime.spawn(driver));
        Ok(())
    }
}

/// Collects drivers and runs them on the caller's thread, without any runtime.
///
/// Order is fixed: the main future first, then the drivers in the order they were spawned, round
/// after round until nothing wakes anybody.
#[derive(Clone, Default)]
pub struct Drivers {
    waiting: Arc<Mutex<VecDeque<BoxFuture<'static, ()>>>>,
}

impl Drivers {
    /// No drivers yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the drivers collected so far, oldest first, for an executor of the caller's own.
    pub fn take(&self) -> Vec<BoxFuture<'static, ()>> {
        self.lock().drain(..).collect()
    }

    /// Runs `main` and all drivers until `main` is done; `None` if all of them wait and nobody is
    /// left to wake them (after a crash, say). Drivers that are not done stay for the next call;
    /// [`Drivers::take`] drops them.
    pub fn block_on<F: Future>(&self, main: F) -> Option<F::Output> {
        let mut main = pin!(main);
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        while woken.0.swap(false, Ordering::AcqRel) {
            if let Poll::Ready(output) = main.as_mut().poll(&mut context) {
                return Some(output);
            }
            // A driver may spawn others while it is polled, hence no lock during the poll.
            let round = self.take();
            let mut left = VecDeque::with_capacity(round.len());
            for mut driver in round {
                if driver.as_mut().poll(&mut context).is_pending() {
                    left.push_back(driver);
                }
            }
            let mut waiting = self.lock();
            if !waiting.is_empty() {
                woken.0.store(true, Ordering::Release);
            }
            left.append(&mut waiting);
            *waiting = left;
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<BoxFuture<'static, ()>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Drivers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let waiting = self.lock().len();
        f.debug_struct("Drivers")
            .field("waiting", &waiting)
            .finish()
    }
}

impl Spawner for Drivers {
    fn spawn(&self, _name: &str, driver: BoxFuture<'static, ()>) -> io::Result<()> {
        self.lock().push_back(driver);
        Ok(())
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}
