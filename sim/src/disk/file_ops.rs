//! Operations on an open file: read, write, resize, sync.

use std::io;
use std::path::Path;

use super::content::{Change, Serial};
use super::faults::{Fault, OpKind};
use super::names::Inode;
use super::state::{Begun, Dead, DiskState, EIO, ProcessNo, SyncLeft, sync_result};
use super::{FILE_BYTES_MAX, tear};
use crate::seed::Draws;

/// `ENOSPC` as Linux and macOS number it.
const ENOSPC: i32 = 28;

impl DiskState {
    pub(super) fn begin_sync(
        &mut self,
        life: ProcessNo,
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
        life: ProcessNo,
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
        life: ProcessNo,
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
        life: ProcessNo,
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
        match fault {
            Fault::TornWrite => {
                let parts = tear::torn(start, data, &mut draws);
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
                if let Some(at) = tear::astray(start, data.len(), file_len, &mut draws) {
                    let strayed = self.write_within_quota(inode, at, data);
                    written.serials.extend(strayed.serials);
                }
                written
            }
            _ => Written::failed(eio()),
        }
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

/// Where `len` bytes at `offset` end, if a file may be that large.
fn checked_end(offset: u64, len: usize) -> io::Result<usize> {
    usize::try_from(offset)
        .ok()
        .and_then(|offset| offset.checked_add(len))
        .filter(|end| *end <= FILE_BYTES_MAX)
        .ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))
}
