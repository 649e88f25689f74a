//! What a journal may not end of.

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
