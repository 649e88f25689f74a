//! Where an inbox's memory lives beyond the process.
//!
//! Two kinds. An [`InboxStore`] keeps records beside the effects of a handler: *started* is durable
//! before the handler runs, its outcome before the reply. An [`EffectLog`] is itself the effect: one
//! durable write both executes a command and remembers that, so that no crash can come in between.

mod effect_file;
mod file;
mod lines;
mod worker;

use std::path::PathBuf;

use super::handler::Delivered;
use super::inbox::IdRanges;
use crate::core::{DeliveryId, Epoch, IdRange, TaskId};
use crate::env::BoxFuture;
use crate::wire::{ExecutionOutcome, InboxId};

pub use effect_file::EffectFile;
pub use file::FileStore;
pub use lines::{EffectLine, LineError};

/// One thing to remember.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InboxRecord {
    /// The handler is about to be called.
    Started(DeliveryId),
    /// The handler has answered. The epoch is the newest that is told so.
    Finished(DeliveryId, ExecutionOutcome),
    /// A started one was taken back before its handler was called.
    NotStarted(DeliveryId),
    /// These tasks have left the queue.
    Settled(IdRange),
}

/// What a store remembers of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredTask {
    /// It started, and no outcome was recorded.
    Started,
    /// It was taken back before it started.
    NotStarted,
    /// It ended so.
    Finished(ExecutionOutcome),
}

/// All that a store remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredInbox {
    /// Unsettled tasks, with the newest epoch recorded.
    pub tasks: Vec<(TaskId, Epoch, StoredTask)>,
    /// Tasks executed with an empty result, whose epochs are not remembered.
    pub done: IdRanges,
    /// Tasks that the bridge has announced as settled.
    pub settled: IdRanges,
}

/// Why a store failed. After any of these the store is of no further use: the receiver stops without
/// answering what it could not record, and a restart goes by what is on disk.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// An operation on a file failed.
    #[error("can't {what} {}: {error}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file that it was done to.
        path: PathBuf,
        /// Why it failed.
        error: std::sync::Arc<std::io::Error>,
    },
    /// Another process has it.
    #[error("{} is in use by another receiver", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The file is damaged, and not merely at its end where a crash may have cut it.
    #[error("{} is damaged at byte {offset}: {why}; put a copy aside before repairing anything", path.display())]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// Where, in bytes from its start.
        offset: u64,
        /// What was found.
        why: String,
    },
    /// A line of an effect file is none.
    #[error("{} line {line}: {error}", path.display())]
    Line {
        /// The effect file.
        path: PathBuf,
        /// The line's number, from 1.
        line: u64,
        /// What is wrong with it.
        error: LineError,
    },
    /// The thread that does the file's work is gone after an earlier failure.
    #[error("the store has stopped after an earlier failure")]
    Stopped,
}

/// Remembers what a handler did.
pub trait InboxStore: Send + Sync + 'static {
    /// Reads everything. Called once, before anything else. The id must change whenever memory was
    /// lost, and only then.
    fn load(&self) -> BoxFuture<'_, Result<(InboxId, StoredInbox), StoreError>>;

    /// Appends records in order; ready when all are durable. Called by one caller at a time. Records
    /// of a failed call may or may not be remembered.
    fn append(&self, records: Vec<InboxRecord>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Whether nothing outlives the process, so that there is nothing to wait for.
    fn is_volatile(&self) -> bool {
        false
    }

    /// Gives up files and locks, so that another may open them. Nothing may be called after it.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Executes commands by recording them.
pub trait EffectLog: Send + Sync + 'static {
    /// Reads everything. As [`InboxStore::load`].
    fn load(&self) -> BoxFuture<'_, Result<(InboxId, StoredInbox), StoreError>>;

    /// Executes commands in order; ready when all are durable, each exactly once. Called by one caller
    /// at a time. After a failed call each of them may or may not have been executed, and
    /// [`EffectLog::load`] after a restart tells which.
    fn append(&self, commands: Vec<Delivered>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Gives up files and locks, so that another may open them. Nothing may be called after it.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Remembers nothing: each start has a new inbox id.
pub struct MemoryStore {
    entropy: std::sync::Arc<dyn crate::env::Entropy>,
}

impl MemoryStore {
    /// A store whose ids come from `entropy`.
    pub fn new(entropy: std::sync::Arc<dyn crate::env::Entropy>) -> Self {
        Self { entropy }
    }
}

impl InboxStore for MemoryStore {
    fn load(&self) -> BoxFuture<'_, Result<(InboxId, StoredInbox), StoreError>> {
        let id = fresh_inbox_id(&*self.entropy);
        Box::pin(std::future::ready(Ok((id, StoredInbox::default()))))
    }

    fn append(&self, _: Vec<InboxRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn is_volatile(&self) -> bool {
        true
    }
}

/// A new random id.
pub(super) fn fresh_inbox_id(entropy: &dyn crate::env::Entropy) -> InboxId {
    let (high, low) = (entropy.next_u64(), entropy.next_u64());
    InboxId(((u128::from(high) << 64) | u128::from(low)).to_be_bytes())
}
