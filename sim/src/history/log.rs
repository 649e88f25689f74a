//! The history under way: shared by all hosts of a run, survives their crashes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Record, What};
use crate::plan::{HostName, Micros};

/// The records of a run, in the order in which they happened.
#[derive(Clone, Debug, Default)]
pub struct History(Arc<Mutex<Vec<Record>>>);

impl History {
    /// Adds a record.
    pub fn add(&self, at: Micros, host: &HostName, what: What) {
        let host = host.clone();
        self.lock().push(Record {
            at: at.0,
            host,
            what,
        });
    }

    /// All records so far.
    pub fn records(&self) -> Vec<Record> {
        self.lock().clone()
    }

    /// Takes the records out, at the end of a run.
    pub fn take(&self) -> Vec<Record> {
        std::mem::take(&mut *self.lock())
    }

    /// Looks at the records so far without copying them.
    pub fn with<R>(&self, look: impl FnOnce(&[Record]) -> R) -> R {
        look(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Record>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
