//! What a journal and an inbox may not end of.

use super::What;

/// How the system says that a process has no descriptor left: `EMFILE`.
const NO_FILES: &str = "os error 24";

/// If a journal has ended because no file could be opened: a gauge that must be zero. What comes back by itself means
/// *try again*.
pub fn ended_for_want_of_files(why: &str) -> Option<What> {
    why.contains(NO_FILES).then(|| What::Gauge {
        name: "journals ended for want of files".into(),
        value: 1,
        limit: 0,
    })
}

/// How the system says that there is no room: `ENOSPC`.
const NO_SPACE: &str = "os error 28";

/// If an inbox has ended because there was no descriptor or no room: a gauge that must be zero, likewise.
pub fn ended_for_want(why: &str) -> Option<What> {
    let is_want = [NO_FILES, NO_SPACE].iter().any(|want| why.contains(want));
    is_want.then(|| What::Gauge {
        name: "inboxes ended for want".into(),
        value: 1,
        limit: 0,
    })
}
