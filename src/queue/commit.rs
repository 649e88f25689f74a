//! The commit queue: callers wait for a log position to become durable, one driver makes it so.
//!
//! Group commit falls out of it: callers that submit while the driver syncs share its next sync, and a
//! lone caller pays for one. Whoever waits is told the truth once: durable, or why it never will be.
//!
//! Checked by loom (`tests` below under `cfg(leasebridge_loom)`).

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::sync::{AtomicU64, Mutex, Ordering, lock};
use crate::coverage::{Site, always, sometimes};
use crate::journal::Position;

/// Why nothing more will become durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CommitEnd<E> {
    /// Shut down after everything submitted had become durable.
    Closed,
    /// The log failed.
    Failed(E),
}

/// See the module's words. `E` says why the log failed.
#[derive(Debug)]
pub(crate) struct CommitQueue<E> {
    /// Copy of the durable position that can be read without the lock.
    durable: AtomicU64,
    inner: Mutex<CommitState<E>>,
}

#[derive(Debug)]
struct CommitState<E> {
    submitted: u64,
    taken: u64,
    durable: u64,
    /// No more is submitted; the driver ends when it has caught up.
    closing: bool,
    end: Option<CommitEnd<E>>,
    driver: Option<Waker>,
    waiters: Vec<(u64, Waker)>,
}

impl<E: Clone> CommitQueue<E> {
    /// A queue whose log is durable up to `start`.
    pub(crate) fn new(start: Position) -> Self {
        let at = start.as_u64();
        Self {
            durable: AtomicU64::new(at),
            inner: Mutex::new(CommitState {
                submitted: at,
                taken: at,
                durable: at,
                closing: false,
                end: None,
                driver: None,
                waiters: Vec::new(),
            }),
        }
    }

    /// Tells the driver that the log has been appended up to `position`.
    pub(crate) fn submit(&self, position: Position) {
        let driver = {
            let mut inner = lock(&self.inner);
            inner.submitted = inner.submitted.max(position.as_u64());
            if inner.submitted == inner.taken {
                None
            } else {
                inner.driver.take()
            }
        };
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// Completes when everything up to `position` is durable. Cancel safe: dropping the future takes
    /// nothing back.
    pub(crate) fn wait(&self, position: Position) -> Durable<'_, E> {
        Durable {
            queue: self,
            position: position.as_u64(),
            left: None,
        }
    }

    /// Why nothing more will become durable, if that is so.
    pub(crate) fn end(&self) -> Option<CommitEnd<E>> {
        lock(&self.inner).end.clone()
    }

    /// The driver's call: waits for work; `false` when the queue was shut down and all of it is done, or
    /// the log has failed.
    pub(crate) fn take(&self) -> Take<'_, E> {
        Take { queue: self }
    }

    /// The driver's call: everything up to `position` is durable.
    pub(crate) fn complete(&self, position: Position) {
        let position = position.as_u64();
        let woken = {
            let mut inner = lock(&self.inner);
            always!(Site::DurableNeverShrinks, position >= inner.durable);
            inner.durable = position;
            inner.taken = inner.taken.max(position);
            self.durable.store(position, Ordering::Release);
            let waiting = std::mem::take(&mut inner.waiters);
            let (woken, waiting) = waiting
                .into_iter()
                .partition::<Vec<_>, _>(|(at, _)| *at <= position);
            inner.waiters = waiting;
            sometimes!(Site::BatchShared, woken.len() > 1);
            woken
        };
        // Outside the lock: a woken caller's first step is to take it again.
        woken.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// The driver's call: the log has failed, or has been closed with everything durable.
    pub(crate) fn finish(&self, end: CommitEnd<E>) {
        let (woken, driver) = {
            let mut inner = lock(&self.inner);
            inner.end.get_or_insert(end);
            inner.closing = true;
            (std::mem::take(&mut inner.waiters), inner.driver.take())
        };
        woken.into_iter().for_each(|(_, waker)| waker.wake());
        // Somebody else may have found the failure: the driver ends as well, and lets go of the files.
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// Nothing more will be submitted; the driver's next idle [`CommitQueue::take`] says `false`.
    pub(crate) fn shut_down(&self) {
        let driver = {
            let mut inner = lock(&self.inner);
            inner.closing = true;
            inner.driver.take()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
    }
}

/// The future of [`CommitQueue::wait`]: over once the position is durable, or never will be.
#[derive(Debug)]
#[must_use = "nothing may be promised before this says so"]
pub(crate) struct Durable<'a, E> {
    queue: &'a CommitQueue<E>,
    position: u64,
    /// The waker that was left behind; one is enough, however often the future is polled.
    left: Option<Waker>,
}

impl<E: Clone> Future for Durable<'_, E> {
    type Output = Result<(), CommitEnd<E>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.queue.durable.load(Ordering::Acquire) >= self.position {
            return Poll::Ready(Ok(()));
        }
        let mut inner = lock(&self.queue.inner);
        // Durable beats ended: what was synced before the failure is promised rightly.
        if inner.durable >= self.position {
            return Poll::Ready(Ok(()));
        }
        if let Some(end) = &inner.end {
            return Poll::Ready(Err(end.clone()));
        }
        let known = self
            .left
            .as_ref()
            .is_some_and(|left| left.will_wake(context.waker()));
        if !known {
            inner.waiters.push((self.position, context.waker().clone()));
            drop(inner);
            self.left = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

/// The future of [`CommitQueue::take`]: over once something waits to be written, or the queue has ended.
#[derive(Debug)]
pub(crate) struct Take<'a, E> {
    queue: &'a CommitQueue<E>,
}

impl<E> Future for Take<'_, E> {
    type Output = bool;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        let mut inner = lock(&self.queue.inner);
        if inner.end.is_some() {
            return Poll::Ready(false);
        }
        if inner.submitted > inner.taken {
            inner.taken = inner.submitted;
            return Poll::Ready(true);
        }
        if inner.closing {
            return Poll::Ready(false);
        }
        inner.driver = Some(context.waker().clone());
        Poll::Pending
    }
}

#[cfg(all(test, not(leasebridge_loom)))]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::core::ids::SegmentNo;

    fn at(offset: u32) -> Position {
        Position::new(SegmentNo(0), offset)
    }

    fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_waiter_hears_of_durability_and_not_before() {
        let queue = CommitQueue::<&str>::new(at(10));
        let mut wait = queue.wait(at(20));
        assert_eq!(poll(&mut wait), Poll::Pending);
        queue.submit(at(20));
        assert_eq!(poll(&mut queue.take()), Poll::Ready(true));
        assert_eq!(poll(&mut wait), Poll::Pending);
        queue.complete(at(19));
        assert_eq!(poll(&mut wait), Poll::Pending);
        queue.complete(at(20));
        assert_eq!(poll(&mut wait), Poll::Ready(Ok(())));
        assert_eq!(poll(&mut queue.take()), Poll::Pending);
    }

    #[test]
    fn a_failure_reaches_those_whose_position_was_not_durable_and_nobody_else() {
        let queue = CommitQueue::new(at(0));
        queue.submit(at(5));
        queue.complete(at(5));
        queue.submit(at(9));
        queue.finish(CommitEnd::Failed("sync"));
        queue.finish(CommitEnd::Closed);
        assert_eq!(poll(&mut queue.wait(at(5))), Poll::Ready(Ok(())));
        assert_eq!(
            poll(&mut queue.wait(at(6))),
            Poll::Ready(Err(CommitEnd::Failed("sync")))
        );
    }

    #[test]
    fn a_failure_ends_the_driver_whatever_is_left() {
        let queue = CommitQueue::new(at(0));
        queue.submit(at(3));
        queue.finish(CommitEnd::Failed("spare"));
        assert_eq!(poll(&mut queue.take()), Poll::Ready(false));
    }

    #[test]
    fn a_shut_down_queue_drains_before_its_driver_ends() {
        let queue = CommitQueue::<&str>::new(at(0));
        queue.submit(at(3));
        queue.shut_down();
        assert_eq!(poll(&mut queue.take()), Poll::Ready(true));
        assert_eq!(poll(&mut queue.take()), Poll::Ready(false));
    }
}

#[cfg(all(test, leasebridge_loom))]
mod loom_tests {
    use loom::future::block_on;
    use loom::sync::Arc;
    use loom::thread;

    use super::*;
    use crate::core::ids::SegmentNo;

    fn at(offset: u32) -> Position {
        Position::new(SegmentNo(0), offset)
    }

    /// Every order with up to two preemptions: enough for every known kind of lost wake (Musuvathi and Qadeer,
    /// "Iterative Context Bounding", PLDI 2007), and done in seconds where all orders take hours.
    fn check(model: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(2);
        builder.check(model);
    }

    /// Two callers submit and wait while a driver takes, syncs and completes, then is shut down: no wake is
    /// lost, nobody returns before its position is durable, and the driver ends.
    #[test]
    fn no_wake_is_lost_and_nobody_returns_early() {
        check(|| {
            let queue = Arc::new(CommitQueue::<()>::new(at(0)));
            let appended = Arc::new(Mutex::new(0_u32));
            let driver = {
                let (queue, appended) = (queue.clone(), appended.clone());
                thread::spawn(move || {
                    block_on(async {
                        while queue.take().await {
                            let end = *lock(&appended);
                            queue.complete(at(end));
                        }
                    });
                })
            };
            let caller = {
                let (queue, appended) = (queue.clone(), appended.clone());
                thread::spawn(move || submit_and_wait(&queue, &appended))
            };
            submit_and_wait(&queue, &appended);
            caller.join().unwrap();
            queue.shut_down();
            driver.join().unwrap();
        });
    }

    fn submit_and_wait(queue: &CommitQueue<()>, appended: &Mutex<u32>) {
        let position = {
            let mut end = lock(appended);
            *end += 1;
            at(*end)
        };
        queue.submit(position);
        block_on(queue.wait(position)).unwrap();
    }

    /// A failure wakes whoever waits, whenever it comes.
    #[test]
    fn a_failure_wakes_the_waiting() {
        check(|| {
            let queue = Arc::new(CommitQueue::<()>::new(at(0)));
            let failing = {
                let queue = queue.clone();
                thread::spawn(move || queue.finish(CommitEnd::Failed(())))
            };
            queue.submit(at(1));
            assert_eq!(block_on(queue.wait(at(1))), Err(CommitEnd::Failed(())));
            failing.join().unwrap();
        });
    }
}
