//! What stands behind `leasebridge journal`: looking at a log that nobody has open, and going on
//! without the part of it that is damaged.
//!
//! Only [`repair`] changes anything, and only after what it takes out was copied aside and synced; [`salvage`] writes a log
//! of its own. All
//! of it is polled inside drivers, like everything in [`super`].

mod dump;
mod inspect;
mod json;
mod repair;
mod salvage;
mod tail;

use std::io;
use std::path::Path;

use super::error::FolderOpenError;
use super::folder::{Folder, LOCK_FILE};
use super::marker::holds_log;
use super::unfinished;
use crate::core::Event;
use crate::core::event::Base;
use crate::env::{Disk, DiskLock, LockError};
use crate::journal::{Fold, Recovered};

pub use dump::{Dumped, dump};
pub use inspect::{Inspection, SlotInspection, SlotRole, inspect};
pub use repair::{LOST_TASKS_MAX, Lost, LostTask, Repair, repair};
pub use salvage::{LogGap, Salvage, salvage};

/// Takes every event as it comes: checks the log's bytes and nothing about what they say.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnyEvents;

impl Fold for AnyEvents {
    fn base(&mut self, _base: Base) -> Result<(), String> {
        Ok(())
    }

    fn event(&mut self, _event: Event) -> Result<(), String> {
        Ok(())
    }
}

/// Reads and checks all of a log, down to what `fold` says about its events.
///
/// # Errors
/// [`FolderOpenError::NoLog`] for a folder without one; the first damage as [`FolderOpenError::Corrupt`]; [`FolderOpenError::Locked`] if somebody has the log open.
pub async fn verify(
    disk: &dyn Disk,
    dir: &Path,
    fold: &mut (dyn Fold + Send),
) -> Result<Recovered, FolderOpenError> {
    let _lock = lock_if_there(disk, dir).await?;
    existing(disk, dir).await?.recover(fold).await
}

/// Opens a folder that holds a log.
async fn existing(disk: &dyn Disk, dir: &Path) -> Result<Folder, FolderOpenError> {
    unfinished::check(disk, dir).await?;
    let folder = Folder::open(disk, dir).await?;
    if holds_log(disk, dir).await? {
        return Ok(folder);
    }
    let dir = dir.to_owned();
    Err(FolderOpenError::NoLog { dir })
}

/// Whether somebody has the log open.
async fn is_in_use(disk: &dyn Disk, dir: &Path) -> Result<bool, FolderOpenError> {
    match lock_if_there(disk, dir).await {
        Ok(_) => Ok(false),
        Err(FolderOpenError::Locked { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Takes the lock without making its file: no file, nobody who holds it.
async fn lock_if_there(
    disk: &dyn Disk,
    dir: &Path,
) -> Result<Option<Box<dyn DiskLock>>, FolderOpenError> {
    let paths = disk.list(dir).await;
    let paths = paths.map_err(|error| FolderOpenError::io("listing", dir, error))?;
    let path = dir.join(LOCK_FILE);
    if !paths.contains(&path) {
        return Ok(None);
    }
    match disk.lock(&path).await {
        Ok(lock) => Ok(Some(lock)),
        Err(LockError::Held) => Err(FolderOpenError::Locked {
            dir: dir.to_owned(),
        }),
        // Where nothing can be written nobody writes.
        Err(LockError::Io(error)) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(None),
        Err(LockError::Io(error)) => Err(FolderOpenError::io("locking", &path, error)),
    }
}
