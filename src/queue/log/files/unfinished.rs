//! A folder in which a log is being written by something other than an opening, and is not whole yet.

use std::path::Path;

use super::error::FolderOpenError;
use crate::env::Disk;

/// The file that says so. Whoever finds it beside a log takes neither.
const UNFINISHED_FILE: &str = "unfinished";

/// Says durably that what follows in `dir` is not whole.
pub(super) async fn begin(disk: &dyn Disk, dir: &Path) -> Result<(), FolderOpenError> {
    let path = dir.join(UNFINISHED_FILE);
    let made = async {
        disk.create_dir_all(dir).await?;
        disk.open(&path, true).await?.sync().await?;
        disk.sync_dir(dir).await
    };
    made.await
        .map_err(|error| FolderOpenError::io("making", &path, error))
}

/// Says durably that it is.
pub(super) async fn end(disk: &dyn Disk, dir: &Path) -> Result<(), FolderOpenError> {
    let path = dir.join(UNFINISHED_FILE);
    let removed = async {
        disk.remove(&path).await?;
        disk.sync_dir(dir).await
    };
    removed
        .await
        .map_err(|error| FolderOpenError::io("removing", &path, error))
}

/// Refuses a folder whose log is not whole.
pub(super) async fn check(disk: &dyn Disk, dir: &Path) -> Result<(), FolderOpenError> {
    match disk.list(dir).await {
        Ok(paths) if paths.contains(&dir.join(UNFINISHED_FILE)) => {
            let dir = dir.to_owned();
            Err(FolderOpenError::Unfinished { dir })
        }
        // What else is wrong with it, whoever reads it finds out.
        _ => Ok(()),
    }
}
