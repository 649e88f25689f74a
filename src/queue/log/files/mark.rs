//! The file that says how far the log went: see [`crate::journal::Mark`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::FolderOpenError;
use crate::env::{Disk, DiskFile};
use crate::journal::{MARK_PAGE_BYTES, MARK_PAGES, Mark, Newer};

/// The file's name.
pub const MARK_FILE: &str = "mark";

/// What stands in a folder's mark, if it has one.
pub(super) struct FoundMark {
    path: PathBuf,
    file: Option<Arc<dyn DiskFile>>,
    newest: Result<Option<(usize, Mark)>, Newer>,
}

/// A mark file that is written. The two pages take turns.
#[derive(Clone)]
pub(super) struct MarkFile {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    /// The page that is written next.
    page: usize,
}

impl FoundMark {
    /// Reads the mark of the folder `dir`, in which the files `paths` are.
    pub(super) async fn read(
        disk: &dyn Disk,
        dir: &Path,
        paths: &[PathBuf],
    ) -> Result<Self, FolderOpenError> {
        let path = dir.join(MARK_FILE);
        if !paths.contains(&path) {
            return Ok(Self {
                path,
                file: None,
                newest: Ok(None),
            });
        }
        let read = read(disk, &path).await;
        let (file, bytes) = read.map_err(|error| FolderOpenError::io("reading", &path, error))?;
        Ok(Self {
            path,
            file: Some(file),
            newest: Mark::newest(&bytes),
        })
    }

    /// The newest mark that can be read.
    pub(super) fn mark(&self) -> Result<Option<&Mark>, FolderOpenError> {
        match &self.newest {
            Ok(newest) => Ok(newest.as_ref().map(|(_, mark)| mark)),
            Err(what) => Err(FolderOpenError::Newer {
                path: self.path.clone(),
                what: *what,
            }),
        }
    }

    /// The file, made if it is not there; its name is durable when the folder is synced next.
    pub(super) async fn to_write(&self, disk: &dyn Disk) -> Result<MarkFile, FolderOpenError> {
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => {
                let made = disk.open(&self.path, true).await;
                made.map_err(|error| FolderOpenError::io("making", &self.path, error))?
            }
        };
        // What is torn now must not be the newest.
        let newest = self.newest.ok().flatten();
        Ok(MarkFile {
            path: self.path.clone(),
            file,
            page: newest.map_or(0, |(page, _)| other(page)),
        })
    }
}

impl MarkFile {
    /// Makes `mark` the newest, durably. From the first one on the file has its full size: a log that is closed on a
    /// full disk needs no room for the mark that says so.
    ///
    /// # Errors
    /// What was being done, and what the system said.
    pub(super) async fn write(&self, mark: &Mark) -> Result<(), (&'static str, io::Error)> {
        let filled = fill(&*self.file).await;
        filled.map_err(|error| ("making", error))?;
        let at = (self.page * MARK_PAGE_BYTES) as u64;
        let written = self.file.write_at(at, &mark.encode()).await;
        written.map_err(|error| ("writing", error))?;
        self.file.sync().await.map_err(|error| ("syncing", error))
    }

    /// The file, for the mark after the one that was written.
    pub(super) fn turned(&self) -> Self {
        Self {
            page: other(self.page),
            ..self.clone()
        }
    }

    /// Whether the next opening will find this file.
    pub(super) async fn is_in_place(&self) -> io::Result<bool> {
        self.file.is_at(&self.path).await
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Writes zeros up to the full size. A page that was not whole held no mark.
async fn fill(file: &dyn DiskFile) -> io::Result<()> {
    const WHOLE: u64 = (MARK_PAGES * MARK_PAGE_BYTES) as u64;
    let size = file.size().await?;
    let missing = usize::try_from(WHOLE.saturating_sub(size)).unwrap_or_default();
    match missing {
        0 => Ok(()),
        missing => file.write_at(size, &vec![0; missing]).await,
    }
}

fn other(page: usize) -> usize {
    if planted!(Bug::MarkPageReused) {
        return page;
    }
    MARK_PAGES - 1 - page
}

async fn read(disk: &dyn Disk, path: &Path) -> io::Result<(Arc<dyn DiskFile>, Vec<u8>)> {
    let file = disk.open(path, false).await?;
    let mut bytes = vec![0; MARK_PAGES * MARK_PAGE_BYTES];
    let count = file.read_at(0, &mut bytes).await?;
    bytes.truncate(count);
    Ok((file, bytes))
}
