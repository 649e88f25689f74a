//! A second kind of log: a map of rows. It has no slots, no zeros, no files and no names of any.

mod log;
mod table;

use std::sync::{Arc, Mutex};

use leasebridge::queue::log::LogStore;

use super::fixture::{Fate, Life, LogFixture, finishes};
use log::RowStore;
use table::{Connection, Table};

/// Answers that get lost when an append breaks: more than are waited for.
const LOST_FOR_GOOD: u32 = 100;

/// A table, and the process that has it open now.
#[derive(Debug, Default)]
pub(crate) struct RowFixture {
    table: Arc<Table>,
    fate: Mutex<Arc<Fate>>,
}

impl RowFixture {
    fn fate(&self) -> Arc<Fate> {
        Arc::clone(&self.fate.lock().unwrap())
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// The process that has it open dies, at once. The next one may come.
    pub(crate) fn kill(&self) {
        self.fate().die_at(0, 0);
        *self.fate.lock().unwrap() = Arc::default();
    }
}

impl LogFixture for RowFixture {
    fn store(&self) -> Arc<dyn LogStore> {
        let connection = Connection::new(Arc::clone(&self.table), self.fate());
        Arc::new(RowStore(connection))
    }

    fn die_at(&self, operation: u64, way: u64) {
        self.fate().die_at(operation, way);
    }

    fn live(&self, life: Life<'_>) -> bool {
        finishes(life)
    }

    fn bury(&self, _way: u64) {
        self.table.lose_answers(0, false);
        self.kill();
    }

    fn ways(&self) -> u64 {
        2
    }

    fn stride(&self) -> u64 {
        1
    }

    fn break_append(&self, arrived: bool) {
        self.table.lose_answers(LOST_FOR_GOOD, arrived);
    }

    fn rot(&self) {
        self.table.rot();
    }

    fn lose_oldest(&self) {
        self.table.lose_oldest();
    }
}
