//! Panics of a run, wherever they happen: in the model, in the product's drivers, in tasks that tokio keeps to
//! itself. They are found by the hook, which is the one place that sees all of them.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::task::{Poll, Waker};

thread_local! {
    /// While a run is under way on this thread: the first panic it had.
    static FIRST: RefCell<Option<Option<String>>> = const { RefCell::new(None) };
    /// Whoever waits for it.
    static WAITING: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

/// The process's hook goes on to whoever was there before, for threads without a run, and for the first panic of a run:
/// it may be the last thing that the process does.
static HOOK: Once = Once::new();

/// Runs `run`; says what panicked in it.
pub(super) fn catch(run: impl FnOnce()) -> Option<String> {
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let (ours, is_first) = FIRST.with_borrow_mut(|first| {
                let is_first = matches!(first, Some(None));
                if is_first {
                    *first = Some(Some(info.to_string()));
                }
                (first.is_some(), is_first)
            });
            if is_first || !ours {
                before(info);
            }
            if let (true, Some(waiting)) = (ours, WAITING.take()) {
                waiting.wake();
            }
        }));
    });
    FIRST.set(Some(None));
    // What panicked is looked at no more.
    let unwound = catch_unwind(AssertUnwindSafe(run));
    WAITING.set(None);
    let first = FIRST.take().flatten();
    match unwound {
        Ok(()) => first,
        Err(_) => first.or_else(|| Some("a panic without a word".to_owned())),
    }
}

/// Completes when something has panicked, even if no time passes any more.
pub(super) async fn seen() {
    std::future::poll_fn(|context| {
        if FIRST.with_borrow(|first| matches!(first, Some(Some(_)))) {
            return Poll::Ready(());
        }
        WAITING.set(Some(context.waker().clone()));
        Poll::Pending
    })
    .await;
}
