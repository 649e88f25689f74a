//! The tasks of one process: everything that must stop with it, and stand still while it is paused.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use leasebridge::env::BoxFuture;
use tokio::task::JoinSet;

use crate::disk::Spawner;

/// The tasks of the process that runs on a machine just now.
///
/// A queue's own tasks that don't go through the disk's seam (the timer, a pump) end by themselves as soon
/// as nobody holds their queue.
#[derive(Clone, Default)]
pub(super) struct Tasks(Arc<Mutex<TasksState>>);

#[derive(Default)]
struct TasksState {
    set: JoinSet<()>,
    paused: bool,
    /// Those that were woken while the process stood still.
    waiting: Vec<Waker>,
}

impl Tasks {
    /// Runs `work` as a part of the process.
    pub(super) fn run(&self, work: impl Future<Output = ()> + Send + 'static) {
        let pausable = Pausable {
            work: Box::pin(work),
            tasks: self.clone(),
        };
        let mut inner = self.lock();
        // Those that have ended are let go of here, so that a long life keeps no list of them.
        while inner.set.try_join_next().is_some() {}
        inner.set.spawn(pausable);
    }

    /// Stops the world of the process, or lets it go on.
    pub(super) fn set_paused(&self, paused: bool) {
        let waiting = {
            let mut inner = self.lock();
            inner.paused = paused;
            if paused {
                Vec::new()
            } else {
                std::mem::take(&mut inner.waiting)
            }
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Ends them all where they stand.
    pub(super) async fn abort(&self) {
        let mut set = std::mem::take(&mut self.lock().set);
        set.shutdown().await;
        let mut inner = self.lock();
        inner.paused = false;
        inner.waiting.clear();
    }

    fn lock(&self) -> MutexGuard<'_, TasksState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spawner for Tasks {
    fn spawn(&self, _name: &str, driver: BoxFuture<'static, ()>) -> io::Result<()> {
        self.run(driver);
        Ok(())
    }
}

/// Work that nobody polls while its process is paused.
struct Pausable {
    work: BoxFuture<'static, ()>,
    tasks: Tasks,
}

impl Future for Pausable {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        {
            let mut inner = self.tasks.lock();
            if inner.paused {
                inner.waiting.push(context.waker().clone());
                return Poll::Pending;
            }
        }
        self.work.as_mut().poll(context)
    }
}
