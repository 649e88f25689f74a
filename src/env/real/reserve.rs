//! Descriptors that are kept for files, so that connections can't take the last ones from the log.
//!
//! They are the process's, as the limit is: so there is one reserve.

use std::fs::File;
use std::sync::{Mutex, PoisonError};

/// A segment, its folder, and the same for whoever else opens files at that moment.
const KEPT: usize = 4;

static RESERVE: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// Keeps as many as are to be kept, as far as there are any.
pub(super) fn refill() {
    let mut kept = RESERVE.lock().unwrap_or_else(PoisonError::into_inner);
    while kept.len() < KEPT
        && let Ok(file) = File::open("/dev/null")
    {
        kept.push(file);
    }
}

/// Gives one back to the process, if there is one.
pub(super) fn release_one() -> bool {
    let mut kept = RESERVE.lock().unwrap_or_else(PoisonError::into_inner);
    kept.pop().is_some()
}
