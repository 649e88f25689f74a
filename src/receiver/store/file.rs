//! An append-only log of inbox records.
//!
//! The file starts with 28 bytes: `LBINBOX1`, the 16-byte inbox id, and their CRC-32C. Blocks follow,
//! one per append: magic `LBIB`, the payload's length, a CRC-32C over the inbox id, the block's offset
//! and the payload, then the payload, which is records one after the other (`record.rs`). Numbers are
//! little-endian.
//!
//! A block is written only after the one before it was synced, so a crash can tear the last one alone:
//! a broken block with no whole one behind it is cut; with one behind it the file is damaged and refused.
//! When most of the file is settled its live records are copied to a new file, which then takes the
//! name; the first file is made in the same way, so that a header is never torn.

mod record;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use super::worker::{
    AppendError, AppendFile, Backing, Worker, beside, io_error, lock, sync_parent,
};
use super::{InboxRecord, InboxStore, StoreError, StoredInbox, StoredTask, fresh_inbox_id};
use crate::core::{DeliveryId, Epoch, IdRange, Origin, Seq, TaskId};
use crate::coverage::{Site, reached};
use crate::env::{BoxFuture, Disk, DiskLock, Entropy, Env};
use crate::receiver::inbox::IdRanges;
use crate::wire::InboxId;

const FILE_MAGIC: &[u8; 8] = b"LBINBOX1";
const FILE_HEADER_BYTES: usize = 28;
const BLOCK_MAGIC: &[u8; 4] = b"LBIB";
const BLOCK_HEADER_BYTES: usize = 12;

/// Below this a file is not worth copying.
const COMPACT_BYTES_MIN: u64 = 4 << 20;

/// The file is copied when it is this many times as large as what lives in it: then copying costs a
/// third of what was appended since the last time.
const COMPACT_FACTOR: u64 = 4;

/// Payload after which a copy starts a new block.
const COPY_BLOCK_BYTES: usize = 1 << 20;

/// An inbox store in one file. See the module's description of its format.
pub struct FileStore {
    worker: Worker<InboxLog>,
}

impl FileStore {
    /// A store in `path`, which is opened or created when the receiver starts.
    ///
    /// # Errors
    /// [`StoreError::Io`] when no thread can be started for it.
    pub fn new(env: &Env, path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = path.into();
        let backing = InboxLog {
            disk: Arc::clone(&env.disk),
            entropy: Arc::clone(&env.entropy),
            path: path.clone(),
            open: None,
            compact_bytes_min: COMPACT_BYTES_MIN,
            copy_again_at: 0,
        };
        let worker = Worker::start(&*env.disk, &path, backing)?;
        Ok(Self { worker })
    }
}

impl InboxStore for FileStore {
    fn load(&self) -> BoxFuture<'_, Result<(InboxId, StoredInbox), StoreError>> {
        Box::pin(self.worker.load())
    }

    fn append(&self, records: Vec<InboxRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.worker.append(records))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.worker.close())
    }
}

/// The driver's side.
struct InboxLog {
    disk: Arc<dyn Disk>,
    entropy: Arc<dyn Entropy>,
    path: PathBuf,
    open: Option<OpenFile>,
    compact_bytes_min: u64,
    /// Bytes of the file from which on a copy is tried again for which there was no room.
    copy_again_at: u64,
}

struct OpenFile {
    file: AppendFile,
    id: InboxId,
    live: Live,
    _lock: Box<dyn DiskLock>,
}

/// Where the newest record of each unsettled task stands.
#[derive(Clone, Default)]
struct Live {
    tasks: BTreeMap<(Origin, Seq), FilePlace>,
    settled: IdRanges,
    bytes: u64,
}

#[derive(Clone, Copy)]
struct FilePlace {
    offset: u64,
    bytes: u32,
}

impl Live {
    /// How large a file with nothing else in it would be.
    fn file_bytes(&self) -> u64 {
        let settled = self.settled.len().saturating_mul(record::SETTLED_BYTES);
        let around = settled.saturating_add(FILE_HEADER_BYTES);
        self.bytes.saturating_add(around as u64)
    }

    fn note(&mut self, record: &InboxRecord, place: FilePlace) {
        let task = match record {
            InboxRecord::Settled(range) => {
                let added = self.settled.insert(*range, usize::MAX);
                assert!(added, "no limit stands against it");
                for (_, gone) in self.tasks.extract_if(keys_of(*range), |_, _| true) {
                    less(&mut self.bytes, gone);
                }
                return;
            }
            InboxRecord::Started(delivery)
            | InboxRecord::Finished(delivery, _)
            | InboxRecord::NotStarted(delivery) => delivery.task,
        };
        if self.settled.contains(task) {
            return;
        }
        self.bytes = self.bytes.saturating_add(place.bytes.into());
        if let Some(old) = self.tasks.insert(task.by_origin(), place) {
            less(&mut self.bytes, old);
        }
    }
}

impl Backing for InboxLog {
    type Batch = Vec<InboxRecord>;

    fn load(&mut self) -> BoxFuture<'_, Result<(InboxId, StoredInbox), StoreError>> {
        Box::pin(self.open())
    }

    fn append<'a>(
        &'a mut self,
        records: &'a Vec<InboxRecord>,
    ) -> BoxFuture<'a, Result<(), AppendError>> {
        Box::pin(async move {
            let open = self.open.as_mut().ok_or(StoreError::Stopped)?;
            open.file.check_place().await?;
            let mut payload = BytesMut::new();
            let start = payload_start(open.file.size());
            let mut places = Vec::with_capacity(records.len());
            for record in records {
                let before = payload.len();
                record::encode(record, &mut payload);
                places.push(place(start, before, payload.len()));
            }
            write_block(&mut open.file, open.id, &payload).await?;
            open.file.sync().await?;
            open.file.check_place().await?;
            for (record, place) in records.iter().zip(places) {
                open.live.note(record, place);
            }
            let size = open.file.size();
            let is_large = size >= self.compact_bytes_min.max(self.copy_again_at);
            if is_large && size / COMPACT_FACTOR > open.live.file_bytes() {
                self.compact().await?;
            }
            Ok(())
        })
    }

    fn disk(&self) -> &dyn Disk {
        &*self.disk
    }
}

impl InboxLog {
    async fn open(&mut self) -> Result<(InboxId, StoredInbox), StoreError> {
        let held = lock(&*self.disk, &self.path).await?;
        let mut file = AppendFile::open(&*self.disk, &self.path).await?;
        if file.size() == 0 {
            // A new file, or one that was only opened before a crash: it never held anything.
            let id = fresh_inbox_id(&*self.entropy);
            let mut live = Live::default();
            file = self.copy(&file, id, &mut live).await?;
            self.open = Some(OpenFile {
                file,
                id,
                live,
                _lock: held,
            });
            return Ok((id, StoredInbox::default()));
        }
        let header = file.read(0, FILE_HEADER_BYTES).await?;
        let id = parse_file_header(&header).ok_or_else(|| self.corrupt(0, "not an inbox file"))?;
        let mut live = Live::default();
        let mut tasks = Stored::new();
        let mut offset = FILE_HEADER_BYTES as u64;
        let mut last_block = offset;
        while offset < file.size() {
            let Some(payload) = read_block(&file, id, offset).await? else {
                if let Some(next) = find_block_after(&file, id, offset).await? {
                    let why = format!("a broken block before a whole one at byte {next}");
                    return Err(self.corrupt(offset, &why));
                }
                tracing::warn!(
                    file = %self.path.display(), bytes = file.size().saturating_sub(offset),
                    "cutting a torn last block: nothing in it was answered or started"
                );
                file.cut(offset).await?;
                break;
            };
            let start = payload_start(offset);
            let mut rest = &payload[..];
            while !rest.is_empty() {
                let before = payload.len().saturating_sub(rest.len());
                let Some(record) = record::decode(&mut rest) else {
                    let at = start.saturating_add(before as u64);
                    return Err(self.corrupt(at, "a malformed record"));
                };
                let after = payload.len().saturating_sub(rest.len());
                live.note(&record, place(start, before, after));
                remember(&mut tasks, record);
            }
            (last_block, offset) = (offset, start.saturating_add(payload.len() as u64));
        }
        // It is about to be answered from; and the file may have got its name a moment before a crash.
        file.sync_found(last_block).await?;
        sync_parent(&*self.disk, &self.path).await?;
        let stored = StoredInbox {
            tasks: tasks
                .into_iter()
                .map(|((origin, seq), (epoch, what))| (TaskId { seq, origin }, epoch, what))
                .collect(),
            done: IdRanges::default(),
            settled: live.settled.clone(),
        };
        self.open = Some(OpenFile {
            file,
            id,
            live,
            _lock: held,
        });
        Ok((id, stored))
    }

    /// Copies what lives. Without room for that the file goes on as it is, and grows for a while before it is tried again.
    async fn compact(&mut self) -> Result<(), StoreError> {
        let mut open = self.open.take().ok_or(StoreError::Stopped)?;
        let mut live = open.live.clone();
        match self.copy(&open.file, open.id, &mut live).await {
            Ok(file) => (open.file, open.live) = (file, live),
            Err(AppendError::Failed(error)) => return Err(error),
            Err(AppendError::Again(error)) => {
                reached!(Site::InboxNotCopied);
                tracing::warn!(%error, "the inbox's file can't be copied for now, and goes on growing");
                // Whatever is there of the copy takes the room that is missing. It is made anew each time.
                let _ = self.disk.remove(&beside(&self.path, ".new")).await;
                self.copy_again_at = open.file.size().saturating_add(self.compact_bytes_min);
            }
        }
        self.open = Some(open);
        Ok(())
    }

    /// Writes a new file with what lives in `old`, makes it durable and gives it the name.
    async fn copy(
        &self,
        old: &AppendFile,
        id: InboxId,
        live: &mut Live,
    ) -> Result<AppendFile, AppendError> {
        let path = beside(&self.path, ".new");
        let mut file = AppendFile::open(&*self.disk, &path).await?;
        // It may be left over from a crash.
        file.cut(0).await?;
        file.write(&file_header(id)).await?;
        let mut payload = BytesMut::new();
        for range in live.settled.iter() {
            record::encode(&InboxRecord::Settled(range), &mut payload);
            if payload.len() >= COPY_BLOCK_BYTES {
                write_block(&mut file, id, &payload).await?;
                payload.clear();
            }
        }
        for held in live.tasks.values_mut() {
            let bytes = old.read(held.offset, held.bytes as usize).await?;
            let before = payload.len();
            payload.extend_from_slice(&bytes);
            let start = payload_start(file.size());
            *held = place(start, before, payload.len());
            if payload.len() >= COPY_BLOCK_BYTES {
                write_block(&mut file, id, &payload).await?;
                payload.clear();
            }
        }
        if !payload.is_empty() {
            write_block(&mut file, id, &payload).await?;
        }
        file.sync().await?;
        let renamed = self.disk.rename(&path, &self.path).await;
        renamed.map_err(|error| io_error("rename", &path, error))?;
        sync_parent(&*self.disk, &self.path).await?;
        file.renamed(&self.path);
        Ok(file)
    }

    fn corrupt(&self, offset: u64, why: &str) -> StoreError {
        StoreError::Corrupt {
            path: self.path.clone(),
            offset,
            why: why.to_owned(),
        }
    }
}

/// What was counted when it was written goes out of the count: no copy has it any more.
fn less(bytes: &mut u64, gone: FilePlace) {
    let left = bytes.checked_sub(gone.bytes.into());
    *bytes = left.expect("what goes was counted when it came");
}

/// Where the records of a block at `offset` begin.
fn payload_start(offset: u64) -> u64 {
    offset.saturating_add(BLOCK_HEADER_BYTES as u64)
}

fn place(start: u64, from: usize, to: usize) -> FilePlace {
    let bytes = to
        .checked_sub(from)
        .expect("a record ends behind its start");
    FilePlace {
        offset: start.saturating_add(from as u64),
        bytes: u32::try_from(bytes).expect("a record is far smaller than 4 GiB"),
    }
}

/// Tasks by origin first, so that a settled range is one piece.
type Stored = BTreeMap<(Origin, Seq), (Epoch, StoredTask)>;

fn remember(tasks: &mut Stored, record: InboxRecord) {
    let (DeliveryId { task, epoch }, what) = match record {
        InboxRecord::Started(delivery) => (delivery, StoredTask::Started),
        InboxRecord::Finished(delivery, outcome) => (delivery, StoredTask::Finished(outcome)),
        InboxRecord::NotStarted(delivery) => (delivery, StoredTask::NotStarted),
        InboxRecord::Settled(range) => {
            let settled = tasks.extract_if(keys_of(range), |_, _| true);
            return settled.for_each(drop);
        }
    };
    tasks.insert(task.by_origin(), (epoch, what));
}

/// Where the tasks of a range lie.
fn keys_of(range: IdRange) -> RangeInclusive<(Origin, Seq)> {
    let (first, last) = range.ends();
    first.by_origin()..=last.by_origin()
}

fn file_header(id: InboxId) -> Vec<u8> {
    let mut header = FILE_MAGIC.to_vec();
    header.extend_from_slice(&id.0);
    let crc = crc32c::crc32c(&header);
    header.put_u32_le(crc);
    header
}

fn parse_file_header(header: &[u8]) -> Option<InboxId> {
    let id = InboxId(header.get(8..24)?.try_into().ok()?);
    (header == file_header(id)).then_some(id)
}

fn block_crc(id: InboxId, offset: u64, payload: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&id.0), &offset.to_le_bytes());
    crc32c::crc32c_append(crc, payload)
}

async fn write_block(
    file: &mut AppendFile,
    id: InboxId,
    payload: &[u8],
) -> Result<(), AppendError> {
    let mut block = BytesMut::with_capacity(BLOCK_HEADER_BYTES.saturating_add(payload.len()));
    block.put_slice(BLOCK_MAGIC);
    block.put_u32_le(u32::try_from(payload.len()).expect("a block is far smaller than 4 GiB"));
    block.put_u32_le(block_crc(id, file.size(), payload));
    block.put_slice(payload);
    file.write(&block).await
}

/// The payload of the block at `offset`; `None` if there is no whole one.
async fn read_block(
    file: &AppendFile,
    id: InboxId,
    offset: u64,
) -> Result<Option<Vec<u8>>, StoreError> {
    let header = file.read(offset, BLOCK_HEADER_BYTES).await?;
    let number = |at: usize| {
        let bytes = header.get(at..)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes))
    };
    let (Some(bytes), Some(crc)) = (number(4), number(8)) else {
        return Ok(None);
    };
    let start = payload_start(offset);
    if !header.starts_with(BLOCK_MAGIC) || start.saturating_add(bytes.into()) > file.size() {
        return Ok(None);
    }
    let payload = file.read(start, bytes as usize).await?;
    Ok((block_crc(id, offset, &payload) == crc).then_some(payload))
}

/// The offset of the first whole block behind `offset`.
async fn find_block_after(
    file: &AppendFile,
    id: InboxId,
    offset: u64,
) -> Result<Option<u64>, StoreError> {
    let mut from = offset.saturating_add(1);
    while from < file.size() {
        let piece = file.read_on(from).await?;
        for (at, window) in piece.windows(BLOCK_MAGIC.len()).enumerate() {
            let candidate = from.saturating_add(at as u64);
            if window == BLOCK_MAGIC && read_block(file, id, candidate).await?.is_some() {
                return Ok(Some(candidate));
            }
        }
        // The pieces overlap, so that no magic falls between two.
        let overlap = BLOCK_MAGIC.len().saturating_sub(1);
        let step = piece.len().saturating_sub(overlap).max(1);
        from = from.saturating_add(step as u64);
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
