//! The disk as plain data: files, names, locks, faults and counters, changed by one call at a time.
//!
//! Nothing here waits. An operation is begun (and takes its effect on what reads see), then, after
//! whatever delay was drawn, it is finished, if the process still lives.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::content::{Change, Content, Serial};
use super::faults::{Fault, Faults, Op, OpKind, OpNumber, Strike};
use super::names::{Inode, NameChange, Names};
use super::{DiskStats, FILE_BYTES_MAX, FREE_BYTES_WITHOUT_QUOTA};
use crate::seed::{Draws, Seed};

/// `EIO` and `ENOSPC` as Linux and macOS number them: the product sees the error a real disk gives.
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// Counts the processes that have used the disk: what an older one opened is dead.
pub(super) type Life = u64;

/// The process that asked is dead, or died of this very operation.
#[derive(Debug)]
pub(super) struct Dead;

/// An operation that has begun.
pub(super) struct Begun<T, L> {
    pub(super) result: io::Result<T>,
    pub(super) delay: Option<Duration>,
    /// What is left to do when the delay is over.
    pub(super) left: L,
}

/// What is left of a sync after its delay.
pub(super) struct SyncLeft<C> {
    pub(super) covered: C,
    pub(super) fault: Option<(Fault, Draws)>,
}

#[derive(Clone, Debug, Default)]
struct File {
    content: Content,
    handles: u32,
}

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) names: Names,
    files: BTreeMap<Inode, File>,
    next_inode: Inode,
    locks: BTreeMap<PathBuf, u64>,
    next_lock: u64,
    life: Life,
    dead: bool,
    pub(super) quota: Option<u64>,
    pub(super) crash_at: Option<OpNumber>,
    pub(super) faults: Faults,
    pub(super) stats: DiskStats,
}

impl State {
    pub(super) fn new(seed: Seed) -> Self {
        Self {
            names: Names::default(),
            files: BTreeMap::new(),
            next_inode: 0,
            locks: BTreeMap::new(),
            next_lock: 0,
            life: 0,
            dead: false,
            quota: None,
            crash_at: None,
            faults: Faults::new(seed),
            stats: DiskStats::default(),
        }
    }

    pub(super) fn life(&self) -> Life {
        self.life
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead
    }

    pub(super) fn alive(&self, life: Life) -> Result<(), Dead> {
        if self.dead || self.life != life {
            return Err(Dead);
        }
        Ok(())
    }

    pub(super) fn kill(&mut self) {
        if !self.dead {
            self.dead = true;
            self.stats.deaths += 1;
        }
    }

    /// The next process may come. With draws the power failed as well, and what was pending is
    /// settled; without, the machine and its cache survived.
    pub(super) fn restart(&mut self, mut power_cut: Option<Draws>) {
        self.kill();
        self.dead = false;
        self.life += 1;
        self.crash_at = None;
        self.locks.clear();
        if let Some(draws) = &mut power_cut {
            self.stats.names_undone += self.names.settle(draws);
        }
        for file in self.files.values_mut() {
            file.handles = 0;
            match &mut power_cut {
                Some(draws) => {
                    let settled = file.content.settle(draws);
                    self.stats.writes_kept += settled.kept;
                    self.stats.writes_torn += settled.torn;
                    self.stats.writes_dropped += settled.dropped;
                }
                None => file.content.abandon(),
            }
        }
        self.forget_unreachable();
    }

    pub(super) fn content(&self, path: &Path) -> Option<&Content> {
        let inode = self.names.find(path)?;
        self.files.get(&inode).map(|file| &file.content)
    }

    pub(super) fn content_mut(&mut self, path: &Path) -> Option<&mut Content> {
        let inode = self.names.find(path)?;
        self.files.get_mut(&inode).map(|file| &mut file.content)
    }

    pub(super) fn free_bytes(&self) -> u64 {
        let files = self.files.values();
        let used: u64 = files.map(|file| file.content.len() as u64).sum();
        self.quota
            .unwrap_or(FREE_BYTES_WITHOUT_QUOTA)
            .saturating_sub(used)
    }

    /// Counts an operation and asks what strikes it. The one a crash was set for kills the process;
    /// its effect still goes ahead, and is pending like any other.
    fn enter(&mut self, life: Life, kind: OpKind, path: &Path) -> Result<Strike, Dead> {
        self.alive(life)?;
        let number = self.stats.count(kind);
        let strike = self.faults.strike(&Op { kind, path, number });
        if kind != OpKind::Read && self.crash_at.is_some_and(|at| number >= at) {
            self.kill();
        }
        if let Some((fault, _)) = &strike.fault {
            self.stats.injected(fault.name());
        }
        if strike.delay.is_some() {
            self.stats.injected("slow");
        }
        Ok(strike)
    }

    /// Opens the file at `path`. Counts as an operation only if it makes the file.
    pub(super) fn open(
        &mut self,
        life: Life,
        path: &Path,
        create: bool,
    ) -> Result<Begun<Inode, ()>, Dead> {
        self.alive(life)?;
        let (result, delay) = match self.names.find(path) {
            Some(inode) => (Ok(inode), None),
            None if !create => (Err(not_found(path)), None),
            None => {
                let strike = self.enter(life, OpKind::Create, path)?;
                let result = self.names.need_parent(path).and_then(|()| {
                    name_error(&strike)?;
                    Ok(self.create(path))
                });
                (result, strike.delay)
            }
        };
        if let Some(file) = result.as_ref().ok().and_then(|i| self.files.get_mut(i)) {
            file.handles += 1;
        }
        Ok(Begun {
            result,
            delay,
            left: (),
        })
    }

    fn create(&mut self, path: &Path) -> Inode {
        self.next_inode += 1;
        let inode = self.next_inode;
        self.files.insert(inode, File::default());
        self.names.change(NameChange::Create {
            path: path.to_path_buf(),
            inode,
        });
        inode
    }

    pub(super) fn close(&mut self, life: Life, inode: Inode) {
        if self.life != life {
            return;
        }
        if let Some(file) = self.files.get_mut(&inode) {
            file.handles = file.handles.saturating_sub(1);
        }
        self.forget_unreachable();
    }

    fn forget_unreachable(&mut self) {
        let names = &self.names;
        self.files
            .retain(|inode, file| file.handles > 0 || names.refers_to(*inode));
    }

    /// A change of the directory.
    pub(super) fn rename_or_remove(
        &mut self,
        life: Life,
        change: NameChange,
    ) -> Result<Begun<(), ()>, Dead> {
        let (kind, path, to) = match &change {
            NameChange::Rename { from, to } => (OpKind::Rename, from, Some(to)),
            NameChange::Create { path, .. } | NameChange::Remove { path } => {
                (OpKind::Remove, path, None)
            }
        };
        let strike = self.enter(life, kind, path)?;
        let allowed = match (self.names.find(path), to) {
            (None, _) => Err(not_found(path)),
            (Some(_), Some(to)) => self.names.need_parent(to),
            (Some(_), None) => Ok(()),
        };
        let result = allowed.and_then(|()| name_error(&strike));
        if result.is_ok() {
            self.names.change(change);
            self.forget_unreachable();
        }
        Ok(Begun {
            result,
            delay: strike.delay,
            left: (),
        })
    }

    pub(super) fn make_dirs(&mut self, life: Life, dir: &Path) -> Result<Begun<(), ()>, Dead> {
        let strike = self.enter(life, OpKind::MakeDir, dir)?;
        self.names.make_dirs(dir);
        Ok(Begun {
            result: Ok(()),
            delay: strike.delay,
            left: (),
        })
    }

    pub(super) fn begin_sync_dir(
        &mut self,
        life: Life,
        dir: &Path,
    ) -> Result<Begun<(), SyncLeft<()>>, Dead> {
        let strike = self.enter(life, OpKind::SyncDir, dir)?;
        let result = self.names.need_dir(dir).and_then(|()| sync_result(&strike));
        Ok(Begun {
            result,
            delay: strike.delay,
            left: SyncLeft {
                covered: (),
                fault: strike.fault,
            },
        })
    }

    pub(super) fn finish_sync_dir(&mut self, dir: &Path, left: SyncLeft<()>) {
        match left.fault {
            None => self.names.sync(dir),
            Some((Fault::SyncError, mut draws)) => self.names.fail_sync(&mut draws),
            Some(_) => {}
        }
        self.forget_unreachable();
    }

    pub(super) fn begin_sync(
        &mut self,
        life: Life,
        inode: Inode,
        path: &Path,
    ) -> Result<Begun<(), SyncLeft<Vec<Serial>>>, Dead> {
        let strike = self.enter(life, OpKind::Sync, path)?;
        let covered = self.file(inode).content.to_sync();
        Ok(Begun {
            result: sync_result(&strike),
            delay: strike.delay,
            left: SyncLeft {
                covered,
                fault: strike.fault,
            },
        })
    }

    pub(super) fn finish_sync(&mut self, inode: Inode, left: SyncLeft<Vec<Serial>>) {
        let content = &mut self.file(inode).content;
        match left.fault {
            None => content.commit(&left.covered),
            Some((Fault::SyncError, mut draws)) => content.fail_sync(&mut draws),
            Some(_) => {}
        }
    }

    pub(super) fn read(
        &mut self,
        life: Life,
        (inode, path): (Inode, &Path),
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<Begun<usize, ()>, Dead> {
        let strike = self.enter(life, OpKind::Read, path)?;
        let result = if strike.fault.is_some() {
            Err(io::Error::from_raw_os_error(EIO))
        } else {
            // What lies beyond every address is beyond the end of the file.
            let offset = usize::try_from(offset).unwrap_or(usize::MAX);
            Ok(self.file(inode).content.read(offset, buffer))
        };
        Ok(Begun {
            result,
            delay: strike.delay,
            left: (),
        })
    }

    pub(super) fn size(&mut self, inode: Inode) -> u64 {
        self.file(inode).content.len() as u64
    }

    pub(super) fn begin_resize(
        &mut self,
        life: Life,
        (inode, path): (Inode, &Path),
        size: u64,
    ) -> Result<Begun<(), Option<Serial>>, Dead> {
        let strike = self.enter(life, OpKind::Resize, path)?;
        let result = match &strike.fault {
            Some((Fault::NoSpace, _)) => Err(io::Error::from_raw_os_error(ENOSPC)),
            Some(_) => Err(io::Error::from_raw_os_error(EIO)),
            None => checked_end(size, 0),
        };
        let result = result.and_then(|size| {
            let growth = size.saturating_sub(self.file(inode).content.len()) as u64;
            if growth > self.free_bytes() {
                self.stats.injected("quota");
                return Err(io::Error::from_raw_os_error(ENOSPC));
            }
            Ok(self.file(inode).content.begin(Change::Resize { size }))
        });
        Ok(Begun {
            left: result.as_ref().ok().copied(),
            result: result.map(drop),
            delay: strike.delay,
        })
    }

    pub(super) fn begin_write(
        &mut self,
        life: Life,
        (inode, path): (Inode, &Path),
        offset: u64,
        data: &[u8],
    ) -> Result<Begun<(), Vec<Serial>>, Dead> {
        let strike = self.enter(life, OpKind::Write, path)?;
        let written = match checked_end(offset, data.len()) {
            Err(error) => Written::failed(error),
            Ok(end) => {
                let start = end - data.len();
                self.write_struck(inode, start, data, strike.fault)
            }
        };
        Ok(Begun {
            result: written.result,
            delay: strike.delay,
            left: written.serials,
        })
    }

    /// The changes `serials` have returned to their caller.
    pub(super) fn finish_changes(&mut self, inode: Inode, serials: &[Serial]) {
        for serial in serials {
            self.file(inode).content.returned(*serial);
        }
    }

    fn write_struck(
        &mut self,
        inode: Inode,
        start: usize,
        data: &[u8],
        fault: Option<(Fault, Draws)>,
    ) -> Written {
        let Some((fault, mut draws)) = fault else {
            return self.write_within_quota(inode, start, data);
        };
        let eio = || io::Error::from_raw_os_error(EIO);
        let mut written = match fault {
            Fault::TornWrite => {
                let parts = super::tear::torn(start, data, &mut draws);
                let mut written = Written::failed(eio());
                for (at, part) in parts {
                    let part = self.write_within_quota(inode, at, part);
                    written.serials.extend(part.serials);
                }
                written
            }
            Fault::ShortWrite => {
                let short = &data[..draws.index(data.len())];
                self.write_within_quota(inode, start, short).but(eio())
            }
            Fault::NoSpace => {
                let short = &data[..draws.index(data.len())];
                let error = io::Error::from_raw_os_error(ENOSPC);
                self.write_within_quota(inode, start, short).but(error)
            }
            Fault::MisdirectedWrite => {
                let file_len = self.file(inode).content.len();
                let mut written = Written::failed(eio());
                written.result = Ok(());
                if file_len < start + data.len() {
                    // The file system did its part: only the bytes went astray.
                    let grow = Change::Resize {
                        size: start + data.len(),
                    };
                    written.serials.push(self.file(inode).content.begin(grow));
                }
                if let Some(at) = super::tear::astray(start, data.len(), file_len, &mut draws) {
                    let strayed = self.write_within_quota(inode, at, data);
                    written.serials.extend(strayed.serials);
                }
                written
            }
            _ => Written::failed(eio()),
        };
        written.serials.sort_unstable();
        written
    }

    fn write_within_quota(&mut self, inode: Inode, start: usize, data: &[u8]) -> Written {
        let end = start + data.len();
        let growth = end.saturating_sub(self.file(inode).content.len());
        let free = usize::try_from(self.free_bytes()).unwrap_or(usize::MAX);
        let short_by = growth.saturating_sub(free).min(data.len());
        let data = &data[..data.len() - short_by];
        let serials = if data.is_empty() {
            Vec::new()
        } else {
            let data = data.to_vec();
            let change = Change::Write {
                offset: start,
                data,
            };
            vec![self.file(inode).content.begin(change)]
        };
        let result = if short_by > 0 {
            self.stats.injected("quota");
            Err(io::Error::from_raw_os_error(ENOSPC))
        } else {
            Ok(())
        };
        Written { result, serials }
    }

    pub(super) fn lock(
        &mut self,
        life: Life,
        path: &Path,
    ) -> Result<Begun<Option<u64>, Option<Inode>>, Dead> {
        let opened = self.open(life, path, true)?;
        let inode = opened.result.as_ref().ok().copied();
        let result = opened.result.map(|_| {
            if self.locks.contains_key(path) {
                return None;
            }
            self.next_lock += 1;
            self.locks.insert(path.to_path_buf(), self.next_lock);
            Some(self.next_lock)
        });
        Ok(Begun {
            result,
            delay: opened.delay,
            left: inode,
        })
    }

    pub(super) fn unlock(&mut self, path: &Path, lock: u64) {
        if self.locks.get(path) == Some(&lock) {
            self.locks.remove(path);
        }
    }

    fn file(&mut self, inode: Inode) -> &mut File {
        self.files
            .get_mut(&inode)
            .expect("an open file is kept while its process lives")
    }
}

/// The part of a write that took place.
struct Written {
    result: io::Result<()>,
    serials: Vec<Serial>,
}

impl Written {
    fn failed(error: io::Error) -> Self {
        Self {
            result: Err(error),
            serials: Vec::new(),
        }
    }

    fn but(mut self, error: io::Error) -> Self {
        self.result = Err(error);
        self
    }
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        format!("no file {}", path.display()),
    )
}

fn name_error(strike: &Strike) -> io::Result<()> {
    match strike.fault {
        Some(_) => Err(io::Error::from_raw_os_error(EIO)),
        None => Ok(()),
    }
}

fn sync_result(strike: &Strike) -> io::Result<()> {
    match strike.fault {
        Some((Fault::SyncError, _)) => Err(io::Error::from_raw_os_error(EIO)),
        _ => Ok(()),
    }
}

/// Where `len` bytes at `offset` end, if a file may be that large.
fn checked_end(offset: u64, len: usize) -> io::Result<usize> {
    usize::try_from(offset)
        .ok()
        .and_then(|offset| offset.checked_add(len))
        .filter(|end| *end <= FILE_BYTES_MAX)
        .ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))
}
