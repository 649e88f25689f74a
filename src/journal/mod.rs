//! The durable log, itself without I/O.
//!
//! [`Writer`] turns the state machine's events into batches of bytes, each with its place in a
//! segment file; somebody else writes and syncs them, one at a time and in order, and reports
//! [`Writer::completed`]. [`Replay`] turns batches back into events, whatever kept them; [`slots`] finds
//! them in the bytes of a folder. What the bytes mean is written down in `docs/format.md`.
//!
//! Invariants:
//! - Log order is append order, and what is durable is a prefix of it: one batch is in flight.
//! - A batch decodes only in the segment and generation it was written for, and only behind the batch
//!   it was written behind. So a recycled file's former content is never taken for log, nor is what stands
//!   after a cut.
//! - Each batch leaves a [`Witness`] in another page: what is missing at the log's end shows, its last batch
//!   excepted.
//! - Each segment begins with a [`Base`](crate::core::event::Base), so that the ones before can go.

// Numbers of others are added up here. Tests may overflow as they like.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod codec;
mod fields;
mod image;
mod jobs;
mod layout;
pub mod limits;
mod mark;
mod record;
mod replay;
mod seal;
pub mod slots;
#[cfg(test)]
mod tests;
mod witness;
mod writer;

pub use codec::DecodeError;
pub use layout::{
    BatchHeader, FormatVersion, Generation, HeaderError, Newer, Position, SegmentHeader, SlotNo,
    next_batch,
};
pub use limits::{Geometry, GeometryError, GeometryOptions};
pub use mark::{MARK_PAGE_BYTES, MARK_PAGES, Mark, MarkFlaw, MarkState};
pub use record::{Control, LogRecord, Placed, Records};
pub use replay::{Flaw, Fold, IntactBatch, LogEnding, ReadCounts, Replay, Start};
pub use seal::{SealedBatch, Sealer};
pub use slots::{Corruption, Recovered, RecoveryError};
pub use witness::Witness;
pub use writer::{Batch, RollTo, Writer};
