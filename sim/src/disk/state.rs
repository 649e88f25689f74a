//! The disk as plain data: files, names, locks, faults and counters, changed by one call at a time.
//!
//! Nothing here waits. An operation is begun (and takes its effect on what reads see), then, after
//! whatever delay was drawn, it is finished, if the process still lives.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::content::Content;
use super::faults::{Fault, Faults, Op, OpKind, OpNumber, Strike};
use super::names::{Inode, Names};
use super::{DiskStats, FREE_BYTES_WITHOUT_QUOTA};
use crate::seed::{Draws, Seed};

/// `EIO` as Linux and macOS number it: the product sees the error a real disk gives.
pub(super) const EIO: i32 = 5;

/// Counts the processes that have used the disk: what an older one opened is dead.
pub(super) type ProcessNo = u64;

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
pub(super) struct File {
    pub(super) content: Content,
    pub(super) handles: u32,
}

#[derive(Clone, Debug)]
pub(super) struct DiskState {
    pub(super) names: Names,
    files: BTreeMap<Inode, File>,
    next_inode: Inode,
    locks: BTreeMap<PathBuf, u64>,
    next_lock: u64,
    life: ProcessNo,
    dead: bool,
    pub(super) quota: Option<u64>,
    pub(super) crash_at: Option<OpNumber>,
    pub(super) faults: Faults,
    pub(super) stats: DiskStats,
}

impl DiskState {
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

    pub(super) fn life(&self) -> ProcessNo {
        self.life
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead
    }

    pub(super) fn alive(&self, life: ProcessNo) -> Result<(), Dead> {
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
    pub(super) fn enter(
        &mut self,
        life: ProcessNo,
        kind: OpKind,
        path: &Path,
    ) -> Result<Strike, Dead> {
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

    pub(super) fn new_file(&mut self) -> Inode {
        self.next_inode += 1;
        self.files.insert(self.next_inode, File::default());
        self.next_inode
    }

    /// Puts copies in the place of all files in `dir`: who has one of them open writes where nobody looks from now on.
    /// How many there were.
    pub(super) fn replace_files(&mut self, dir: &Path) -> usize {
        let inside = |path: &&PathBuf| path.parent() == Some(dir);
        let paths = self.names.files().map(|(path, _)| path);
        let paths: Vec<_> = paths.filter(inside).cloned().collect();
        for path in &paths {
            let copy = self.content(path).map(Content::copied).unwrap_or_default();
            let inode = self.new_file();
            self.file(inode).content = copy;
            self.names.replace(path, inode);
        }
        self.forget_unreachable();
        paths.len()
    }

    /// Takes the lock on `path` and gives it a number, if nobody holds it.
    pub(super) fn take_lock(&mut self, path: &Path) -> Option<u64> {
        if self.locks.contains_key(path) {
            return None;
        }
        self.next_lock += 1;
        self.locks.insert(path.to_path_buf(), self.next_lock);
        Some(self.next_lock)
    }

    pub(super) fn unlock(&mut self, path: &Path, lock: u64) {
        if self.locks.get(path) == Some(&lock) {
            self.locks.remove(path);
        }
    }

    pub(super) fn close(&mut self, life: ProcessNo, inode: Inode) {
        if self.life != life {
            return;
        }
        if let Some(file) = self.files.get_mut(&inode) {
            file.handles = file.handles.saturating_sub(1);
        }
        self.forget_unreachable();
    }

    pub(super) fn forget_unreachable(&mut self) {
        let names = &self.names;
        self.files
            .retain(|inode, file| file.handles > 0 || names.refers_to(*inode));
    }

    pub(super) fn file(&mut self, inode: Inode) -> &mut File {
        self.files
            .get_mut(&inode)
            .expect("an open file is kept while its process lives")
    }
}

/// What a sync reports, whatever it did.
pub(super) fn sync_result(strike: &Strike) -> io::Result<()> {
    match strike.fault {
        Some((Fault::SyncError, _)) => Err(io::Error::from_raw_os_error(EIO)),
        _ => Ok(()),
    }
}
