//! Reading back: bodies for leases, whole segments for compaction.

use bytes::Bytes;

use super::error::FolderReadError;
use super::segments::SegmentFiles;
use super::slots::LiveSlot;
use crate::core::ids::{BodyRef, SegmentNo};
use crate::coverage::{Site, reached};
use crate::journal::Corruption;
use crate::journal::slots::Walk;
use crate::queue::log::SegmentRecord;

impl SegmentFiles {
    /// Reads a body and checks it. What was appended but never written is not there.
    ///
    /// # Errors
    /// [`FolderReadError::Gone`] if its segment was retired; look up where it lies now, and read again.
    pub async fn read_body(&self, body: BodyRef) -> Result<Bytes, FolderReadError> {
        self.check()?;
        let live = self
            .live(body.segment)
            .ok_or(FolderReadError::Gone(body.segment))?;
        let mut bytes = vec![0; body.len as usize];
        let read = live.slot.file.read_at(u64::from(body.offset), &mut bytes);
        let count = read.await.map_err(|source| FolderReadError::Io {
            path: self.path(live.slot.slot),
            source,
        })?;
        if count == bytes.len() && crc32c::crc32c(&bytes) == body.crc {
            return Ok(bytes.into());
        }
        // The slot may have been recycled while it was read.
        if self.live(body.segment).is_none() {
            return Err(FolderReadError::Gone(body.segment));
        }
        reached!(Site::BodyDamaged);
        let what = format!("a body of {} bytes is not what was written", body.len);
        Err(self.damaged(body.segment, &live, body.offset, what))
    }

    /// Reads the events of a segment that is not written any more, all of them, checked.
    ///
    /// # Errors
    /// [`FolderReadError`]; a segment of which anything is unreadable gives nothing.
    pub async fn read_whole(
        &self,
        segment: SegmentNo,
    ) -> Result<Vec<SegmentRecord>, FolderReadError> {
        self.check()?;
        let live = self.live(segment).ok_or(FolderReadError::Gone(segment))?;
        let size = live.end.map_or(live.slot.bytes, u64::from);
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        let read = live.slot.file.read_at(0, &mut bytes).await;
        let count = read.map_err(|source| FolderReadError::Io {
            path: self.path(live.slot.slot),
            source,
        })?;
        bytes.truncate(count);
        let whole = Bytes::from(bytes);
        let mut walk = Walk::new(&whole, segment, live.generation);
        let mut records = Vec::new();
        let mut end = walk.offset();
        for batch in &mut walk {
            SegmentRecord::read(&batch, &whole, &mut records)
                .map_err(|error| self.damaged(segment, &live, batch.offset, error.to_string()))?;
            end = batch.end;
        }
        match live.end {
            Some(known) if known != end => {
                let what = format!("the segment reads well up to {end} and ends at {known}");
                Err(self.damaged(segment, &live, walk.offset(), what))
            }
            _ => Ok(records),
        }
    }

    fn damaged(
        &self,
        segment: SegmentNo,
        live: &LiveSlot,
        offset: u32,
        what: String,
    ) -> FolderReadError {
        FolderReadError::Damaged {
            dir: self.dir().to_owned(),
            damage: Corruption {
                segment,
                slot: Some(live.slot.slot),
                offset,
                what,
            },
        }
    }
}
