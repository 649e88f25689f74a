//! Streams of results in which one failed item is that item's affair and nobody else's.
//!
//! No adapter here ends a stream because of a failure: a bridge whose loop stops at the first
//! command that could not be sent delivers nothing.

use std::fmt::Display;
use std::num::NonZeroUsize;
use std::pin::pin;

use futures_util::{Stream, StreamExt};

/// How the items of a stream fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ItemCounts {
    /// Items whose callback returned `Ok`.
    pub ok: u64,
    /// Items whose callback returned `Err`.
    pub failed: u64,
}

/// What the pipeline adds to streams of results.
///
/// `futures_util::StreamExt` has a `for_each` too: where both traits are in scope, call this one as
/// `PipelineExt::for_each(stream, …)`.
pub trait PipelineExt<T, E>: Stream<Item = Result<T, E>> + Sized {
    /// Shows each success to `tap` and passes every item on unchanged. Lazy, as streams are.
    fn tap_success_each<F>(self, mut tap: F) -> impl Stream<Item = Result<T, E>>
    where
        F: FnMut(&T),
    {
        self.inspect(move |item| {
            if let Ok(value) = item {
                tap(value);
            }
        })
    }

    /// Shows each failure to `tap` and passes every item on unchanged. Lazy, as streams are.
    fn tap_failure_each<F>(self, mut tap: F) -> impl Stream<Item = Result<T, E>>
    where
        F: FnMut(&E),
    {
        self.inspect(move |item| {
            if let Err(error) = item {
                tap(error);
            }
        })
    }

    /// Runs `callback` for each item, failures included, until the stream ends and every callback
    /// has returned. At most `concurrency` callbacks run at a time, and no item is taken from the
    /// stream before one of them has room for it.
    ///
    /// An error of a callback is logged and counted and stops nothing. A panic of a callback is a
    /// bug and unwinds through here. With a `concurrency` of one the items are handled in order.
    ///
    /// Dropping the future drops the callbacks under way: not cancel safe for what they hold. To
    /// stop in good order, end the stream.
    fn for_each<X, F, Fut>(
        self,
        concurrency: NonZeroUsize,
        callback: F,
    ) -> impl Future<Output = ItemCounts>
    where
        X: Display,
        F: FnMut(Result<T, E>) -> Fut,
        Fut: Future<Output = Result<(), X>>,
    {
        async move {
            let mut counts = ItemCounts::default();
            let mut outcomes = pin!(self.map(callback).buffer_unordered(concurrency.get()));
            while let Some(outcome) = outcomes.next().await {
                match outcome {
                    Ok(()) => counts.ok += 1,
                    Err(error) => {
                        counts.failed += 1;
                        tracing::warn!(%error, "an item failed");
                    }
                }
            }
            counts
        }
    }
}

impl<S, T, E> PipelineExt<T, E> for S where S: Stream<Item = Result<T, E>> {}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::future::ready;

    use futures_util::stream::iter;

    use super::super::testing::{context, record_events};
    use super::*;

    type Item = Result<u32, &'static str>;

    const ITEMS: [Item; 5] = [Ok(1), Err("broken"), Ok(2), Ok(3), Err("torn")];

    #[tokio::test]
    async fn taps_see_their_half_and_change_nothing() {
        let (successes, failures) = (RefCell::default(), RefCell::default());
        let tapped = iter(ITEMS)
            .tap_success_each(|value| RefCell::<Vec<u32>>::borrow_mut(&successes).push(*value))
            .tap_failure_each(|error| RefCell::<Vec<&str>>::borrow_mut(&failures).push(error));
        let all: Vec<Item> = tapped.collect().await;
        assert_eq!(all, ITEMS);
        assert_eq!(*successes.borrow(), [1, 2, 3]);
        assert_eq!(*failures.borrow(), ["broken", "torn"]);
    }

    #[tokio::test]
    async fn for_each_handles_every_item_and_counts() {
        let (events, _guard) = record_events();
        let seen = RefCell::new(Vec::new());
        let counts = PipelineExt::for_each(iter(ITEMS), NonZeroUsize::MIN, |item| {
            seen.borrow_mut().push(item);
            // The failure of the stream's second item is handled here, that of the first callback
            // is not: only the callback's own verdict counts.
            ready(if item == Ok(1) {
                Err("callback")
            } else {
                Ok(())
            })
        })
        .await;
        assert_eq!(*seen.borrow(), ITEMS);
        assert_eq!(counts, ItemCounts { ok: 4, failed: 1 });
        assert_eq!(events.names(), ["WARN an item failed"]);
    }

    #[tokio::test(start_paused = true)]
    async fn for_each_runs_so_many_at_a_time_and_takes_no_item_ahead() {
        let ctx = context();
        let limit = NonZeroUsize::new(3).expect("not zero");
        let (taken, running, most) = (Cell::new(0_usize), Cell::new(0_usize), Cell::new(0_usize));
        let (ctx, taken, running, most) = (&ctx, &taken, &running, &most);
        let items = iter((0..10).map(Item::Ok)).tap_success_each(|_| taken.set(taken.get() + 1));
        let done = Cell::new(0_usize);
        let done = &done;
        let counts = PipelineExt::for_each(items, limit, |_| async move {
            running.set(running.get() + 1);
            most.set(most.get().max(running.get()));
            assert!(taken.get() <= done.get() + limit.get());
            ctx.delay(std::time::Duration::from_millis(5)).await?;
            running.set(running.get() - 1);
            done.set(done.get() + 1);
            Ok::<(), super::super::Cancelled>(())
        })
        .await;
        assert_eq!(counts, ItemCounts { ok: 10, failed: 0 });
        assert_eq!(most.get(), 3);
    }

    #[tokio::test]
    async fn the_consuming_loop_can_be_spawned() {
        let tapped = iter(ITEMS).tap_failure_each(|_| {});
        let consumed = PipelineExt::for_each(tapped, NonZeroUsize::MIN, |item| async move {
            tokio::task::yield_now().await;
            item.map(|_| ())
        });
        let counts = tokio::spawn(consumed).await.expect("no panic");
        assert_eq!(counts, ItemCounts { ok: 3, failed: 2 });
    }
}
