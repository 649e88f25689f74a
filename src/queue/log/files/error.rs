//! What can go wrong with the files, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::core::ids::SegmentNo;
use crate::journal::{Corruption, Newer, RecoveryError};

/// A log was not opened. Unless it says otherwise, nothing in its folder was changed.
#[derive(Debug, thiserror::Error)]
pub enum FolderOpenError {
    /// Somebody has it open.
    #[error("the journal in {} is in use by another process; stop that one first", dir.display())]
    Locked {
        /// The journal's folder.
        dir: PathBuf,
    },
    /// The folder or a file in it may not be written.
    #[error("{} can't be written: {source}; give this user the right to, or choose another folder", path.display())]
    NotWritable {
        /// What can't be written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A later version of the program wrote it.
    #[error("{} is of {what}; run the newer program; nothing was changed", path.display())]
    Newer {
        /// The file that says so.
        path: PathBuf,
        /// What it says.
        what: Newer,
    },
    /// There is no log, where there should be one.
    #[error(
        "no journal in {}, where {}; is its file system mounted? Nothing was changed; `leasebridge run --new` begins an \
         empty journal there", dir.display(), expected(marker)
    )]
    Missing {
        /// The folder without a log.
        dir: PathBuf,
        /// The file beside it that says that there has been one; none if the options say so.
        marker: Option<PathBuf>,
    },
    /// There is a log, where a new one is to be written.
    #[error("there is a journal in {} already; name another folder, or remove that one", dir.display())]
    Taken {
        /// The folder.
        dir: PathBuf,
    },
    /// A salvage into this folder was broken off.
    #[error(
        "the journal in {} is not whole: writing it was broken off; remove the folder, and salvage again", dir.display()
    )]
    Unfinished {
        /// The folder.
        dir: PathBuf,
    },
    /// There is no log to look at.
    #[error("no journal in {}; name the folder that `data` of the configuration names", dir.display())]
    NoLog {
        /// The folder without a log.
        dir: PathBuf,
    },
    /// The log is damaged where no power cut damages it.
    #[error(
        "the journal in {0} is damaged: {damage}; nothing was changed; \
         see `leasebridge journal inspect {0}`, and `leasebridge journal salvage {0}` to read on behind it into a \
         new journal", dir.display()
    )]
    Corrupt {
        /// The journal's folder.
        dir: PathBuf,
        /// The first damage.
        damage: Corruption,
    },
    /// Not even one more segment fits.
    #[error(
        "no space for a journal segment of {needed} bytes in {}: {source}; free some and start again",
        dir.display()
    )]
    NoSpace {
        /// The journal's folder.
        dir: PathBuf,
        /// Bytes of a segment.
        needed: u64,
        /// What the system said.
        source: io::Error,
    },
    /// Any other failure. If it happened while the new segment was made ready, a spare file may have
    /// been added; the log itself is as it was.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was being done, as in "reading".
        doing: &'static str,
        /// The file or folder that it was done to.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl FolderOpenError {
    pub(super) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotWritable { path, source }
            }
            _ => Self::Io {
                doing,
                path,
                source,
            },
        }
    }

    pub(super) fn recovery(dir: &Path, error: RecoveryError) -> Self {
        match error {
            RecoveryError::Corrupt(damage) => Self::Corrupt {
                dir: dir.to_owned(),
                damage,
            },
            RecoveryError::Newer { slot, what } => Self::Newer {
                path: dir.join(slot.to_string()),
                what,
            },
        }
    }
}

fn expected(marker: &Option<PathBuf>) -> String {
    match marker {
        Some(marker) => format!("there has been one, as {} says", marker.display()),
        None => "`require_existing` wants one".to_owned(),
    }
}

/// A write or a sync failed, now or earlier in this opening. Whether what it carried is on the disk is
/// in doubt; the next opening finds out.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{doing} {}: {source}; the journal takes nothing more until it is opened again", path.display())]
pub struct DiskFailure {
    /// What was being done, as in "syncing".
    pub doing: &'static str,
    /// The file that it was done to.
    pub path: PathBuf,
    /// What the system said.
    pub source: Arc<io::Error>,
}

/// A spare segment was not made.
#[derive(Debug, thiserror::Error)]
pub enum SpareError {
    /// The file system has no room for one. Nothing was left behind; ask again later.
    #[error("no space for another segment")]
    NoSpace,
    /// No file can be opened just now. Nothing was done; ask again later.
    #[error("no file can be opened for another segment: {0}")]
    Exhausted(io::Error),
    /// The disk failed, which ends this opening.
    #[error(transparent)]
    Io(io::Error),
}

impl From<DiskFailure> for SpareError {
    fn from(failure: DiskFailure) -> Self {
        Self::Io(io::Error::new(failure.source.kind(), failure))
    }
}

/// A body or a segment was not read.
#[derive(Debug, thiserror::Error)]
pub enum FolderReadError {
    /// The segment was retired meanwhile: what was still needed of it lies elsewhere by now.
    #[error("segment {} is not part of the log any more", .0.0)]
    Gone(SegmentNo),
    /// What stands there is not what was written.
    #[error(
        "the journal in {0} is damaged: {damage}; see `leasebridge journal verify {0}`",
        dir.display()
    )]
    Damaged {
        /// The journal's folder.
        dir: PathBuf,
        /// Where and how.
        damage: Corruption,
    },
    /// The disk gave nothing.
    #[error("reading {}: {source}", path.display())]
    Io {
        /// The segment's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The disk failed before.
    #[error(transparent)]
    Failed(#[from] DiskFailure),
}
