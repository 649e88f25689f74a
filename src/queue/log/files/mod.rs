//! A log in a folder: [`crate::journal`] over [`crate::env::Disk`].
//!
//! One folder holds one log: a lock file, a mark that says how far the log went, and numbered slots, each of
//! which holds one segment after another and is never given back while the log lives. Slots are written with zeros when they are
//! made and recycled from then on, so that a batch costs one write and one device flush.
//!
//! Everything here waits for the disk: it is to be polled inside drivers started with
//! [`crate::env::Disk::run`], and nothing here is cancel safe once polled.
//!
//! Invariants:
//! - A log that is refused is left exactly as it was.
//! - The first failed write or sync is the last thing this opening does: every later call fails.

mod error;
mod folder;
mod mark;
mod marker;
mod open;
mod read;
mod segments;
mod slots;
mod store;
pub mod tools;
mod unfinished;

pub use error::{DiskFailure, FolderOpenError, FolderReadError, SpareError};
pub use folder::{Folder, LOCK_FILE};
pub use mark::MARK_FILE;
pub use marker::{MARKER_SUFFIX, NewLog};
pub use open::{OpenReport, Opened, open};
pub use segments::SegmentFiles;
pub use store::FolderStore;
