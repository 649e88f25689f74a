//! Files through `std`, each driver on a thread of its own.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use super::reserve;
use crate::env::{BoxFuture, Disk, DiskFile, DiskLock, LockError, is_exhausted};

/// The file system of the machine. Its futures do their work when polled, blocking their thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdDisk;

/// Who may use a file that is made here: its owner. Commands and results are nobody else's.
const FILE_MODE: u32 = 0o600;

/// Who may use a folder that is made here: its owner.
const DIR_MODE: u32 = 0o700;

/// The pause before a folder is opened again that could not be for want of descriptors.
const AGAIN: Duration = Duration::from_millis(100);

/// Opens, if need be with a descriptor that was kept for this.
fn opened(open: impl Fn() -> io::Result<File>) -> io::Result<File> {
    match open() {
        Err(error) if is_exhausted(&error) && reserve::release_one() => open(),
        opened => {
            reserve::refill();
            opened
        }
    }
}

/// Wakes the driver's thread from its sleep.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls `driver` to its end on this thread, sleeping while it waits for callers.
fn block_on(mut driver: BoxFuture<'static, ()>) {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    while driver.as_mut().poll(&mut context).is_pending() {
        thread::park();
    }
}

impl Disk for StdDisk {
    fn run(&self, name: &str, driver: BoxFuture<'static, ()>) -> io::Result<()> {
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || block_on(driver))
            .map(drop)
    }

    fn open<'a>(
        &'a self,
        path: &'a Path,
        create: bool,
    ) -> BoxFuture<'a, io::Result<Arc<dyn DiskFile>>> {
        Box::pin(async move {
            let mut options = OpenOptions::new();
            options
                .read(true)
                .write(true)
                .create(create)
                .truncate(false)
                .mode(FILE_MODE);
            let file = match opened(|| options.open(path)) {
                // What can't be written can still be looked at.
                Err(error) if !create && error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                    opened(|| File::open(path))?
                }
                found => found?,
            };
            Ok(Arc::new(StdFile(file)) as Arc<dyn DiskFile>)
        })
    }

    fn list<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<Vec<PathBuf>>> {
        Box::pin(async move {
            let mut paths = Vec::new();
            for entry in fs::read_dir(dir)? {
                let entry = entry?;
                if entry.file_type()?.is_file() {
                    paths.push(entry.path());
                }
            }
            paths.sort();
            Ok(paths)
        })
    }

    fn create_dir_all<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(DIR_MODE)
                .create(dir)
        })
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { fs::rename(from, to) })
    }

    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { fs::remove_file(path) })
    }

    fn sync_dir<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            // Only the opening is tried again: after a failed sync another one proves nothing.
            let folder = loop {
                match opened(|| File::open(dir)) {
                    Err(error) if is_exhausted(&error) => thread::sleep(AGAIN),
                    folder => break folder?,
                }
            };
            folder.sync_all()
        })
    }

    fn free_bytes<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<u64>> {
        Box::pin(async move {
            let of = rustix::fs::statvfs(dir)?;
            Ok(of.f_bavail.saturating_mul(of.f_frsize))
        })
    }

    fn pause(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move { thread::sleep(duration) })
    }

    fn lock<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Box<dyn DiskLock>, LockError>> {
        Box::pin(async move {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(FILE_MODE)
                .open(path)?;
            match file.try_lock() {
                Ok(()) => Ok(Box::new(StdLock(file)) as Box<dyn DiskLock>),
                Err(TryLockError::WouldBlock) => Err(LockError::Held),
                Err(TryLockError::Error(error)) => Err(LockError::Io(error)),
            }
        })
    }
}

/// The lock lives as long as the open file.
struct StdLock(File);

impl DiskLock for StdLock {
    fn is_at<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<bool>> {
        Box::pin(async move { is_at(&self.0, path) })
    }
}

/// Whether the path leads to this file: the same number on the same device.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let held = file.metadata()?;
    Ok((held.dev(), held.ino()) == (found.dev(), found.ino()))
}

struct StdFile(File);

impl DiskFile for StdFile {
    fn read_at<'a>(
        &'a self,
        offset: u64,
        buffer: &'a mut [u8],
    ) -> BoxFuture<'a, io::Result<usize>> {
        Box::pin(async move {
            let mut filled = 0;
            while filled < buffer.len() {
                match self
                    .0
                    .read_at(&mut buffer[filled..], offset + filled as u64)
                {
                    Ok(0) => break,
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(filled)
        })
    }

    fn write_at<'a>(&'a self, offset: u64, data: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move { self.0.write_all_at(data, offset) })
    }

    fn sync(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move { self.0.sync_data() })
    }

    fn size(&self) -> BoxFuture<'_, io::Result<u64>> {
        Box::pin(async move { Ok(self.0.metadata()?.len()) })
    }

    fn set_size(&self, size: u64) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move { self.0.set_len(size) })
    }

    fn is_at<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<bool>> {
        Box::pin(async move { is_at(&self.0, path) })
    }
}
