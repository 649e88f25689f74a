//! What can go wrong with a log, whatever keeps it.

use std::sync::Arc;

use super::files;
use crate::core::ids::SegmentNo;
use crate::journal::Newer;

/// The log has failed under this opening, or is not its own any more: nothing more is promised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogFailure {
    /// A write or a sync failed. What was in flight is in doubt, and a restart recovers what the disk holds.
    #[error(
        "the journal failed and makes no more promises (restart to recover what is on disk): {0}"
    )]
    Disk(Arc<str>),
    /// Somebody else has the log now. What this opening was told to be durable is; what was in flight is in
    /// doubt, and is for the new owner to say.
    #[error("the journal has another owner, and this one makes no more promises: {0}")]
    Fenced(Arc<str>),
    /// Whether what was in flight has arrived, or whose the log is, can't be told.
    #[error("it can't be told what the journal holds: {0}")]
    InDoubt(Arc<str>),
}

impl LogFailure {
    /// What happened, and where.
    pub fn what(&self) -> &Arc<str> {
        match self {
            Self::Disk(what) | Self::Fenced(what) | Self::InDoubt(what) => what,
        }
    }

    /// Whether it may pass, where it is only an answer to [`super::Log::holds`].
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::InDoubt(_))
    }
}

/// A log was not opened.
#[derive(Debug, thiserror::Error)]
pub enum LogOpenError {
    /// The folder or the log in it can't be used.
    #[error(transparent)]
    Files(#[from] files::FolderOpenError),
    /// Somebody else has it, and this store gives way.
    #[error("the journal is in use by another owner: {0}")]
    Held(Arc<str>),
    /// A later version of the program wrote it.
    #[error("the journal is of {0}; run the newer program; nothing was changed")]
    Newer(Newer),
    /// What it holds contradicts itself where no crash makes it so.
    #[error("the journal is damaged: {0}; nothing was changed")]
    Damaged(Arc<str>),
    /// What keeps it can't be reached, or did not do as it was asked.
    #[error("the journal can't be opened: {0}")]
    Unavailable(Arc<str>),
}

impl LogOpenError {
    /// Whether somebody else has it.
    pub fn is_held(&self) -> bool {
        matches!(
            self,
            Self::Held(_) | Self::Files(files::FolderOpenError::Locked { .. })
        )
    }

    /// Whether the log is damaged.
    pub fn is_damaged(&self) -> bool {
        matches!(
            self,
            Self::Damaged(_) | Self::Files(files::FolderOpenError::Corrupt { .. })
        )
    }
}

/// A body or a segment was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogReadError {
    /// The segment was retired meanwhile: what was still needed of it lies elsewhere by now.
    #[error("segment {} is not part of the log any more", .0.0)]
    Gone(SegmentNo),
    /// What stands there is not what was written, and never will be again.
    #[error("{0}")]
    Damaged(Arc<str>),
    /// It could not be read now: another try may succeed.
    #[error("{0}")]
    ForNow(Arc<str>),
}
