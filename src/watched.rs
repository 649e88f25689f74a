//! A task on which others depend: however it ends, they are told.
//!
//! A task that panics or is aborted ends in silence otherwise, and what it did looks as if it were still done.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

/// How a task came to its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TaskEnd<T> {
    /// It has done its work.
    Ended(T),
    /// It panicked, with this message.
    Panicked(String),
    /// It was dropped before its end: somebody aborted it, or its runtime shuts down.
    CutOff,
}

/// Holds whom to tell until that is done.
struct Untold<T, F: FnOnce(TaskEnd<T>)> {
    told: Option<F>,
    _end: std::marker::PhantomData<fn(T)>,
}

impl<T, F: FnOnce(TaskEnd<T>)> Untold<T, F> {
    fn tell(&mut self, end: TaskEnd<T>) {
        if let Some(told) = self.told.take() {
            told(end);
        }
    }
}

impl<T, F: FnOnce(TaskEnd<T>)> Drop for Untold<T, F> {
    fn drop(&mut self) {
        self.tell(TaskEnd::CutOff);
    }
}

/// Does `work` and calls `told` with its end, once, when nothing of `work` is left; also if this is dropped before it
/// was ever polled.
pub(crate) fn watched<T>(
    work: impl Future<Output = T>,
    told: impl FnOnce(TaskEnd<T>),
) -> impl Future<Output = ()> {
    let untold = Untold {
        told: Some(told),
        _end: std::marker::PhantomData,
    };
    async move {
        // Whoever is told decides what of the world behind a panic can still be used. Named before `untold`, so that it
        // is gone before anybody is told.
        let caught = AssertUnwindSafe(work).catch_unwind();
        let mut untold = untold;
        untold.tell(match caught.await {
            Ok(value) => TaskEnd::Ended(value),
            Err(panic) => TaskEnd::Panicked(panic_text(&*panic).to_owned()),
        });
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn each_end_is_told_once_and_when_the_work_is_gone() {
        let ends = Arc::new(Mutex::new(Vec::new()));
        let work = Arc::new(());
        let tell = || {
            let (ends, work) = (Arc::clone(&ends), Arc::downgrade(&work));
            move |end: TaskEnd<u8>| ends.lock().unwrap().push((end, work.strong_count()))
        };
        watched(async { 7 }, tell()).await;
        let held = Arc::clone(&work);
        let panics = async move {
            let _held = held;
            panic!("{} wants it", "this test")
        };
        watched(panics, tell()).await;
        let held = Arc::clone(&work);
        let waits = async move {
            let _held = held;
            std::future::pending().await
        };
        drop(watched(waits, tell()));
        let held = Arc::clone(&work);
        let waits = async move {
            let _held = held;
            std::future::pending().await
        };
        let aborted = tokio::spawn(watched(waits, tell()));
        tokio::task::yield_now().await;
        aborted.abort();
        assert!(aborted.await.is_err());
        let ends = std::mem::take(&mut *ends.lock().unwrap());
        let panicked = TaskEnd::Panicked("this test wants it".to_owned());
        let wanted = [
            TaskEnd::Ended(7),
            panicked,
            TaskEnd::CutOff,
            TaskEnd::CutOff,
        ];
        assert_eq!(ends, wanted.map(|end| (end, 1)));
    }
}
