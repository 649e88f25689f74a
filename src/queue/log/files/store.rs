//! A folder as a [`LogStore`], and its open files as a [`Log`].

use std::path::PathBuf;
use std::sync::Arc;
use std::{fmt, io};

use bytes::Bytes;

use super::error::{DiskFailure, FolderReadError, SpareError};
use super::marker::NewLog;
use super::open::{self, Opened};
use super::segments::SegmentFiles;
use crate::core::ids::{BodyRef, SegmentNo};
use crate::coverage::{Site, reached};
use crate::env::{BoxFuture, Disk, DiskLock};
use crate::journal::{Fold, Recovered, SealedBatch};
use crate::queue::log::{
    self, Log, LogFailure, LogOptions, LogStore, OpenLog, Room, SegmentRecord, Tenure,
};

/// The log in a folder of a disk. It belongs to whoever holds the folder's lock, and can't be lost before
/// that is let go.
#[derive(Clone)]
pub struct FolderStore {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    new_log: NewLog,
}

impl FolderStore {
    /// The log in `dir`, whether there is one already or not.
    pub fn new(disk: Arc<dyn Disk>, dir: impl Into<PathBuf>) -> Self {
        Self {
            disk,
            dir: dir.into(),
            new_log: NewLog::default(),
        }
    }

    /// What to do if there is none.
    #[must_use]
    pub fn new_log(self, new_log: NewLog) -> Self {
        Self { new_log, ..self }
    }
}

impl fmt::Debug for FolderStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FolderStore")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl LogStore for FolderStore {
    fn run(&self, name: &str, driver: BoxFuture<'static, ()>) -> io::Result<()> {
        self.disk.run(name, driver)
    }

    fn open<'a>(
        &'a self,
        options: LogOptions,
        fold: &'a mut (dyn Fold + Send),
    ) -> BoxFuture<'a, Result<OpenLog, log::LogOpenError>> {
        Box::pin(async move {
            let geometry = options.geometry;
            let opened = open::open(self.disk.clone(), &self.dir, geometry, self.new_log, fold);
            let opened = opened.await?;
            let Opened {
                files,
                start,
                lock,
                report,
            } = opened;
            self.tell(&report.recovered);
            Ok(OpenLog {
                log: Arc::new(files),
                start,
                tenure: Box::new(HeldFolder { _lock: lock }),
            })
        })
    }
}

impl FolderStore {
    /// Says what was found, above all what a crash took.
    fn tell(&self, recovered: &Recovered) {
        if let Some(torn) = &recovered.torn {
            tracing::warn!(
                dir = %self.dir.display(),
                segment = torn.segment.0,
                offset = torn.offset,
                records = torn.records.map(tracing::field::display),
                bytes = torn.bytes.map(tracing::field::display),
                "the last batch can't be read and is left out: it was in flight when the process or the power \
                 went, and nobody was promised what it held, unless the disk has lost it since"
            );
        }
        let counts = recovered.counts;
        if recovered.is_new() {
            tracing::warn!(dir = %self.dir.display(), "there is no journal here: a new, empty one begins");
            return;
        }
        tracing::info!(
            dir = %self.dir.display(),
            batches = counts.batches,
            records = counts.records,
            bytes = counts.bytes,
            closed_in_order = recovered.sealed || counts.batches == 0,
            "journal recovered"
        );
    }
}

/// Keeps others out of the folder.
struct HeldFolder {
    _lock: Arc<dyn DiskLock>,
}

impl Tenure for HeldFolder {}

impl Log for SegmentFiles {
    fn append<'a>(&'a self, batch: &'a SealedBatch) -> BoxFuture<'a, Result<(), LogFailure>> {
        Box::pin(async move {
            let written = self.write_batch(batch).await;
            written
                .map_err(|failure| disk_failure(&format!("segment {}", batch.segment.0), failure))
        })
    }

    fn read_bodies<'a>(
        &'a self,
        bodies: &'a [BodyRef],
    ) -> BoxFuture<'a, Vec<Result<Bytes, log::LogReadError>>> {
        Box::pin(async move {
            let mut read = Vec::with_capacity(bodies.len());
            for body in bodies {
                read.push(self.read_body(*body).await.map_err(log::LogReadError::from));
            }
            read
        })
    }

    fn read_segment(
        &self,
        segment: SegmentNo,
    ) -> BoxFuture<'_, Result<Vec<SegmentRecord>, log::LogReadError>> {
        Box::pin(async move { Ok(self.read_whole(segment).await?) })
    }

    fn retire(&self, segment: SegmentNo) -> BoxFuture<'_, Result<(), LogFailure>> {
        Box::pin(async move {
            let retired = self.recycle(segment).await;
            retired.map_err(|failure| disk_failure("a retired segment", failure))
        })
    }

    fn make_room(&self) -> BoxFuture<'_, Result<bool, LogFailure>> {
        Box::pin(async move {
            match self.make_spare().await {
                Ok(()) => Ok(true),
                Err(SpareError::NoSpace) => {
                    reached!(Site::NoSpaceForSpare);
                    Ok(false)
                }
                // The segments that are kept ready last for a while; each refusal, and each roll, asks again.
                Err(SpareError::Exhausted(_)) => Ok(false),
                Err(SpareError::Io(error)) => {
                    Err(LogFailure::Disk(format!("a spare segment: {error}").into()))
                }
            }
        })
    }

    fn growth(&self) -> BoxFuture<'_, Option<u32>> {
        Box::pin(self.growable())
    }

    fn room(&self) -> Room {
        self.counted()
    }

    fn holds(&self) -> Result<(), LogFailure> {
        // The folder's lock is held for as long as the process lives. A disk that has failed takes back
        // nothing that was durable before.
        Ok(())
    }

    fn lost(&self) -> BoxFuture<'_, LogFailure> {
        Box::pin(std::future::pending())
    }
}

fn disk_failure(doing: &str, failure: DiskFailure) -> LogFailure {
    LogFailure::Disk(format!("{doing}: {failure}").into())
}

impl From<FolderReadError> for log::LogReadError {
    fn from(error: FolderReadError) -> Self {
        match &error {
            FolderReadError::Gone(segment) => Self::Gone(*segment),
            FolderReadError::Damaged { .. } => Self::Damaged(error.to_string().into()),
            FolderReadError::Io { .. } | FolderReadError::Failed(_) => {
                Self::ForNow(error.to_string().into())
            }
        }
    }
}
