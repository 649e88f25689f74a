//! Operations on names: open, rename, remove, directories, locks.

use std::io;
use std::path::Path;

use super::faults::{Fault, OpKind, Strike};
use super::names::{Inode, NameChange};
use super::state::{Begun, Dead, DiskState, EIO, ProcessNo, SyncLeft, sync_result};

/// `EMFILE` as Linux and macOS number it.
const EMFILE: i32 = 24;

impl DiskState {
    /// Opens the file at `path`. Counts as an operation only if it makes the file.
    pub(super) fn open(
        &mut self,
        life: ProcessNo,
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
        if let Ok(inode) = result {
            self.file(inode).handles += 1;
        }
        Ok(Begun {
            result,
            delay,
            left: (),
        })
    }

    fn create(&mut self, path: &Path) -> Inode {
        let inode = self.new_file();
        self.names.change(NameChange::Create {
            path: path.to_path_buf(),
            inode,
        });
        inode
    }

    /// A change of the directory.
    pub(super) fn rename_or_remove(
        &mut self,
        life: ProcessNo,
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

    pub(super) fn make_dirs(&mut self, life: ProcessNo, dir: &Path) -> Result<Begun<(), ()>, Dead> {
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
        life: ProcessNo,
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

    pub(super) fn lock(
        &mut self,
        life: ProcessNo,
        path: &Path,
    ) -> Result<Begun<Option<u64>, Option<Inode>>, Dead> {
        let opened = self.open(life, path, true)?;
        let inode = opened.result.as_ref().ok().copied();
        let result = opened.result.map(|_| self.take_lock(path));
        Ok(Begun {
            result,
            delay: opened.delay,
            left: inode,
        })
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
        Some((Fault::NoFiles, _)) => Err(io::Error::from_raw_os_error(EMFILE)),
        Some(_) => Err(io::Error::from_raw_os_error(EIO)),
        None => Ok(()),
    }
}
