//! What a panic leaves behind, and who is told.
//!
//! Between *append* and *apply* an operation is half done, and half a batch may stand in the open one. A panic there
//! ends the engine's life before anybody else gets the lock: nothing of it is written, nothing more is promised, and
//! the next opening finds what was durable before.

use std::ops::{Deref, DerefMut};
use std::sync::{MutexGuard, PoisonError, Weak};
use std::thread::panicking;

use super::super::commit::CommitEnd;
use super::super::log::LogFailure;
use super::{Core, Engine, QueueStage};
use crate::watched::{TaskEnd, watched};

/// The lock on the engine's core.
pub(super) struct Locked<'a> {
    engine: &'a Engine,
    core: MutexGuard<'a, Core>,
    /// Taken by a drop on the way of an older panic, which happened elsewhere.
    unwinds: bool,
}

impl Engine {
    pub(super) fn lock(&self) -> Locked<'_> {
        Locked {
            engine: self,
            // What a panic left behind is closed already: see the drop.
            core: self.core.lock().unwrap_or_else(PoisonError::into_inner),
            unwinds: panicking(),
        }
    }
}

impl Deref for Locked<'_> {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.core
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Core {
        &mut self.core
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if panicking() && !self.unwinds {
            self.core.broken = true;
            self.core.stage = QueueStage::Closed;
            let why = "a panic cut off an operation of the queue; nothing of it was kept";
            let failure = LogFailure::InDoubt(why.into());
            tracing::error!(error = why, "{}", super::drivers::last_word(&failure));
            self.engine
                .commit
                .finish(CommitEnd::Failed(failure.clone()));
            self.engine.tell_failure(failure, &self.core);
        }
    }
}

/// The work of a task of the engine's. If it panics it takes the engine with it: without it callers would wait for ever.
pub(crate) fn vital(
    engine: Weak<Engine>,
    who: &'static str,
    work: impl Future<Output = ()>,
) -> impl Future<Output = ()> {
    watched(work, move |end| {
        let why = match end {
            TaskEnd::Panicked(why) => why,
            TaskEnd::Ended(()) | TaskEnd::CutOff => return,
        };
        if let Some(engine) = engine.upgrade() {
            let why = format!("the queue's {who} panicked: {why}");
            engine.fail(LogFailure::InDoubt(why.into()));
        }
    })
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;

    use super::*;
    use crate::core::Input;
    use crate::queue::{QueueOptions, SafeTaskQueue, TaskOptions};

    async fn open(dir: &std::path::Path) -> SafeTaskQueue<String> {
        let opened = SafeTaskQueue::open(QueueOptions::new(dir)).await;
        opened.expect("a folder of our own")
    }

    #[tokio::test]
    async fn half_an_operation_is_not_kept_and_nothing_is_promised_after_it() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let queue = open(dir.path()).await;
        let first = queue.enqueue("kept".to_owned(), TaskOptions::default());
        first.await.expect("there is room");
        let engine = queue.owner.engine.clone();
        let cut_off = catch_unwind(AssertUnwindSafe(|| {
            engine.with(|core, now| {
                let input = Input::DefineRoute { name: "half" };
                core.run(now, input, &[]).expect("a good name");
                panic!("this test wants it");
            })
        }));
        assert!(cut_off.is_err());
        assert!(matches!(queue.failed().await, LogFailure::InDoubt(_)));
        let more = queue.enqueue("more".to_owned(), TaskOptions::default());
        more.await.expect_err("nothing is promised any more");
        assert!(queue.close().await.is_err());
        drop((engine, queue));
        // The folder is let go of by the drivers, a moment later.
        let queue = loop {
            match SafeTaskQueue::<String>::open(QueueOptions::new(dir.path())).await {
                Ok(queue) => break queue,
                Err(error) if error.is_locked() => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!(queue.counts().ready, 1);
        assert!(queue.lease("half").await.is_err(), "it was never kept");
        queue.close().await.expect("nothing is wrong with it");
    }

    #[tokio::test]
    async fn a_task_of_the_engine_that_panics_ends_it() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let queue = open(dir.path()).await;
        let engine = Arc::downgrade(&queue.owner.engine);
        tokio::spawn(vital(engine, "test", async { panic!("it wants it") }));
        let LogFailure::InDoubt(why) = queue.failed().await else {
            panic!("it is told as a doubt");
        };
        assert_eq!(&*why, "the queue's test panicked: it wants it");
    }

    #[tokio::test]
    async fn a_lease_dropped_by_somebody_elses_panic_ends_nothing() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let queue = open(dir.path()).await;
        let sent = queue.enqueue("kept".to_owned(), TaskOptions::default());
        sent.await.expect("there is room");
        let lease = queue.lease("default").await.expect("it is ready");
        let dies = tokio::spawn(async move {
            let _lease = lease;
            panic!("this test wants it");
        });
        assert!(dies.await.is_err());
        let again = queue.lease("default").await.expect("it came back");
        again.ack().await.expect("the queue lives");
        queue.close().await.expect("nothing is wrong with it");
    }
}
