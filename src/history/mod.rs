//! Histories: what happened in a run, as evidence for an oracle. One record a line.
//!
//! The form is described in `docs/history.md`, for whoever writes histories in another language. It is defined here
//! once: `leasebridge run`, `leasebridge receiver` and `leasebridge enqueue` write it when they are given
//! `--history`, the simulator writes it of its own runs, and its oracle reads both. What a record means for the
//! product's promises is not said here: the oracle judges by itself.
//!
//! # Invariants
//!
//! - A record's text never changes: a line that was ever written is read, and written again, the same. New kinds
//!   and new optional fields may be added.

mod names;
mod queue;
mod record;
mod task;
#[cfg(test)]
mod tests;
mod text;

pub use names::{FaultId, HostName, OpId};
pub use queue::{fed, found, left_earlier, opened};
pub use record::{Counts, LeaseEnd, Record, RouteTerms, What};
pub use task::TaskName;
pub use text::{Header, HistoryError, read, write};

/// The version of the format.
pub const HISTORY_FORMAT: u32 = 1;
