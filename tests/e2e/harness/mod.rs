//! What every test shares: a house of its own (folder, ports, configuration), its child processes, and
//! ways to wait for what must come.

pub(crate) mod chance;
pub(crate) mod endpoint;
pub(crate) mod executed;
pub(crate) mod feed;
pub(crate) mod hostile;
pub(crate) mod house;
pub(crate) mod process;

use std::time::{Duration, Instant};

/// How long a test waits for what must come: far longer than it takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const GLANCE: Duration = Duration::from_millis(5);

/// Waits until `condition` holds.
pub(crate) fn until(what: &str, condition: impl FnMut() -> bool) {
    assert!(
        holds_within(PATIENCE, condition),
        "waited in vain until {what}"
    );
}

/// Whether `condition` comes true within `limit`.
pub(crate) fn holds_within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let give_up = Instant::now() + limit;
    while !condition() {
        if Instant::now() >= give_up {
            return false;
        }
        std::thread::sleep(GLANCE);
    }
    true
}
