//! What happened in a run, as the oracle, the reports and people see it: one record a line.
//!
//! The form is the product's ([`leasebridge::history`], described in `docs/history.md`), which `leasebridge run`,
//! `leasebridge receiver` and `leasebridge enqueue` write too. What is shared is the form alone: nothing that judges
//! comes from the product.

mod files;
mod found;
mod log;

pub use files::{ended_for_want, ended_for_want_of_files};
pub use found::found;
pub use leasebridge::history::{
    Counts, HISTORY_FORMAT, Header, HistoryError, LeaseEnd, Record, RouteTerms, TaskName, What,
    fed, left_earlier, opened, read, write,
};
pub use log::{History, mirror_to};

use crate::plan::Micros;

/// When a record was made.
pub fn time(record: &Record) -> Micros {
    Micros(record.at)
}
