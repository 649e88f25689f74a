//! The directory: which name leads to which file, now and after a power failure.
//!
//! A change of the directory is visible at once and durable when its directory is synced. Changes
//! that a synced one rests on (the creation of a file that is renamed, say) become durable with it.
//! A power failure keeps the oldest few of the pending changes and undoes the rest, as a journaled
//! file system does. Directories themselves are durable as soon as they are made.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::seed::Draws;

/// Names one file's content.
pub(super) type Inode = u64;

type Map = BTreeMap<PathBuf, Inode>;

#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Create { path: PathBuf, inode: Inode },
    Rename { from: PathBuf, to: PathBuf },
    Remove { path: PathBuf },
}

impl NameChange {
    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let (first, second) = match self {
            Self::Create { path, .. } | Self::Remove { path } => (path, None),
            Self::Rename { from, to } => (from, Some(to)),
        };
        std::iter::once(first).chain(second)
    }

    fn apply(&self, map: &mut Map) {
        match self {
            Self::Create { path, inode } => {
                map.insert(path.clone(), *inode);
            }
            Self::Rename { from, to } => {
                if let Some(inode) = map.remove(from) {
                    map.insert(to.clone(), inode);
                }
            }
            Self::Remove { path } => {
                map.remove(path);
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    dirs: BTreeSet<PathBuf>,
    now: Map,
    durable: Map,
    pending: Vec<NameChange>,
}

impl Names {
    pub(super) fn find(&self, path: &Path) -> Option<Inode> {
        self.now.get(path).copied()
    }

    /// All files, by path.
    pub(super) fn files(&self) -> impl Iterator<Item = (&PathBuf, Inode)> {
        self.now.iter().map(|(path, inode)| (path, *inode))
    }

    /// Refuses a directory that isn't there. The root and the working directory always are.
    pub(super) fn need_dir(&self, dir: &Path) -> io::Result<()> {
        let is_root = dir.as_os_str().is_empty() || dir.parent().is_none();
        if is_root || dir == Path::new(".") || self.dirs.contains(dir) {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("no directory {}", dir.display()),
        ))
    }

    pub(super) fn need_parent(&self, path: &Path) -> io::Result<()> {
        self.need_dir(path.parent().unwrap_or(Path::new("")))
    }

    pub(super) fn make_dirs(&mut self, dir: &Path) {
        let all = dir.ancestors().map(Path::to_path_buf);
        self.dirs.extend(all);
    }

    pub(super) fn change(&mut self, change: NameChange) {
        change.apply(&mut self.now);
        self.pending.push(change);
    }

    /// Makes the pending changes of `dir` durable, and those they rest on.
    pub(super) fn sync(&mut self, dir: &Path) {
        let mut needed: BTreeSet<PathBuf> = BTreeSet::new();
        let mut covered = vec![false; self.pending.len()];
        for (index, change) in self.pending.iter().enumerate().rev() {
            let inside = |path: &PathBuf| path.parent() == Some(dir) || needed.contains(path);
            if change.paths().any(inside) {
                covered[index] = true;
                needed.extend(change.paths().cloned());
            }
        }
        let mut covered = covered.into_iter();
        let durable = &mut self.durable;
        self.pending.retain(|change| {
            let covered = covered.next().unwrap_or(false);
            if covered {
                change.apply(durable);
            }
            !covered
        });
    }

    /// The power failed: keeps the oldest few pending changes. Returns how many were undone.
    pub(super) fn settle(&mut self, draws: &mut Draws) -> u64 {
        let kept = draws.index(self.pending.len() + 1);
        let undone = self.pending.len() - kept;
        for change in self.pending.drain(..).take(kept) {
            change.apply(&mut self.durable);
        }
        self.now.clone_from(&self.durable);
        undone as u64
    }

    /// A sync of the directory has failed: an unknown number of the pending changes will never
    /// reach the device, though all of them stay visible.
    pub(super) fn fail_sync(&mut self, draws: &mut Draws) {
        let now = self.now.clone();
        self.settle(draws);
        self.now = now;
    }

    /// Loses the entry at `path` for good, under whatever name a power cut would have brought its
    /// file back; false if it isn't there.
    pub(super) fn lose(&mut self, path: &Path) -> bool {
        let Some(lost) = self.now.remove(path) else {
            return false;
        };
        self.durable
            .retain(|name, inode| name != path && *inode != lost);
        self.pending
            .retain(|change| !matches!(change, NameChange::Create { inode, .. } if *inode == lost));
        true
    }

    /// Puts another file in the place of the one at `path`, durably, whatever a power cut would have left there.
    pub(super) fn replace(&mut self, path: &Path, inode: Inode) {
        self.lose(path);
        self.now.insert(path.to_path_buf(), inode);
        self.durable.insert(path.to_path_buf(), inode);
    }

    /// Whether any name leads to `inode`, or may again after a power failure.
    pub(super) fn refers_to(&self, inode: Inode) -> bool {
        let pending = self.pending.iter().any(
            |change| matches!(change, NameChange::Create { inode: created, .. } if *created == inode),
        );
        pending
            || [&self.now, &self.durable]
                .iter()
                .any(|map| map.values().any(|i| *i == inode))
    }
}
