//! The seam between the journal's writer and what keeps its batches.
//!
//! A queue writes one [`Log`], which a [`LogStore`] opens for it. What crosses is the batch that
//! [`crate::journal::Sealer`] has sealed, one at a time and in order; where it goes, and what makes it
//! durable there, is the log's affair. [`files`] keeps a log in a folder. Another kind of log may be kept by
//! several machines together, so that an opening can lose it while it lives: then the log is *fenced*.
//!
//! What every log promises:
//! - [`Log::append`] returns `Ok` only when this batch and all before it survive what the log is made to
//!   survive, such as a power cut.
//! - An opening finds everything that was confirmed to the openings before it, and a prefix of what was
//!   appended and not confirmed. Once it has found something, the next opening finds it as well.
//! - Once an opening has returned, nothing that an older one appends is ever found.
//! - Damage is reported and never skipped, and a log that is refused is left as it was.
//!
//! `tests/log_conformance` holds any log to that.

mod error;
pub mod files;

use std::sync::Arc;
use std::{fmt, io};

use bytes::Bytes;

use crate::core::Event;
use crate::core::ids::{BodyRef, SegmentNo};
use crate::env::BoxFuture;
use crate::journal::{DecodeError, Fold, Geometry, IntactBatch, LogRecord, SealedBatch, Start};

pub use error::{LogFailure, LogOpenError, LogReadError};

/// A place where one log is kept.
pub trait LogStore: fmt::Debug + Send + Sync + 'static {
    /// Runs `driver` where waiting for this log hurts nobody. Returns at once; the driver reports through
    /// channels of its own. The futures of [`LogStore::open`] and [`Log`] are polled in such drivers alone,
    /// and each to its end.
    ///
    /// # Errors
    /// When no driver can be started.
    fn run(&self, name: &str, driver: BoxFuture<'static, ()>) -> io::Result<()>;

    /// Opens the log, making it if there is none, and folds what it holds. Nothing that an older opening appends
    /// from then on is ever found. A store may instead give way to an older opening that still lives, as files do:
    /// then this opening is refused.
    ///
    /// # Errors
    /// [`LogOpenError`]; the log is as it was then.
    fn open<'a>(
        &'a self,
        options: LogOptions,
        fold: &'a mut (dyn Fold + Send),
    ) -> BoxFuture<'a, Result<OpenLog, LogOpenError>>;
}

/// How a log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// The sizes its writer works with.
    pub geometry: Geometry,
    /// Segments that it may hold in all. Whoever admits commands keeps to it.
    pub segments_max: u32,
}

/// A log that was opened.
pub struct OpenLog {
    /// The log, for the drivers.
    pub log: Arc<dyn Log>,
    /// Where it goes on: what its writer and its sealer begin with.
    pub start: Start,
    /// The right to write it; to be dropped when the last driver has ended.
    pub tenure: Box<dyn Tenure>,
}

/// The right to write a log. Given up when it is dropped: then somebody else may have it.
pub trait Tenure: Send + Sync + 'static {}

/// An open log; shared by its drivers.
///
/// A [`LogFailure`] that [`Log::append`], [`Log::retire`], [`Log::make_room`] or [`Log::lost`] reports is the
/// end of this opening: every later call fails as well.
pub trait Log: Send + Sync + 'static {
    /// Makes a batch durable. Batches come in the order in which they were sealed, each after the one before
    /// was confirmed. A log that can't tell whether a batch has arrived finds out, and appends the same batch
    /// again if it hasn't; only when that takes too long does it say *in doubt*.
    fn append<'a>(&'a self, batch: &'a SealedBatch) -> BoxFuture<'a, Result<(), LogFailure>>;

    /// Reads bodies and checks them, in order. What was appended but never confirmed may not be there.
    fn read_bodies<'a>(
        &'a self,
        bodies: &'a [BodyRef],
    ) -> BoxFuture<'a, Vec<Result<Bytes, LogReadError>>>;

    /// Reads the events of a segment that is not written any more, all of them, checked: for compaction.
    fn read_segment(
        &self,
        segment: SegmentNo,
    ) -> BoxFuture<'_, Result<Vec<SegmentRecord>, LogReadError>>;

    /// Lets go of a segment, and of any before it. That they are not needed any more is on record in the log,
    /// durably. Never the segment that is being written.
    fn retire(&self, segment: SegmentNo) -> BoxFuture<'_, Result<(), LogFailure>>;

    /// Makes one more segment ready to be begun; `false` if there is no room for it now.
    fn make_room(&self) -> BoxFuture<'_, Result<bool, LogFailure>>;

    /// Segments that there is room for beside those it holds, as far as is known without making them; none if nothing
    /// is known. What keeps the log may be shared with others, so that it is a guess.
    fn growth(&self) -> BoxFuture<'_, Option<u32>> {
        Box::pin(std::future::ready(None))
    }

    /// How much room there is. Cheap, and asked after every batch.
    fn room(&self) -> Room;

    /// Whether the log is this opening's still, as far as is known here and now: what is told from memory
    /// rests on it. Cheap, and asked before anything is told to anybody.
    ///
    /// # Errors
    /// Why nothing may be told. *In doubt* may pass: whoever asks again later may hear otherwise. Anything
    /// else is the end of this opening.
    fn holds(&self) -> Result<(), LogFailure>;

    /// Completes when this opening has lost the log, with the reason: also while nobody appends. Never, for
    /// a log that can't be lost. Cancel safe.
    fn lost(&self) -> BoxFuture<'_, LogFailure>;
}

/// How much room a log has, in segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Ready to be begun without any being made first.
    pub ready: u32,
    /// All that it holds, those that are ready included.
    pub held: u32,
}

/// An event of a segment, and the body it placed there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentRecord {
    /// What the record says happened.
    pub event: Event,
    /// Its body; empty if it placed none.
    pub body: Bytes,
}

impl SegmentRecord {
    /// Adds the events of a batch that lies in `bytes`, sharing its bodies with them.
    ///
    /// # Errors
    /// [`DecodeError`] for a record that can't be read.
    pub fn read(
        batch: &IntactBatch<'_>,
        bytes: &Bytes,
        records: &mut Vec<Self>,
    ) -> Result<(), DecodeError> {
        for placed in batch.records() {
            let placed = placed?;
            if let LogRecord::Event(event) = placed.record {
                let body = bytes.slice_ref(placed.body);
                records.push(Self { event, body });
            }
        }
        Ok(())
    }
}
