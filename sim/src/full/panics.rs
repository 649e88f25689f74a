//! Panics of a run: none goes unseen, wherever it is caught.
//!
//! The product catches panics of handlers and compensations, tokio those of tasks. The hook sees them all, on
//! the thread of the run; only the handler's planned one is expected.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

/// What a panic of a handler says that the plan asked for.
pub(super) const PLANNED: &str = "as the plan says";

thread_local! {
    /// The first panic of the run on this thread; `None` outside of runs.
    static WATCH: RefCell<Option<Option<String>>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// Runs `body`; gives what it returned, unless it panicked, and the first panic that was not planned.
pub(super) fn watched<R>(body: impl FnOnce() -> R) -> (Option<R>, Option<String>) {
    HOOK.call_once(install);
    WATCH.with_borrow_mut(|watch| *watch = Some(None));
    let result = panic::catch_unwind(AssertUnwindSafe(body)).ok();
    let seen = WATCH.take().flatten();
    (result, seen)
}

/// Runs one step of something; `None` if it panicked.
pub(super) fn caught<R>(step: impl FnOnce() -> R) -> Option<R> {
    panic::catch_unwind(AssertUnwindSafe(step)).ok()
}

/// Whether a panic was seen in the run on this thread.
pub(super) fn seen() -> bool {
    WATCH.with_borrow(|watch| matches!(watch, Some(Some(_))))
}

fn install() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !note(info) {
            before(info);
        }
    }));
}

/// Notes a panic of a run; says whether that is all there is to do. The first one is told further: it may be the last
/// thing that the process does.
fn note(info: &PanicHookInfo<'_>) -> bool {
    let text = info.payload_as_str().unwrap_or("without a message");
    WATCH.with_borrow_mut(|watch| {
        let Some(first) = watch else {
            return false;
        };
        if text != PLANNED && first.is_none() {
            let place = info.location().map(ToString::to_string);
            *first = Some(format!("{text} at {}", place.unwrap_or_default()));
            return false;
        }
        true
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_panic_is_kept_and_a_planned_one_is_not() {
        let (result, seen) = watched(|| {
            assert!(caught(|| panic!("{PLANNED}")).is_none());
            assert!(!super::seen());
            assert!(caught(|| panic!("number {}", 1)).is_none());
            assert!(caught(|| panic!("number 2")).is_none());
            7
        });
        assert_eq!(result, Some(7));
        let seen = seen.expect("a panic");
        assert!(
            seen.starts_with("number 1 at ") && seen.contains("panics.rs"),
            "{seen}"
        );
        assert_eq!(watched(|| ()), (Some(()), None));
    }
}
