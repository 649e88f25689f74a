//! Files as the library sees them: positioned reads and writes, explicit syncs, and a place to run
//! the code that waits for them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::BoxFuture;

/// The disk seam.
///
/// Every future here may take real time. In the real world it blocks the thread that polls it, so
/// **poll these futures only inside a driver started with [`Disk::run`]**: a thread of its own there,
/// a simulated task in the simulator. Nothing here is cancel safe once polled; a driver runs each
/// operation to its end.
pub trait Disk: Send + Sync + 'static {
    /// Runs `driver` where waiting for the disk hurts nobody. Returns at once; the driver reports
    /// through channels of its own.
    ///
    /// # Errors
    /// When no thread can be started.
    fn run(&self, name: &str, driver: BoxFuture<'static, ()>) -> io::Result<()>;

    /// Opens a file for reading and writing, or, on a file system that is read-only, for reading; with `create`, makes it if it isn't there, for its owner alone.
    fn open<'a>(
        &'a self,
        path: &'a Path,
        create: bool,
    ) -> BoxFuture<'a, io::Result<Arc<dyn DiskFile>>>;

    /// The paths of the files directly inside `dir`, sorted by name.
    fn list<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<Vec<PathBuf>>>;

    /// Makes `dir` and its parents, as far as they aren't there, for their owner alone.
    fn create_dir_all<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<()>>;

    /// Renames a file within its file system, replacing what stands at `to`. Durable only after
    /// [`Disk::sync_dir`].
    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>>;

    /// Removes a file. Durable only after [`Disk::sync_dir`].
    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>>;

    /// Makes the directory's entries durable.
    fn sync_dir<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<()>>;

    /// Bytes that may still be written to the file system of `dir`, as it says itself. Others may write there too.
    fn free_bytes<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<u64>>;

    /// Waits inside a driver: as long as this, and for nothing else.
    fn pause(&self, duration: Duration) -> BoxFuture<'_, ()>;

    /// Takes the exclusive advisory lock on `path`, creating the file if needed, without waiting.
    /// Held until the returned guard is dropped or the process dies.
    fn lock<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Box<dyn DiskLock>, LockError>>;
}

/// An open file.
pub trait DiskFile: Send + Sync + 'static {
    /// Fills `buffer` from `offset`; fewer bytes only at the end of the file. Returns the count.
    fn read_at<'a>(&'a self, offset: u64, buffer: &'a mut [u8])
    -> BoxFuture<'a, io::Result<usize>>;

    /// Writes all of `data` at `offset`, growing the file if needed. Not durable before
    /// [`DiskFile::sync`]; after an error any part of it may have been written.
    fn write_at<'a>(&'a self, offset: u64, data: &'a [u8]) -> BoxFuture<'a, io::Result<()>>;

    /// Makes all completed writes durable (`fdatasync`). After an error nothing may be assumed about
    /// any write since the last successful sync, and trying again proves nothing.
    fn sync(&self) -> BoxFuture<'_, io::Result<()>>;

    /// The file's size in bytes.
    fn size(&self) -> BoxFuture<'_, io::Result<u64>>;

    /// Cuts or extends (with zeros) the file to `size` bytes.
    fn set_size(&self, size: u64) -> BoxFuture<'_, io::Result<()>>;

    /// Whether whoever opens `path` now finds this file. An open file goes on taking writes after it, its folder or the
    /// file system below it was removed, renamed or hidden by another one; nobody finds them then.
    fn is_at<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<bool>>;
}

/// Whether an operation that failed so did nothing, because the process or the system has used up what comes back by
/// itself: descriptors, memory, threads. Only asked of operations that come before any write, such as an opening: tried
/// again later, they do all that they were to do.
pub fn is_exhausted(error: &io::Error) -> bool {
    /// As Linux, macOS and the BSDs number them: the system's files, and the process's.
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
        || matches!(
            error.kind(),
            io::ErrorKind::OutOfMemory | io::ErrorKind::WouldBlock
        )
}

/// Whether the file system, or the user's share of it, is full, or files may not grow any more (`ulimit -f`).
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// Proof of a held lock; dropping it releases the lock.
pub trait DiskLock: Send + Sync + 'static {
    /// Whether whoever locks `path` now asks for this lock, as [`DiskFile::is_at`].
    fn is_at<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<bool>>;
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else holds it.
    #[error("locked by another process")]
    Held,
    /// The lock file could not be opened or locked.
    #[error(transparent)]
    Io(#[from] io::Error),
}
