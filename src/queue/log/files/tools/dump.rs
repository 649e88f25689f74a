//! Every record as a line of JSON.

use std::path::Path;

use serde_json::Value;

use super::super::error::FolderOpenError;
use super::tail::{Stretch, TailFinding};
use super::{existing, is_in_use, json};
use crate::env::Disk;
use crate::journal::Position;
use crate::journal::slots::Survey;

/// What a dump came upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dumped {
    /// Places that can't be read: so many lines were of damage.
    pub damaged: u64,
    /// Somebody has the log open: what is being written can look damaged.
    pub in_use: bool,
}

/// Gives `line` each record of the log, in order. Damage is a line of its own, followed by the records that
/// can be read behind it. A log that is being written is dumped up to where it was read.
///
/// # Errors
/// [`FolderOpenError::Newer`], and [`FolderOpenError::Io`] when a file can't be read.
pub async fn dump(
    disk: &dyn Disk,
    dir: &Path,
    line: &mut (dyn FnMut(Value) + Send),
) -> Result<Dumped, FolderOpenError> {
    let in_use = is_in_use(disk, dir).await?;
    let mut damaged = 0;
    let folder = existing(disk, dir).await?;
    let survey = folder.survey(&folder.heads().await?).await?;
    let mut bytes = Vec::new();
    for stretch in stretches(&survey) {
        folder.read(stretch.slot(), &mut bytes).await?;
        let segment = stretch.planned.header.segment;
        stretch.read(&bytes, &mut |found| {
            line(match found {
                TailFinding::Record(placed) => json::record(segment, &placed),
                TailFinding::Damage { offset, what } => {
                    damaged += 1;
                    json::damage(segment, offset, &what)
                }
            });
        });
    }
    Ok(Dumped { damaged, in_use })
}

/// All segments from the oldest needed on, each up to where the next one says it ends.
pub(super) fn stretches(survey: &Survey) -> Vec<Stretch> {
    let needed = survey.segments.iter();
    let needed: Vec<_> = needed
        .filter(|planned| planned.header.segment >= survey.oldest)
        .collect();
    let ends = needed.iter().skip(1).map(|next| {
        let end: Position = next.header.previous_end;
        Some(end)
    });
    let ends = ends.chain([None]);
    needed
        .iter()
        .zip(ends)
        .map(|(planned, end)| Stretch {
            planned: **planned,
            from: 0,
            until: end
                .filter(|end| end.segment() == planned.header.segment)
                .map(Position::offset),
        })
        .collect()
}
