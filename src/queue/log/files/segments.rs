//! The open files of a log: writing batches, and making, recycling and counting segments.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;
use std::{fmt, io};

use super::error::{DiskFailure, FolderOpenError, SpareError};
use super::folder::{Folder, LOCK_FILE};
use super::mark::MarkFile;
use super::slots::{LiveSlot, SlotFile, SlotTable};
use crate::core::ids::SegmentNo;
use crate::coverage::{Site, reached};
use crate::env::{Disk, DiskFile, DiskLock, is_exhausted, is_full};
use crate::journal::{Geometry, Mark, MarkState, SealedBatch, SegmentHeader, SlotNo, Witness};
use crate::queue::log::Room;

/// The pause before a file is opened again that could not be for want of descriptors or memory.
const AGAIN: Duration = Duration::from_millis(100);

/// Written again and again when a segment is made.
static ZEROS: [u8; 256 << 10] = [0; 256 << 10];

/// The files of an open log; shared by its drivers. Whoever opened them holds the folder's lock.
///
/// No method is cancel safe once polled: a driver runs each to its end.
pub struct SegmentFiles {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    geometry: Geometry,
    table: Mutex<SlotTable>,
    /// Where it is said how far the log has gone: by the opening before it writes, and when it is closed.
    opening: Mark,
    open_mark: MarkFile,
    sealed_mark: MarkFile,
    /// The folder's lock, which somebody else lets go of.
    lock: Weak<dyn DiskLock>,
    failed: OnceLock<DiskFailure>,
    /// The last segment that was wanted could not be made, because no file could be opened: said once.
    is_exhausted: AtomicBool,
}

impl fmt::Debug for SegmentFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentFiles")
            .field("dir", &self.dir)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl SegmentFiles {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        dir: &Path,
        geometry: Geometry,
        table: SlotTable,
        opening: Mark,
        mark: MarkFile,
        lock: Weak<dyn DiskLock>,
    ) -> Self {
        Self {
            lock,
            opening,
            sealed_mark: mark.turned(),
            open_mark: mark,
            disk,
            dir: dir.to_owned(),
            geometry,
            table: Mutex::new(table),
            failed: OnceLock::new(),
            is_exhausted: AtomicBool::new(false),
        }
    }

    /// Writes a batch and its witness and syncs both, after the next segment's header if the batch ends its own. Batches
    /// come in the order in which they were sealed, each after the one before was completed. At last it looks whether the
    /// next opening will find what was written.
    ///
    /// # Errors
    /// The first failure ends this opening: whether the batch is on the disk is in doubt.
    ///
    /// # Panics
    /// For a batch of a segment that was never begun.
    pub async fn write_batch(&self, batch: &SealedBatch) -> Result<(), DiskFailure> {
        self.check()?;
        if let Some(header) = SegmentHeader::behind(batch, self.geometry.segment_bytes()) {
            if self.spares() == 0 {
                self.make_spare_for_roll().await?;
            }
            self.activate(&header).await?;
        }
        let live = {
            let mut table = self.table();
            if batch.rolls_to.is_some() {
                table.end(batch.segment, batch.end.offset());
            }
            let live = table.live_mut(batch.segment);
            let live = live.expect("its segment has begun");
            live.batches += 1;
            live.records = live.records.saturating_add(batch.records);
            live.clone()
        };
        let slot = live.slot;
        let segment_bytes = u32::try_from(slot.bytes).expect("segments are smaller than 4 GiB");
        let witness = Witness::place(segment_bytes, live.batches);
        self.write(&slot, batch.offset, &batch.bytes).await?;
        self.write(&slot, witness, &Witness::of(batch)).await?;
        self.sync(&slot).await?;
        if batch.seals {
            self.mark_sealed(batch, live.records).await?;
        }
        self.check_place(&slot).await
    }

    /// Fails if the segment, the mark or the lock is not where the next opening looks for them: the folder was removed,
    /// renamed or unmounted, or somebody tidied it up. A log that goes on elsewhere would be found by nobody, without the
    /// mark its end could be missing unseen, and without the lock's file a second process would write beside this one.
    async fn check_place(&self, slot: &SlotFile) -> Result<(), DiskFailure> {
        if planted!(Bug::PlaceNotAsked) {
            return Ok(());
        }
        let path = self.path(slot.slot);
        let is_there = slot.file.is_at(&path).await;
        self.found(&path, is_there)?;
        let is_there = self.open_mark.is_in_place().await;
        self.found(self.open_mark.path(), is_there)?;
        let path = self.dir.join(LOCK_FILE);
        let is_there = match self.lock.upgrade() {
            Some(lock) => lock.is_at(&path).await,
            None => Ok(false),
        };
        self.found(&path, is_there)
    }

    fn found(&self, path: &Path, is_there: io::Result<bool>) -> Result<(), DiskFailure> {
        const GONE: &str =
            "it is not where it was: its folder was removed, renamed or unmounted, or the file was";
        match is_there {
            Ok(true) => Ok(()),
            Ok(false) => {
                reached!(Site::LogNotInPlace);
                let gone = io::Error::new(io::ErrorKind::NotFound, GONE);
                Err(self.fail("looking for", path, gone))
            }
            Err(error) => Err(self.fail("looking for", path, error)),
        }
    }

    /// Says durably that this opening has begun. Its first header is durable, and no batch is written before.
    ///
    /// # Errors
    /// The first failure ends this opening.
    pub(super) async fn mark_open(&self) -> Result<(), DiskFailure> {
        self.mark(&self.open_mark, &self.opening).await
    }

    async fn mark_sealed(&self, seal: &SealedBatch, records: u32) -> Result<(), DiskFailure> {
        let sealed = Mark {
            end: seal.end,
            crc: seal.crc(),
            state: MarkState::Sealed { records },
            ..self.opening
        };
        self.mark(&self.sealed_mark, &sealed).await
    }

    async fn mark(&self, file: &MarkFile, mark: &Mark) -> Result<(), DiskFailure> {
        let written = file.write(mark).await;
        written.map_err(|(doing, error)| self.fail(doing, file.path(), error))
    }

    /// Makes one more spare segment: zeros, synced, in a synced folder.
    ///
    /// # Errors
    /// [`SpareError::NoSpace`] and [`SpareError::Exhausted`] change nothing and may be tried again; anything else ends
    /// this opening.
    pub async fn make_spare(&self) -> Result<(), SpareError> {
        self.check()?;
        let slot = self.table().take_next();
        let path = self.path(slot);
        let file = match self.disk.open(&path, true).await {
            Err(error) if is_exhausted(&error) && !planted!(Bug::NoFilesIsTheEnd) => {
                reached!(Site::NoFileForSpare);
                self.table().forget(slot);
                if !self.is_exhausted.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "no file can be opened for another segment; the journal tries again");
                }
                return Err(SpareError::Exhausted(error));
            }
            opened => opened,
        };
        let made = match file {
            Ok(file) => self.fill(file).await,
            Err(error) => Err(("making", error)),
        };
        match made {
            Ok(file) => {
                if self.is_exhausted.swap(false, Ordering::Relaxed) {
                    tracing::info!("files can be opened again for the journal");
                }
                let bytes = u64::from(self.geometry.segment_bytes());
                self.table().add_spare(SlotFile { slot, file, bytes });
                Ok(())
            }
            Err((doing, error)) => {
                let removed = self.remove(&path).await;
                if is_full(&error) && removed.is_ok() {
                    self.table().forget(slot);
                    return Err(SpareError::NoSpace);
                }
                Err(self.fail(doing, &path, error).into())
            }
        }
    }

    /// Gives the slots of a segment, and of any before it, back to the spares. Its retirement is
    /// durable.
    ///
    /// # Errors
    /// When a file of another size than configured could not be removed; this ends the opening.
    pub async fn recycle(&self, segment: SegmentNo) -> Result<(), DiskFailure> {
        self.check()?;
        let retired = self.table().retire(segment);
        for slot in retired {
            self.keep_or_remove(slot).await?;
        }
        Ok(())
    }

    /// How many spare segments there are.
    pub fn spares(&self) -> u32 {
        u32::try_from(self.table().spares()).unwrap_or(u32::MAX)
    }

    /// Spare segments, and segment files in all.
    pub(super) fn counted(&self) -> Room {
        let table = self.table();
        let count = |files| u32::try_from(files).unwrap_or(u32::MAX);
        Room {
            ready: count(table.spares()),
            held: count(table.segments() + table.spares()),
        }
    }

    /// Segments that the file system has room for, as far as it says.
    pub(super) async fn growable(&self) -> Option<u32> {
        let free = self.disk.free_bytes(&self.dir).await.ok()?;
        let segments = free / u64::from(self.geometry.segment_bytes());
        Some(u32::try_from(segments).unwrap_or(u32::MAX))
    }

    /// The path of the journal's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The sizes the log works with.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    pub(super) fn path(&self, slot: SlotNo) -> PathBuf {
        self.dir.join(slot.to_string())
    }

    /// Fails if anything has failed before.
    pub(super) fn check(&self) -> Result<(), DiskFailure> {
        self.failed.get().cloned().map_or(Ok(()), Err)
    }

    pub(super) fn live(&self, segment: SegmentNo) -> Option<LiveSlot> {
        self.table().live(segment).cloned()
    }

    /// Gives a spare the header of the segment that it holds from now on, durably.
    pub(super) async fn activate(&self, header: &SegmentHeader) -> Result<(), DiskFailure> {
        let spare = self.table().take_spare();
        let slot = spare.expect("there is a spare, and one driver that takes it");
        self.write(&slot, 0, &header.encode()).await?;
        self.sync(&slot).await?;
        let live = LiveSlot {
            slot,
            generation: header.generation,
            batches: 0,
            records: 0,
            end: None,
        };
        self.table().begin(header.segment, live);
        Ok(())
    }

    /// Takes these slots as spares, and removes those of another size. Says which were removed.
    pub(super) async fn sort_spares(
        &self,
        folder: &Folder,
        slots: &[SlotNo],
    ) -> Result<Vec<SlotNo>, FolderOpenError> {
        let mut removed = Vec::new();
        for slot in slots {
            let file = folder
                .slot(*slot)
                .expect("recovery named slots it was given");
            let kept = self.keep_or_remove(file.clone()).await;
            let kept = kept.map_err(|failure| {
                let source = io::Error::new(failure.source.kind(), failure.source);
                FolderOpenError::io(failure.doing, &failure.path, source)
            })?;
            if !kept {
                removed.push(*slot);
            }
        }
        Ok(removed)
    }

    async fn keep_or_remove(&self, slot: SlotFile) -> Result<bool, DiskFailure> {
        if slot.bytes == u64::from(self.geometry.segment_bytes()) {
            self.table().add_spare(slot);
            return Ok(true);
        }
        let path = self.path(slot.slot);
        let removed = self.remove(&path).await;
        removed.map_err(|error| self.fail("removing", &path, error))?;
        self.table().forget(slot.slot);
        Ok(false)
    }

    /// A batch that ends its segment can't wait for room: nothing behind it could be written, not even what makes
    /// room. It does wait for a file: nothing of the batch is written yet, and all else here waits as well.
    async fn make_spare_for_roll(&self) -> Result<(), DiskFailure> {
        loop {
            let error = match self.make_spare().await {
                Ok(()) => return Ok(()),
                Err(SpareError::Exhausted(_)) => {
                    reached!(Site::RollWaitedForFile);
                    self.disk.pause(AGAIN).await;
                    continue;
                }
                Err(SpareError::NoSpace) => io::ErrorKind::StorageFull.into(),
                Err(SpareError::Io(error)) => error,
            };
            return Err(self.fail("making a segment in", &self.dir, error));
        }
    }

    /// Makes a segment's file its size, durably.
    async fn fill(
        &self,
        file: Arc<dyn DiskFile>,
    ) -> Result<Arc<dyn DiskFile>, (&'static str, io::Error)> {
        let bytes = self.geometry.segment_bytes() as usize;
        let mut written = 0;
        while written < bytes {
            let count = ZEROS.len().min(bytes - written);
            let write = file.write_at(written as u64, &ZEROS[..count]).await;
            if planted!(Bug::FullDiskIgnored) && write.as_ref().is_err_and(is_full) {
                break;
            }
            write.map_err(|error| ("writing", error))?;
            written += count;
        }
        file.sync().await.map_err(|error| ("syncing", error))?;
        let synced = self.disk.sync_dir(&self.dir).await;
        synced.map_err(|error| ("syncing the folder of", error))?;
        Ok(file)
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        match self.disk.remove(path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.disk.sync_dir(&self.dir).await
    }

    async fn write(&self, slot: &SlotFile, offset: u32, bytes: &[u8]) -> Result<(), DiskFailure> {
        let mut written = slot.file.write_at(u64::from(offset), bytes).await;
        if planted!(Bug::FullDiskIgnored) && written.as_ref().is_err_and(is_full) {
            written = Ok(());
        }
        written.map_err(|error| {
            reached!(Site::WriteFailed);
            self.fail("writing", &self.path(slot.slot), error)
        })
    }

    async fn sync(&self, slot: &SlotFile) -> Result<(), DiskFailure> {
        let mut synced = slot.file.sync().await;
        if planted!(Bug::FailedSyncRetried) && synced.is_err() {
            synced = slot.file.sync().await;
        }
        synced.map_err(|error| {
            reached!(Site::SyncFailed);
            self.fail("syncing", &self.path(slot.slot), error)
        })
    }

    /// Remembers the first failure, which is what every later call reports.
    fn fail(&self, doing: &'static str, path: &Path, error: io::Error) -> DiskFailure {
        let failure = DiskFailure {
            doing,
            path: path.to_owned(),
            source: Arc::new(error),
        };
        self.failed.get_or_init(|| failure).clone()
    }

    fn table(&self) -> MutexGuard<'_, SlotTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
