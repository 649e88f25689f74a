//! Files on a real disk: a death leaves what the kernel has, which is all that was written.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it damages real files behind the log's back"
)]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leasebridge::env::real::StdDisk;
use leasebridge::env::{BoxFuture, Disk, DiskFile, DiskLock, LockError};
use leasebridge::queue::log::LogStore;
use leasebridge::queue::log::files::FolderStore;

use super::fixture::{Fate, Life, LogFixture, Turn, finishes};

/// Nothing of the last operation is done, half of what it writes, or all.
const WAYS: u64 = 3;

/// What the next write or sync comes to.
const FINE: u8 = 0;
const WRITE_FAILS: u8 = 1;
const SYNC_FAILS: u8 = 2;

/// A folder on the machine's disk.
pub(crate) struct RealFixture {
    folder: tempfile::TempDir,
    process: Mutex<Arc<Process>>,
}

#[derive(Debug, Default)]
struct Process {
    fate: Fate,
    fails: AtomicU8,
}

/// The machine's disk as a mortal process sees it.
struct MortalDisk(Arc<Process>);

struct MortalFile {
    process: Arc<Process>,
    file: Arc<dyn DiskFile>,
}

impl Process {
    /// Runs one operation, unless the process is dead. Dying, it does the operation in the last way alone.
    async fn lives<T>(&self, operation: BoxFuture<'_, T>) -> T {
        match self.fate.turn() {
            Turn::Goes => operation.await,
            Turn::Last(way) => {
                if way == WAYS - 1 {
                    operation.await;
                }
                std::future::pending().await
            }
            Turn::Never => std::future::pending().await,
        }
    }

    /// Whether this kind of operation is the one that fails.
    fn strikes(&self, kind: u8) -> bool {
        let struck = self
            .fails
            .compare_exchange(kind, FINE, Ordering::SeqCst, Ordering::SeqCst);
        struck.is_ok()
    }
}

impl RealFixture {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            process: Mutex::default(),
        }
    }

    fn process(&self) -> Arc<Process> {
        Arc::clone(&self.process.lock().unwrap())
    }
}

impl LogFixture for RealFixture {
    fn store(&self) -> Arc<dyn LogStore> {
        let disk = MortalDisk(self.process());
        Arc::new(FolderStore::new(Arc::new(disk), self.folder.path()))
    }

    fn die_at(&self, operation: u64, way: u64) {
        self.process().fate.die_at(operation, way);
    }

    fn live(&self, life: Life<'_>) -> bool {
        finishes(life)
    }

    fn bury(&self, _way: u64) {
        *self.process.lock().unwrap() = Arc::default();
    }

    fn ways(&self) -> u64 {
        WAYS
    }

    fn stride(&self) -> u64 {
        11
    }

    fn break_append(&self, arrived: bool) {
        let fails = match arrived {
            true => SYNC_FAILS,
            false => WRITE_FAILS,
        };
        self.process().fails.store(fails, Ordering::SeqCst);
    }

    fn rot(&self) {
        let path = self.path("000002.seg");
        let mut byte = [0];
        let file = File::open(&path).unwrap();
        file.read_exact_at(&mut byte, 9000).unwrap();
        byte[0] ^= 8;
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&byte, 9000).unwrap();
    }

    fn lose_oldest(&self) {
        fs::remove_file(self.path("000001.seg")).unwrap();
    }
}

impl RealFixture {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Disk for MortalDisk {
    fn run(&self, name: &str, driver: BoxFuture<'static, ()>) -> io::Result<()> {
        StdDisk.run(name, driver)
    }

    fn open<'a>(
        &'a self,
        path: &'a Path,
        create: bool,
    ) -> BoxFuture<'a, io::Result<Arc<dyn DiskFile>>> {
        Box::pin(async move {
            let file = self.0.lives(StdDisk.open(path, create)).await?;
            let process = Arc::clone(&self.0);
            Ok(Arc::new(MortalFile { process, file }) as Arc<dyn DiskFile>)
        })
    }

    fn list<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<Vec<PathBuf>>> {
        Box::pin(self.0.lives(StdDisk.list(dir)))
    }

    fn create_dir_all<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(self.0.lives(StdDisk.create_dir_all(dir)))
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(self.0.lives(StdDisk.rename(from, to)))
    }

    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(self.0.lives(StdDisk.remove(path)))
    }

    fn sync_dir<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(self.0.lives(StdDisk.sync_dir(dir)))
    }

    fn free_bytes<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<u64>> {
        Box::pin(self.0.lives(StdDisk.free_bytes(dir)))
    }

    fn pause(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move { StdDisk.pause(duration).await })
    }

    fn lock<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Box<dyn DiskLock>, LockError>> {
        Box::pin(self.0.lives(StdDisk.lock(path)))
    }
}

impl DiskFile for MortalFile {
    fn read_at<'a>(
        &'a self,
        offset: u64,
        buffer: &'a mut [u8],
    ) -> BoxFuture<'a, io::Result<usize>> {
        Box::pin(self.process.lives(self.file.read_at(offset, buffer)))
    }

    fn write_at<'a>(&'a self, offset: u64, data: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            if self.process.strikes(WRITE_FAILS) {
                return Err(io::Error::from_raw_os_error(5));
            }
            match self.process.fate.turn() {
                Turn::Goes => return self.file.write_at(offset, data).await,
                Turn::Last(0) | Turn::Never => {}
                Turn::Last(1) => {
                    let half = &data[..data.len() / 2];
                    self.file.write_at(offset, half).await?;
                }
                Turn::Last(_) => self.file.write_at(offset, data).await?,
            }
            std::future::pending().await
        })
    }

    fn sync(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            self.process.lives(self.file.sync()).await?;
            match self.process.strikes(SYNC_FAILS) {
                true => Err(io::Error::from_raw_os_error(5)),
                false => Ok(()),
            }
        })
    }

    fn size(&self) -> BoxFuture<'_, io::Result<u64>> {
        Box::pin(self.process.lives(self.file.size()))
    }

    fn set_size(&self, size: u64) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(self.process.lives(self.file.set_size(size)))
    }

    fn is_at<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<bool>> {
        Box::pin(self.process.lives(self.file.is_at(path)))
    }
}
