//! The part that all file-backed stores share: a driver that owns the file, and the way to it.
//!
//! Disk operations may only be polled inside a driver. It takes one request after the other and ends
//! at the first failure: nothing may be promised of a file after a failed write or sync. Want of room or of descriptors
//! is none: what was written of a batch is cut off again, and the batch waits until it can be written.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::{StoreError, StoredInbox};
use crate::coverage::{Site, reached};
use crate::env::{BoxFuture, Disk, DiskFile, DiskLock, LockError, is_exhausted, is_full};
use crate::wire::InboxId;

/// Requests in the channel: the engine has at most one append under way, besides load and close.
const REQUESTS_MAX: usize = 4;

/// How much is read at once while loading.
const READ_BYTES: usize = 1 << 20;

/// The pause before a batch is tried again for which there was no room.
const AGAIN: Duration = Duration::from_millis(200);

type Loaded = Result<(InboxId, StoredInbox), StoreError>;

/// The code that runs inside the driver.
pub(super) trait Backing: Send + 'static {
    type Batch: Send + Sync + 'static;

    fn load(&mut self) -> BoxFuture<'_, Loaded>;

    /// Makes a batch durable. Called again with the same one after [`AppendError::Again`].
    fn append<'a>(&'a mut self, batch: &'a Self::Batch) -> BoxFuture<'a, Result<(), AppendError>>;

    /// Where it keeps what it remembers.
    fn disk(&self) -> &dyn Disk;
}

/// Why a batch is not durable.
#[derive(Debug)]
pub(super) enum AppendError {
    /// For want of what comes back by itself. What is not durable of it is not in the file.
    Again(StoreError),
    /// Nothing more can be promised of the file.
    Failed(StoreError),
}

impl From<StoreError> for AppendError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl From<AppendError> for StoreError {
    fn from(error: AppendError) -> Self {
        let (AppendError::Again(error) | AppendError::Failed(error)) = error;
        error
    }
}

enum Request<B> {
    Load(oneshot::Sender<Loaded>),
    Append(B, oneshot::Sender<Result<(), StoreError>>),
    Close(oneshot::Sender<()>),
}

/// The way to a driver.
pub(super) struct Worker<B: Backing> {
    requests: mpsc::Sender<Request<B::Batch>>,
}

impl<B: Backing> Worker<B> {
    /// Starts the driver.
    pub(super) fn start(disk: &dyn Disk, path: &Path, backing: B) -> Result<Self, StoreError> {
        let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
        disk.run("inbox-store", Box::pin(drive(backing, inbox)))
            .map_err(|error| io_error("start a thread for", path, error))?;
        Ok(Self { requests })
    }

    pub(super) async fn load(&self) -> Loaded {
        self.ask(Request::Load).await?
    }

    pub(super) async fn append(&self, batch: B::Batch) -> Result<(), StoreError> {
        self.ask(|reply| Request::Append(batch, reply)).await?
    }

    pub(super) async fn close(&self) {
        // A driver that has stopped has closed everything already.
        let _ = self.ask(Request::Close).await;
    }

    async fn ask<R>(
        &self,
        request: impl FnOnce(oneshot::Sender<R>) -> Request<B::Batch>,
    ) -> Result<R, StoreError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.requests.send(request(reply)).await;
        sent.map_err(|_| StoreError::Stopped)?;
        answer.await.map_err(|_| StoreError::Stopped)
    }
}

async fn drive<B: Backing>(mut backing: B, mut requests: mpsc::Receiver<Request<B::Batch>>) {
    while let Some(request) = requests.recv().await {
        // An asker who has gone needs no answer.
        let failed = match request {
            Request::Load(reply) => {
                let loaded = backing.load().await;
                let failed = loaded.is_err();
                let _ = reply.send(loaded);
                failed
            }
            Request::Append(batch, reply) => {
                let appended = append(&mut backing, &batch, &requests).await;
                let failed = appended.is_err();
                let _ = reply.send(appended);
                failed
            }
            Request::Close(reply) => {
                drop(backing);
                let _ = reply.send(());
                return;
            }
        };
        if failed {
            return;
        }
    }
}

/// Makes a batch durable, however long there is no room for it; unless somebody wants the file closed, or nobody wants
/// anything of it any more.
async fn append<B: Backing>(
    backing: &mut B,
    batch: &B::Batch,
    requests: &mpsc::Receiver<Request<B::Batch>>,
) -> Result<(), StoreError> {
    let mut waits = false;
    loop {
        let error = match backing.append(batch).await {
            Ok(()) if waits => {
                tracing::info!("the inbox can record again");
                return Ok(());
            }
            Ok(()) => return Ok(()),
            Err(AppendError::Failed(error)) => return Err(error),
            Err(AppendError::Again(error)) => error,
        };
        if !requests.is_empty() || requests.is_closed() || planted!(Bug::FullInboxIsTheEnd) {
            return Err(error);
        }
        if !waits {
            reached!(Site::StoreWaited);
            tracing::warn!(%error, "the inbox can record nothing for now: nothing is answered until it can");
        }
        waits = true;
        backing.disk().pause(AGAIN).await;
    }
}

/// A locked file that grows at its end.
pub(super) struct AppendFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    size: u64,
}

impl AppendFile {
    /// Opens or creates the file.
    pub(super) async fn open(disk: &dyn Disk, path: &Path) -> Result<Self, AppendError> {
        let file = disk.open(path, true).await;
        let file = file.map_err(|error| {
            let comes_back = is_exhausted(&error) || is_full(&error);
            let error = io_error("open", path, error);
            match comes_back {
                true => AppendError::Again(error),
                false => AppendError::Failed(error),
            }
        })?;
        let size = file.size().await;
        let size = size.map_err(|error| io_error("size up", path, error))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            size,
        })
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Up to `bytes` bytes from `offset`; fewer only at the end.
    pub(super) async fn read(&self, offset: u64, bytes: usize) -> Result<Vec<u8>, StoreError> {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut buffer = vec![0; bytes.min(left)];
        let read = self.file.read_at(offset, &mut buffer).await;
        let count = read.map_err(|error| io_error("read", &self.path, error))?;
        buffer.truncate(count);
        Ok(buffer)
    }

    /// The next piece for whoever reads from the start to the end.
    pub(super) async fn read_on(&self, offset: u64) -> Result<Vec<u8>, StoreError> {
        self.read(offset, READ_BYTES).await
    }

    /// Writes at the end without making it durable. If there is no room for all of it, nothing of it stays.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), AppendError> {
        let Err(error) = self.file.write_at(self.size, bytes).await else {
            self.size = self.size.saturating_add(bytes.len() as u64);
            return Ok(());
        };
        let comes_back = is_full(&error);
        let error = io_error("write to", &self.path, error);
        if !comes_back {
            return Err(AppendError::Failed(error));
        }
        // No sync was asked for what was written of it, so that none has failed.
        let cut = self.file.set_size(self.size).await;
        cut.map_err(|error| io_error("cut what was written in part off", &self.path, error))?;
        Err(AppendError::Again(error))
    }

    /// Makes durable what was found, the last write among it, which begins at `from` or behind it.
    ///
    /// That write may stand in the page cache alone: its process may have died before the sync, or because the
    /// sync failed, after which another sync proves nothing. Written anew, as it is, it counts as changed, and
    /// the sync as one of its own.
    pub(super) async fn sync_found(&self, from: u64) -> Result<(), StoreError> {
        let mut offset = from;
        while offset < self.size {
            let piece = self.read_on(offset).await?;
            if piece.is_empty() {
                break;
            }
            let written = self.file.write_at(offset, &piece).await;
            written.map_err(|error| io_error("write again the end of", &self.path, error))?;
            offset = offset.saturating_add(piece.len() as u64);
        }
        self.sync().await
    }

    pub(super) async fn sync(&self) -> Result<(), StoreError> {
        let synced = self.file.sync().await;
        synced.map_err(|error| io_error("make durable", &self.path, error))
    }

    /// Fails if the file is not where others look for it, or is not as long as it was left: a tool that rotates logs
    /// has renamed or cut it, its folder was unmounted, or somebody else writes to it.
    pub(super) async fn check_place(&self) -> Result<(), StoreError> {
        const GONE: &str = "it was removed, renamed or unmounted under its receiver";
        const RESIZED: &str = "it was cut, or written to by somebody else, under its receiver";
        let wrong = |why: &'static str| io_error("go on with", &self.path, io::Error::other(why));
        let is_there = self.file.is_at(&self.path).await;
        let is_there = is_there.map_err(|error| io_error("look for", &self.path, error))?;
        let size = self.file.size().await;
        let size = size.map_err(|error| io_error("size up", &self.path, error))?;
        match (is_there, size == self.size) {
            (true, true) => Ok(()),
            (false, _) => Err(wrong(GONE)),
            (true, false) => Err(wrong(RESIZED)),
        }
    }

    /// Cuts the file, durably.
    pub(super) async fn cut(&mut self, size: u64) -> Result<(), StoreError> {
        let cut = self.file.set_size(size).await;
        cut.map_err(|error| io_error("cut the torn end of", &self.path, error))?;
        self.size = size;
        self.sync().await
    }

    /// After a rename of the file.
    pub(super) fn renamed(&mut self, path: &Path) {
        self.path = path.to_owned();
    }
}

/// Takes the lock beside `path`.
pub(super) async fn lock(disk: &dyn Disk, path: &Path) -> Result<Box<dyn DiskLock>, StoreError> {
    let path = beside(path, ".lock");
    match disk.lock(&path).await {
        Ok(lock) => Ok(lock),
        Err(LockError::Held) => Err(StoreError::Locked { path }),
        Err(LockError::Io(error)) => Err(io_error("lock", &path, error)),
    }
}

/// Makes the names in `path`'s directory durable.
pub(super) async fn sync_parent(disk: &dyn Disk, path: &Path) -> Result<(), StoreError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let synced = disk.sync_dir(parent).await;
    synced.map_err(|error| io_error("make durable the directory", parent, error))
}

/// The path with `suffix` after its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

pub(super) fn io_error(what: &'static str, path: &Path, error: io::Error) -> StoreError {
    StoreError::Io {
        what,
        path: path.to_owned(),
        error: Arc::new(error),
    }
}
