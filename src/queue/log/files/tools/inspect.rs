//! What each file of a log is.

use std::path::{Path, PathBuf};

use super::super::error::FolderOpenError;
use super::{AnyEvents, existing, is_in_use};
use crate::env::Disk;
use crate::journal::limits::SEGMENT_HEADER_BYTES;
use crate::journal::slots::{SlotHead, Survey, Walk};
use crate::journal::{HeaderError, Mark, Recovered, SegmentHeader, SlotNo};

/// A folder at one moment.
#[derive(Debug)]
pub struct Inspection {
    /// The journal's folder.
    pub dir: PathBuf,
    /// Somebody has the log open: its end may change while it is read.
    pub in_use: bool,
    /// The files, by name.
    pub slots: Vec<SlotInspection>,
    /// How far the log went, as the file `mark` says; none if that can't be read.
    pub mark: Option<Mark>,
    /// What an opening would find, or why it would refuse.
    pub verdict: Result<Recovered, FolderOpenError>,
}

/// One slot's file, and what it holds.
#[derive(Clone, Debug)]
pub struct SlotInspection {
    /// The number in the file's name.
    pub slot: SlotNo,
    /// Bytes of the file, zeros included.
    pub bytes: u64,
    /// What its header says.
    pub header: Result<SegmentHeader, HeaderError>,
    /// What it is to the log.
    pub role: SlotRole,
    /// Intact batches from its start on.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Where the last of them ends.
    pub end: u32,
}

impl SlotInspection {
    /// How much of the file its batches fill, in percent.
    pub fn fill_percent(&self) -> u64 {
        u64::from(self.end) * 100 / self.bytes.max(1)
    }
}

/// What a file is to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotRole {
    /// It holds a segment that is needed.
    Log,
    /// It holds nothing needed.
    Spare,
    /// It holds a segment that was begun and never reached.
    Abandoned,
}

/// Looks at every file, also of a log that is damaged or in use.
///
/// # Errors
/// [`FolderOpenError::Io`] when a file can't be read; damage is part of what is found.
pub async fn inspect(disk: &dyn Disk, dir: &Path) -> Result<Inspection, FolderOpenError> {
    let in_use = is_in_use(disk, dir).await?;
    let folder = existing(disk, dir).await?;
    let heads = folder.heads().await?;
    let verdict = folder.recover(&mut AnyEvents).await;
    let mut slots = Vec::with_capacity(heads.len());
    let mut bytes = Vec::new();
    for head in &heads {
        folder.read(head.slot, &mut bytes).await?;
        let role = role(&heads, &verdict, head.slot);
        slots.push(look_at(head, role, &bytes));
    }
    Ok(Inspection {
        dir: dir.to_owned(),
        in_use,
        slots,
        mark: folder.mark().mark().ok().flatten().copied(),
        verdict,
    })
}

/// A damaged log has no verdict on its files: then the heads alone have to say.
fn role(
    heads: &[SlotHead],
    verdict: &Result<Recovered, FolderOpenError>,
    slot: SlotNo,
) -> SlotRole {
    let (log, abandoned): (Vec<SlotNo>, Vec<SlotNo>) = match (verdict, Survey::new(heads)) {
        (Ok(recovered), _) => {
            let live = recovered.segments.iter().map(|live| live.slot);
            (live.collect(), recovered.abandoned.clone())
        }
        (Err(_), Ok(survey)) => {
            let log = survey.log.iter().map(|planned| planned.slot);
            let over = survey.superseded.iter().map(|planned| planned.slot);
            (log.collect(), over.collect())
        }
        (Err(_), Err(_)) => (Vec::new(), Vec::new()),
    };
    if log.contains(&slot) {
        SlotRole::Log
    } else if abandoned.contains(&slot) {
        SlotRole::Abandoned
    } else {
        SlotRole::Spare
    }
}

fn look_at(head: &SlotHead, role: SlotRole, bytes: &[u8]) -> SlotInspection {
    let header = SegmentHeader::decode(&head.bytes);
    let mut found = SlotInspection {
        slot: head.slot,
        bytes: bytes.len() as u64,
        header,
        role,
        batches: 0,
        records: 0,
        end: SEGMENT_HEADER_BYTES,
    };
    if let Ok(header) = header {
        for batch in Walk::new(bytes, header.segment, header.generation) {
            found.batches += 1;
            found.records += u64::from(batch.header.records);
            found.end = batch.end;
        }
    }
    found
}
