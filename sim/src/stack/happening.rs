//! What happened in a run: lines in the order in which they happened, with simulated times.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leasebridge::wire::DeliveryId;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// The scenario did something to the world.
    Fault(String),
    /// A bridge's process has opened its queue.
    BridgeUp {
        /// Tasks pending in it.
        pending: u64,
    },
    /// A producer was told that its command is durable.
    Accepted {
        /// Which command.
        number: u32,
        /// Whether it was told that it had been accepted before.
        duplicate: bool,
    },
    /// An endpoint began to execute a command.
    Executed {
        /// Which command.
        number: u32,
        /// By which delivery.
        delivery: DeliveryId,
        /// By which send of it.
        send: u32,
    },
    /// Everything was accepted and nothing is pending.
    Drained {
        /// Tasks in the poison store.
        poison: u64,
    },
}

/// The lines of a run, shared by all its hosts; survives their crashes.
#[derive(Clone, Debug, Default)]
pub struct History(Arc<Mutex<Vec<(Duration, Happening)>>>);

impl History {
    /// Adds a line at the simulated time `at`, since the start of the simulation.
    pub fn add(&self, at: Duration, what: Happening) {
        self.lock().push((at, what));
    }

    /// All lines so far, in order.
    pub fn lines(&self) -> Vec<(Duration, Happening)> {
        self.lock().clone()
    }

    /// How many lines so far satisfy `is`.
    pub fn count(&self, is: impl Fn(&Happening) -> bool) -> usize {
        self.lock().iter().filter(|(_, what)| is(what)).count()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Duration, Happening)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
