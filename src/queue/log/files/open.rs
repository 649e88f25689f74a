//! Opening a log: lock, read, recover; and only when all of that went well, make the next segment.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{DiskFailure, FolderOpenError, SpareError};
use super::folder::{Folder, LOCK_FILE};
use super::marker::NewLog;
use super::segments::SegmentFiles;
use super::slots::{LiveSlot, SlotTable};
use super::unfinished;
use crate::coverage::{Site, reached, sometimes};
use crate::env::{Disk, DiskLock, LockError};
use crate::journal::slots::LastBatch;
use crate::journal::{Fold, Geometry, Mark, Recovered, SegmentHeader, SlotNo, Start};

/// An open folder.
pub struct Opened {
    /// The files, for the drivers.
    pub files: SegmentFiles,
    /// Where the log goes on.
    pub start: Start,
    /// Keeps others out of the folder; to be dropped when the last driver has ended.
    pub lock: Arc<dyn DiskLock>,
    /// What was found.
    pub report: OpenReport,
}

/// What an opening found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenReport {
    /// The journal's folder.
    pub dir: PathBuf,
    /// What was recovered.
    pub recovered: Recovered,
    /// Spares of another size than configured, or half made by a process that died: removed.
    pub removed: Vec<SlotNo>,
}

/// Opens the log in `dir`, making the folder and the log if they aren't there and `new_log` allows it, and folds it. It makes the
/// one segment it needs even beyond what the log may take.
///
/// To be polled inside a driver; not cancel safe. Dropped halfway, it has changed nothing that
/// another opening would miss.
///
/// # Errors
/// [`FolderOpenError`] says what is wrong, where, and what to do.
pub async fn open(
    disk: Arc<dyn Disk>,
    dir: &Path,
    geometry: Geometry,
    new_log: NewLog,
    fold: &mut (dyn Fold + Send),
) -> Result<Opened, FolderOpenError> {
    unfinished::check(&*disk, dir).await?;
    open_unfinished(disk, dir, geometry, new_log, fold).await
}

/// As [`open`], whether the log is whole or not: for whoever writes it.
pub(super) async fn open_unfinished(
    disk: Arc<dyn Disk>,
    dir: &Path,
    geometry: Geometry,
    new_log: NewLog,
    fold: &mut (dyn Fold + Send),
) -> Result<Opened, FolderOpenError> {
    new_log.check(&*disk, dir).await?;
    let made = disk.create_dir_all(dir).await;
    made.map_err(|error| FolderOpenError::io("making", dir, error))?;
    let lock = lock(&*disk, dir).await?;
    let folder = Folder::open(&*disk, dir).await?;
    let recovered = folder.recover(fold).await.inspect_err(|_| {
        reached!(Site::DamageRefused);
    })?;
    count_found(&recovered);
    let start = recovered.start;

    // From here on the folder changes.
    let mark = folder.mark().to_write(&*disk).await?;
    let synced = disk.sync_dir(dir).await;
    synced.map_err(|error| FolderOpenError::io("syncing", dir, error))?;
    if let Some(last) = recovered.last_batch
        && !planted!(Bug::LastBatchNotRewritten)
    {
        write_again(&folder, last).await?;
    }
    let table = table_of(&folder, &recovered);
    let header = SegmentHeader::opening(&start, geometry.segment_bytes());
    let opening = Mark::opening(&header);
    let files = SegmentFiles::new(
        Arc::clone(&disk),
        dir,
        geometry,
        table,
        opening,
        mark,
        Arc::downgrade(&lock),
    );
    let mut removed = files.sort_spares(&folder, &recovered.spares).await?;
    begin(&files, &header).await?;
    removed.extend(files.sort_spares(&folder, &recovered.abandoned).await?);
    new_log.mark(&*disk, dir).await;
    Ok(Opened {
        files,
        start,
        lock,
        report: OpenReport {
            dir: dir.to_owned(),
            recovered,
            removed,
        },
    })
}

/// Takes the folder's lock. Whoever removes the lock's file between its opening and its locking leaves a lock that
/// keeps nobody out.
async fn lock(disk: &dyn Disk, dir: &Path) -> Result<Arc<dyn DiskLock>, FolderOpenError> {
    let path = dir.join(LOCK_FILE);
    let locked = || FolderOpenError::Locked {
        dir: dir.to_owned(),
    };
    let failed = |error| FolderOpenError::io("locking", &path, error);
    let lock = disk.lock(&path).await.map_err(|error| match error {
        LockError::Held => locked(),
        LockError::Io(error) => failed(error),
    })?;
    match lock.is_at(&path).await.map_err(failed)? {
        true => Ok(Arc::from(lock)),
        false => Err(locked()),
    }
}

fn count_found(recovered: &Recovered) {
    sometimes!(Site::TornTailCut, recovered.torn.is_some());
    sometimes!(Site::BegunSegmentAbandoned, !recovered.abandoned.is_empty());
    let is_new = recovered.counts.batches == 0;
    sometimes!(Site::OpenedUnsealed, !recovered.sealed && !is_new);
}

/// The last batch may stand in the page cache alone: its process may have died before the sync, or
/// because the sync failed, after which another sync proves nothing. Written anew, as it is, it
/// counts as changed, and the sync as one of its own.
async fn write_again(folder: &Folder, last: LastBatch) -> Result<(), FolderOpenError> {
    reached!(Site::LastBatchRewritten);
    let slot = folder.slot(last.slot).expect("the batch was read from it");
    let path = folder.dir().join(last.slot.to_string());
    let offset = u64::from(last.offset);
    let mut bytes = vec![0; last.bytes as usize];
    let io = |doing| {
        let path = path.clone();
        move |error| FolderOpenError::io(doing, &path, error)
    };
    let count = slot.file.read_at(offset, &mut bytes).await;
    let count = count.map_err(io("reading"))?;
    let written = slot.file.write_at(offset, &bytes[..count]).await;
    written.map_err(io("writing"))?;
    slot.file.sync().await.map_err(io("syncing"))
}

fn table_of(folder: &Folder, recovered: &Recovered) -> SlotTable {
    let mut table = SlotTable::default();
    folder.slots().for_each(|slot| table.take(slot));
    for live in &recovered.segments {
        let slot = folder
            .slot(live.slot)
            .expect("the segment was read from it");
        let live_slot = LiveSlot {
            slot: slot.clone(),
            generation: live.generation,
            batches: 0,
            records: 0,
            end: Some(live.end),
        };
        table.begin(live.segment, live_slot);
    }
    table
}

/// Makes the new opening's first segment ready: its header names where the log was cut. Then the mark says that
/// there is such an opening.
async fn begin(files: &SegmentFiles, header: &SegmentHeader) -> Result<(), FolderOpenError> {
    let dir = files.dir().to_owned();
    let segment_bytes = files.geometry().segment_bytes();
    if files.spares() == 0 {
        match files.make_spare().await {
            Ok(()) => {}
            Err(SpareError::NoSpace) => {
                return Err(FolderOpenError::NoSpace {
                    dir,
                    needed: u64::from(segment_bytes),
                    source: std::io::ErrorKind::StorageFull.into(),
                });
            }
            Err(SpareError::Io(error) | SpareError::Exhausted(error)) => {
                return Err(FolderOpenError::io("making a segment in", &dir, error));
            }
        }
    }
    let begun = async {
        if planted!(Bug::MarkBeforeHeader) {
            files.mark_open().await?;
        }
        files.activate(header).await?;
        files.mark_open().await
    };
    begun.await.map_err(|failure: DiskFailure| {
        let DiskFailure {
            doing,
            path,
            source,
        } = failure;
        FolderOpenError::io(doing, &path, std::io::Error::new(source.kind(), source))
    })
}
