//! A file beside the log's folder that says that a log is kept there. It stays where it is when the folder's file
//! system is not mounted, or the folder was deleted: an empty log in its place would look like one that lost everything.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::error::FolderOpenError;
use super::mark::FoundMark;
use crate::env::Disk;
use crate::journal::SlotNo;

/// What follows the folder's name in the name of its marker.
pub const MARKER_SUFFIX: &str = ".leasebridge";

/// For whoever finds the file.
const WORDS: &str = "\
The folder of this name, without the ending, holds a journal of leasebridge. As long as this file is here,
an empty folder is not taken for a new journal: `leasebridge run --new` begins one all the same.
";

/// What an opening does in a folder without a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NewLog {
    /// It begins one.
    #[default]
    Begin,
    /// It begins one, and marks the folder.
    BeginAndMark,
    /// It begins one and marks the folder, unless the folder is marked: then there has been a log, and it is refused.
    UnlessMarked,
    /// It is refused.
    Refuse,
}

impl NewLog {
    /// Refuses a folder without a log where there should be one.
    pub(super) async fn check(self, disk: &dyn Disk, dir: &Path) -> Result<(), FolderOpenError> {
        let missing = |marker| FolderOpenError::Missing {
            dir: dir.to_owned(),
            marker,
        };
        match self {
            Self::Begin | Self::BeginAndMark => Ok(()),
            Self::UnlessMarked => {
                let Some(marker) = marker_of(dir) else {
                    return Ok(());
                };
                if !is_there(disk, &marker).await? || holds_log(disk, dir).await? {
                    return Ok(());
                }
                Err(missing(Some(marker)))
            }
            Self::Refuse if holds_log(disk, dir).await? => Ok(()),
            Self::Refuse => Err(missing(None)),
        }
    }

    /// Marks the folder, in which a log has been begun durably, if it is to be marked and isn't yet.
    pub(super) async fn mark(self, disk: &dyn Disk, dir: &Path) {
        let (Self::BeginAndMark | Self::UnlessMarked) = self else {
            return;
        };
        let Some(marker) = marker_of(dir) else {
            tracing::info!(
                dir = %dir.display(),
                "the journal's folder has no name of its own, so that no marker can stand beside it: set \
                 `require_existing` once there is a journal"
            );
            return;
        };
        if let Err(error) = write(disk, &marker).await {
            tracing::info!(
                marker = %marker.display(),
                %error,
                "the journal's folder can't be marked: if its file system is not mounted at a later start, an empty \
                 journal begins there; `require_existing` refuses that"
            );
        }
    }
}

/// Whether a log has ever been begun in the folder, as far as it shows.
pub(super) async fn holds_log(disk: &dyn Disk, dir: &Path) -> Result<bool, FolderOpenError> {
    let paths = match disk.list(dir).await {
        Ok(paths) => paths,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(FolderOpenError::io("listing", dir, error)),
    };
    let mut names = paths
        .iter()
        .filter_map(|path| path.file_name().and_then(|name| name.to_str()));
    if names.any(|name| SlotNo::from_file_name(name).is_some()) {
        return Ok(true);
    }
    // A mark in which nothing stands was left by an opening that came no further.
    Ok(FoundMark::read(disk, dir, &paths).await?.mark()?.is_some())
}

/// None for a folder that has no name of its own, such as `.` or the root.
fn marker_of(dir: &Path) -> Option<PathBuf> {
    let mut name = OsString::from(dir.file_name()?);
    name.push(MARKER_SUFFIX);
    Some(dir.with_file_name(name))
}

async fn is_there(disk: &dyn Disk, marker: &Path) -> Result<bool, FolderOpenError> {
    match disk.open(marker, false).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        // It may not be written, which nobody asks for.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(true),
        Err(error) => Err(FolderOpenError::io("opening", marker, error)),
    }
}

async fn write(disk: &dyn Disk, marker: &Path) -> io::Result<()> {
    let file = disk.open(marker, true).await?;
    if file.size().await? > 0 {
        return Ok(());
    }
    file.write_at(0, WORDS.as_bytes()).await?;
    file.sync().await?;
    let parent = match marker.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    disk.sync_dir(parent).await
}
