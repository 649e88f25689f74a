//! The seam's traits over the simulated disk.
//!
//! Every future begins its operation when it is first polled, waits out the drawn delay, and
//! finishes it if the process still lives; else it ends as [`super::AfterDeath`] says.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use leasebridge::env::{BoxFuture, Disk, DiskFile, DiskLock, LockError};

use super::names::{Inode, NameChange};
use super::state::{Begun, Dead, DiskState, ProcessNo};
use super::{AfterDeath, SimDisk};

impl SimDisk {
    /// Sees a begun operation through: the delay, then `finish`, unless the process died meanwhile.
    async fn complete<T, L>(
        &self,
        life: ProcessNo,
        begun: Result<Begun<T, L>, Dead>,
        finish: impl FnOnce(&mut DiskState, L) + Send,
    ) -> io::Result<T> {
        let Ok(Begun {
            result,
            delay,
            left,
        }) = begun
        else {
            return self.dead().await;
        };
        match delay {
            Some(delay) => self.wait(delay).await,
            None => self.gate.passed().await,
        }
        let finished = {
            let mut state = self.state();
            let alive = state.alive(life);
            if alive.is_ok() {
                finish(&mut state, left);
            }
            alive
        };
        match finished {
            Ok(()) => result,
            Err(Dead) => self.dead().await,
        }
    }

    async fn dead<T>(&self) -> io::Result<T> {
        match self.death {
            AfterDeath::Hang => std::future::pending().await,
            AfterDeath::Fail => Err(io::Error::other("the process that uses this disk has died")),
        }
    }

    async fn wait(&self, delay: Duration) {
        match &self.clock {
            Some(clock) => clock.sleep(delay).await,
            None => {
                yield_once().await;
                self.gate.passed().await;
            }
        }
    }

    /// The process that calls now.
    fn life_now(&self) -> ProcessNo {
        self.state().life()
    }
}

/// Lets every other task have a turn.
async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(move |cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Disk for SimDisk {
    fn run(&self, name: &str, driver: BoxFuture<'static, ()>) -> io::Result<()> {
        self.spawner.spawn(name, driver)
    }

    fn open<'a>(
        &'a self,
        path: &'a Path,
        create: bool,
    ) -> BoxFuture<'a, io::Result<Arc<dyn DiskFile>>> {
        Box::pin(async move {
            self.gate.opened().await;
            let life = self.life_now();
            let begun = self.state().open(life, path, create);
            let inode = self.complete(life, begun, |_, ()| {}).await?;
            Ok(Arc::new(SimFile {
                disk: self.clone(),
                life,
                inode,
                path: path.to_path_buf(),
            }) as Arc<dyn DiskFile>)
        })
    }

    fn list<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<Vec<PathBuf>>> {
        Box::pin(async move {
            self.gate.opened().await;
            let listed = {
                let state = self.state();
                let alive = state.alive(state.life());
                alive.map(|()| {
                    state.names.need_dir(dir)?;
                    let all = state.names.files().map(|(path, _)| path);
                    Ok(all.filter(|p| p.parent() == Some(dir)).cloned().collect())
                })
            };
            match listed {
                Ok(paths) => paths,
                Err(Dead) => self.dead().await,
            }
        })
    }

    fn create_dir_all<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.gate.opened().await;
            let life = self.life_now();
            let begun = self.state().make_dirs(life, dir);
            self.complete(life, begun, |_, ()| {}).await
        })
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        let change = NameChange::Rename {
            from: from.to_path_buf(),
            to: to.to_path_buf(),
        };
        Box::pin(async move {
            self.gate.opened().await;
            let life = self.life_now();
            let begun = self.state().rename_or_remove(life, change);
            self.complete(life, begun, |_, ()| {}).await
        })
    }

    fn remove<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        let change = NameChange::Remove {
            path: path.to_path_buf(),
        };
        Box::pin(async move {
            self.gate.opened().await;
            let life = self.life_now();
            let begun = self.state().rename_or_remove(life, change);
            self.complete(life, begun, |_, ()| {}).await
        })
    }

    fn sync_dir<'a>(&'a self, dir: &'a Path) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.gate.opened().await;
            let life = self.life_now();
            let begun = self.state().begin_sync_dir(life, dir);
            self.complete(life, begun, |state, left| state.finish_sync_dir(dir, left))
                .await
        })
    }

    /// Asks the state alone: it takes no turn and no time, and no fault strikes it.
    fn free_bytes<'a>(&'a self, _dir: &'a Path) -> BoxFuture<'a, io::Result<u64>> {
        Box::pin(async move { Ok(self.state().free_bytes()) })
    }

    fn pause(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(self.wait(duration))
    }

    fn lock<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<Box<dyn DiskLock>, LockError>> {
        Box::pin(async move {
            self.gate.opened().await;
            let life = self.life_now();
            let begun = self.state().lock(life, path);
            let opened = begun.as_ref().ok().and_then(|begun| begun.left);
            let lock = self.complete(life, begun, |_, _| {}).await?;
            let inode = opened.expect("a lock that could be opened has a file");
            let Some(lock) = lock else {
                self.state().close(life, inode);
                return Err(LockError::Held);
            };
            Ok(Box::new(SimLock {
                disk: self.clone(),
                life,
                inode,
                path: path.to_path_buf(),
                lock,
            }) as Box<dyn DiskLock>)
        })
    }
}

/// An open file of one process.
struct SimFile {
    disk: SimDisk,
    life: ProcessNo,
    inode: Inode,
    path: PathBuf,
}

impl SimFile {
    fn place(&self) -> (Inode, &Path) {
        (self.inode, &self.path)
    }
}

impl DiskFile for SimFile {
    fn read_at<'a>(
        &'a self,
        offset: u64,
        buffer: &'a mut [u8],
    ) -> BoxFuture<'a, io::Result<usize>> {
        Box::pin(async move {
            self.disk.gate.opened().await;
            let begun = self
                .disk
                .state()
                .read(self.life, self.place(), offset, buffer);
            self.disk.complete(self.life, begun, |_, ()| {}).await
        })
    }

    fn write_at<'a>(&'a self, offset: u64, data: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.disk.gate.opened().await;
            let begun = self
                .disk
                .state()
                .begin_write(self.life, self.place(), offset, data);
            self.disk.gate.busy();
            let finish =
                |state: &mut DiskState, left: Vec<u64>| state.finish_changes(self.inode, &left);
            self.disk.complete(self.life, begun, finish).await
        })
    }

    fn sync(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            self.disk.gate.opened().await;
            let begun = self
                .disk
                .state()
                .begin_sync(self.life, self.inode, &self.path);
            self.disk.gate.busy();
            self.disk
                .complete(self.life, begun, |state, left| {
                    state.finish_sync(self.inode, left);
                })
                .await
        })
    }

    fn size(&self) -> BoxFuture<'_, io::Result<u64>> {
        Box::pin(async move {
            self.disk.gate.opened().await;
            let size = {
                let mut state = self.disk.state();
                let alive = state.alive(self.life);
                alive.map(|()| state.size(self.inode))
            };
            match size {
                Ok(size) => Ok(size),
                Err(Dead) => self.disk.dead().await,
            }
        })
    }

    fn set_size(&self, size: u64) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            self.disk.gate.opened().await;
            let begun = self
                .disk
                .state()
                .begin_resize(self.life, self.place(), size);
            let finish = |state: &mut DiskState, left: Option<u64>| {
                state.finish_changes(self.inode, left.as_slice());
            };
            self.disk.complete(self.life, begun, finish).await
        })
    }
    fn is_at<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<bool>> {
        Box::pin(leads_to(&self.disk, self.life, self.inode, path))
    }
}

/// Whether `path` leads to this file.
async fn leads_to(disk: &SimDisk, life: ProcessNo, inode: Inode, path: &Path) -> io::Result<bool> {
    disk.gate.opened().await;
    let found = {
        let state = disk.state();
        let alive = state.alive(life);
        alive.map(|()| state.names.find(path) == Some(inode))
    };
    match found {
        Ok(found) => Ok(found),
        Err(Dead) => disk.dead().await,
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.disk.state().close(self.life, self.inode);
    }
}

/// A held lock of one process.
struct SimLock {
    disk: SimDisk,
    life: ProcessNo,
    inode: Inode,
    path: PathBuf,
    lock: u64,
}

impl DiskLock for SimLock {
    fn is_at<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, io::Result<bool>> {
        Box::pin(leads_to(&self.disk, self.life, self.inode, path))
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        state.unlock(&self.path, self.lock);
        state.close(self.life, self.inode);
    }
}
