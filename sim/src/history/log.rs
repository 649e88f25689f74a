//! The history under way: shared by all hosts of a run, survives their crashes.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::{Record, What};
use crate::plan::{HostName, Micros};

/// Where every record of this process is also written, if it is.
static MIRROR: OnceLock<Mutex<Box<dyn Write + Send>>> = OnceLock::new();

/// From now on every record of every history of this process is also written to `output`, a line each, the moment it is
/// made: what is left of a run that never ends. The first call counts.
pub fn mirror_to(output: impl Write + Send + 'static) {
    MIRROR.get_or_init(|| Mutex::new(Box::new(output)));
}

fn mirror(record: &Record) {
    let Some(output) = MIRROR.get() else { return };
    let mut line = serde_json::to_vec(record).unwrap_or_default();
    line.push(b'\n');
    // Whoever reads the mirror sees how far it reaches; the run itself must not depend on it.
    let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
    output.write_all(&line).unwrap_or_default();
}

/// Records of an ordinary run: room for so many is made at the start.
const RECORDS: usize = 4096;

/// The records of a run, in the order in which they happened.
#[derive(Clone, Debug)]
pub struct History(Arc<Mutex<Vec<Record>>>);

impl Default for History {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Vec::with_capacity(RECORDS))))
    }
}

impl History {
    /// Adds a record.
    pub fn add(&self, at: Micros, host: &HostName, what: What) {
        let host = host.clone();
        let record = Record {
            at: at.0,
            host,
            what,
        };
        mirror(&record);
        self.lock().push(record);
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
