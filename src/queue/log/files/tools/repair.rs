//! Cutting a log where it is damaged, so that it opens again without what lay behind.
//!
//! Nothing is overwritten. The segment that is cut is copied to a `damaged-…` file, those behind it are
//! renamed to such; then a new segment's header names the place of the cut, as the header of every
//! opening does, and what stands behind that place is no log any more. Last comes the mark of that header. Interrupted
//! anywhere, it can be run again.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::super::error::FolderOpenError;
use super::super::folder::{Folder, LOCK_FILE};
use super::tail::{Stretch, TailFinding};
use super::{existing, json};
use crate::core::ids::{SegmentNo, TaskId};
use crate::env::{Disk, LockError};
use crate::journal::limits::{SEGMENT_BYTES_DEFAULT, SEGMENT_HEADER_BYTES};
use crate::journal::slots::{PlannedSegment, Survey, Walk};
use crate::journal::{
    Corruption, Fold, Generation, Mark, MarkFlaw, Position, Recovered, SegmentHeader, SlotNo,
};

/// Tasks that are listed one by one; further ones are counted.
pub const LOST_TASKS_MAX: usize = 100_000;

/// Names tried for one `damaged-…` file before giving up: one per repair of the same file.
const ASIDE_NAMES_MAX: u32 = 1000;

/// What a repair did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// What was wrong.
    pub damage: Corruption,
    /// The log ends here now; the place before everything, if nothing of it could be kept. None if the
    /// log is whole: a file that contradicted it was taken out, or its mark was lost and made again.
    pub cut: Option<Position>,
    /// The files that hold what was taken out.
    pub aside: Vec<PathBuf>,
    /// What was in them, as far as it can be read.
    pub lost: Lost,
}

/// What lay behind a cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Records that could be read.
    pub records: u64,
    /// Places that could not.
    pub unreadable: u64,
    /// The tasks those records are about. Whether one is gone, or only stands where it stood earlier,
    /// its records say.
    pub tasks: BTreeMap<TaskId, LostTask>,
    /// How many more tasks there were than are listed.
    pub tasks_omitted: u64,
}

/// What the lost records say of one task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LostTask {
    /// Its whole life so far lay behind the cut: the task is gone.
    pub gone: bool,
    /// Its lost events, in order; at most [`LostTask::EVENTS_MAX`].
    pub events: Vec<&'static str>,
}

impl LostTask {
    /// Events listed of one task.
    pub const EVENTS_MAX: usize = 8;
}

/// Where to cut, and what goes with it.
struct RepairPlan {
    /// The header that names the cut.
    header: SegmentHeader,
    /// The segment that is cut, if anything of it stays.
    copied: Option<PlannedSegment>,
    /// Slots that go as they are, newest first.
    moved: Vec<(SegmentNo, SlotNo)>,
    lost: Vec<Stretch>,
}

/// Cuts the log at its first damage, if it has any. `fold` checks what the events say, as at an opening.
/// A log can be damaged in more than one way: run it until there is nothing to repair.
///
/// # Errors
/// [`FolderOpenError::Locked`] if somebody has the log open. After [`FolderOpenError::Io`] or [`FolderOpenError::NoSpace`]
/// the log is as damaged as before, and whole `damaged-…` copies may have been added.
pub async fn repair(
    disk: &dyn Disk,
    dir: &Path,
    fold: &mut (dyn Fold + Send),
) -> Result<Option<Repair>, FolderOpenError> {
    // A folder without a log gets no lock either.
    drop(existing(disk, dir).await?);
    let lock_path = dir.join(LOCK_FILE);
    let _lock = disk.lock(&lock_path).await.map_err(|error| match error {
        LockError::Held => FolderOpenError::Locked {
            dir: dir.to_owned(),
        },
        LockError::Io(error) => FolderOpenError::io("locking", &lock_path, error),
    })?;
    let folder = Folder::open(disk, dir).await?;
    let damage = match folder.recover_unmarked(fold).await {
        Ok(recovered) => match folder.mark_flaw(&recovered)? {
            None => return Ok(None),
            Some(MarkFlaw::NoWord(damage)) => {
                return mark_again(disk, &folder, &recovered, damage)
                    .await
                    .map(Some);
            }
            Some(MarkFlaw::LogShort(damage)) => damage,
        },
        Err(FolderOpenError::Corrupt { damage, .. }) => damage,
        Err(error) => return Err(error),
    };
    let survey = folder.survey(&folder.heads().await?).await?;
    let mut overruled = survey.superseded.iter().copied();
    if let Some(planned) = overruled.find(|planned| Some(planned.slot) == damage.slot) {
        // The log reads without it: what stands in there stands in the log as well, or was never part of it.
        let lost = Lost::default();
        let (segment, slot) = (planned.header.segment, planned.slot);
        let aside = vec![move_aside(disk, dir, segment, slot).await?];
        return Ok(Some(Repair {
            damage,
            cut: None,
            aside,
            lost,
        }));
    }
    let plan = plan(&folder, &survey, &damage).await?;
    let lost = count_lost(&folder, &plan.lost).await?;
    let aside = carry_out(disk, &folder, &survey, &plan).await?;
    Ok(Some(Repair {
        damage,
        cut: Some(plan.header.previous_end),
        aside,
        lost,
    }))
}

/// The log is whole, and only what says how far it went is lost: that is said anew.
async fn mark_again(
    disk: &dyn Disk,
    folder: &Folder,
    recovered: &Recovered,
    damage: Corruption,
) -> Result<Repair, FolderOpenError> {
    if let Some(mark) = Mark::of_whole(recovered) {
        write_mark(disk, folder, &mark).await?;
    }
    Ok(Repair {
        damage,
        cut: None,
        aside: Vec::new(),
        lost: Lost::default(),
    })
}

async fn write_mark(disk: &dyn Disk, folder: &Folder, mark: &Mark) -> Result<(), FolderOpenError> {
    let file = folder.mark().to_write(disk).await?;
    sync_dir(disk, folder.dir()).await?;
    let written = file.write(mark).await;
    written.map_err(|(doing, error)| FolderOpenError::io(doing, file.path(), error))
}

/// The segments before the damage that follow one another without a gap.
fn kept_whole(survey: &Survey, damage: &Corruption) -> Vec<PlannedSegment> {
    let needed = survey.segments.iter();
    let needed = needed.filter(|planned| planned.header.segment >= survey.oldest);
    let mut kept: Vec<PlannedSegment> = Vec::new();
    // What recovery could not reach across a gap begins with the oldest; otherwise the log begins
    // where retirements have left it.
    let start = survey.log.first().map(|first| first.header.segment);
    let start = start.filter(|start| damage.segment >= *start);
    for planned in needed {
        let number = planned.header.segment;
        let follows = match kept.last() {
            None => number == start.unwrap_or(survey.oldest),
            Some(last) => number.0 == last.header.segment.0 + 1,
        };
        if follows && number < damage.segment {
            kept.push(*planned);
        }
    }
    kept
}

/// Decides without changing anything.
async fn plan(
    folder: &Folder,
    survey: &Survey,
    damage: &Corruption,
) -> Result<RepairPlan, FolderOpenError> {
    let mut kept = kept_whole(survey, damage);
    let damaged = survey.segments.iter().copied().find(|planned| {
        planned.header.segment == damage.segment
            && Some(planned.slot) == damage.slot
            && damage.offset >= SEGMENT_HEADER_BYTES
    });
    let adjoins = |planned: &PlannedSegment| {
        kept.last().is_none_or(|last: &PlannedSegment| {
            last.header.segment.0 + 1 == planned.header.segment.0
        })
    };
    let damaged = damaged.filter(adjoins);
    let mut copied = None;
    let mut end = None;
    if let Some(planned) = damaged {
        end = end_of(folder, planned, damage.offset).await?;
        copied = end.map(|_| planned);
        // Nothing of it is intact: then the log ends where it began.
        let (before, crc) = (planned.header.previous_end, planned.header.previous_crc);
        end = end.or(Some((before, crc)));
    } else if let Some(last) = kept.last() {
        end = end_of(folder, *last, u32::MAX).await?;
    }
    kept.extend(copied);
    let (cut, crc) = end.unwrap_or_default();
    let segment = kept
        .last()
        .map_or(damage.segment, |last| SegmentNo(last.header.segment.0 + 1));
    let oldest = kept.first().map_or(segment, |first| first.header.segment);
    let header = SegmentHeader {
        segment,
        generation: after_all(survey, folder.mark().mark()?),
        oldest,
        segment_bytes: segment_bytes(survey),
        previous_end: cut,
        previous_crc: crc,
        is_cut: true,
    };
    let behind = |planned: &&PlannedSegment| planned.header.segment >= segment;
    let whole = survey.segments.iter().chain(&survey.superseded);
    let whole: Vec<PlannedSegment> = whole.filter(behind).copied().collect();
    let cut_stretch = copied.map(|planned| Stretch {
        from: cut.offset(),
        ..Stretch::all_of(planned)
    });
    let moved = moved(survey, &whole, segment);
    let whole = whole.into_iter().map(Stretch::all_of);
    Ok(RepairPlan {
        header,
        copied,
        moved,
        lost: cut_stretch.into_iter().chain(whole).collect(),
    })
}

/// The slots of these segments, and those that lost their header and held segments from `from` on;
/// newest first.
fn moved(survey: &Survey, whole: &[PlannedSegment], from: SegmentNo) -> Vec<(SegmentNo, SlotNo)> {
    let headless = survey.headless.iter();
    let headless = headless.filter(|(_, number)| *number >= from);
    let mut moved: Vec<(SegmentNo, SlotNo)> = whole
        .iter()
        .map(|planned| (planned.header.segment, planned.slot))
        .chain(headless.map(|(slot, number)| (*number, *slot)))
        .collect();
    moved.sort_by(|one, other| other.cmp(one));
    moved
}

/// The end and the CRC of the last intact batch that ends at or before the batch that holds `before`.
async fn end_of(
    folder: &Folder,
    planned: PlannedSegment,
    before: u32,
) -> Result<Option<(Position, u32)>, FolderOpenError> {
    let mut bytes = Vec::new();
    folder.read(planned.slot, &mut bytes).await?;
    let header = planned.header;
    let walk = Walk::new(&bytes, header.segment, header.generation);
    let last = walk.take_while(|batch| batch.end <= before).last();
    Ok(last.map(|batch| (Position::new(header.segment, batch.end), batch.crc)))
}

/// An opening that came after all others, also after one of which nothing but the mark is left.
fn after_all(survey: &Survey, mark: Option<&Mark>) -> Generation {
    let all = survey.segments.iter().chain(&survey.superseded);
    let all = all.map(|planned| planned.header.generation);
    let newest = all.chain(mark.map(|mark| mark.generation)).max();
    Generation(newest.unwrap_or_default().0.saturating_add(1))
}

pub(super) fn segment_bytes(survey: &Survey) -> u32 {
    let newest = survey.segments.last();
    newest.map_or(SEGMENT_BYTES_DEFAULT, |last| last.header.segment_bytes)
}

async fn count_lost(folder: &Folder, stretches: &[Stretch]) -> Result<Lost, FolderOpenError> {
    let mut lost = Lost::default();
    let mut bytes = Vec::new();
    for stretch in stretches {
        folder.read(stretch.slot(), &mut bytes).await?;
        stretch.read(&bytes, &mut |found| lost.count(found));
    }
    Ok(lost)
}

impl Lost {
    fn count(&mut self, found: TailFinding<'_>) {
        use crate::core::Event;
        use crate::journal::LogRecord;

        let placed = match found {
            TailFinding::Record(placed) => placed,
            TailFinding::Damage { .. } => {
                self.unreadable += 1;
                return;
            }
        };
        self.records += 1;
        let LogRecord::Event(event) = &placed.record else {
            return;
        };
        let Some(id) = json::task(event) else { return };
        if !self.tasks.contains_key(&id) && self.tasks.len() == LOST_TASKS_MAX {
            self.tasks_omitted += 1;
            return;
        }
        let task = self.tasks.entry(id).or_default();
        task.gone |= matches!(event, Event::Enqueued(_) | Event::Restored { .. });
        if task.events.len() < LostTask::EVENTS_MAX {
            task.events.push(json::kind(event));
        }
    }
}

async fn carry_out(
    disk: &dyn Disk,
    folder: &Folder,
    survey: &Survey,
    plan: &RepairPlan,
) -> Result<Vec<PathBuf>, FolderOpenError> {
    let dir = folder.dir();
    let mut aside = Vec::new();
    if let Some(planned) = plan.copied {
        aside.push(copy_aside(disk, folder, planned).await?);
    }
    // Newest first: broken off halfway, what is left is as damaged as before.
    for (segment, slot) in &plan.moved {
        aside.push(move_aside(disk, dir, *segment, *slot).await?);
    }
    let mut spares = survey.spares.iter();
    let size = u64::from(plan.header.segment_bytes);
    let spare = spares.find_map(|slot| {
        let file = folder.slot(*slot).filter(|file| file.bytes == size)?;
        is_free(survey, plan, *slot).then_some(file)
    });
    let page = plan.header.encode();
    match spare {
        Some(spare) => {
            let path = dir.join(spare.slot.to_string());
            let written = spare.file.write_at(0, &page).await;
            written.map_err(|error| FolderOpenError::io("writing", &path, error))?;
            let synced = spare.file.sync().await;
            synced.map_err(|error| FolderOpenError::io("syncing", &path, error))?;
        }
        None => {
            let free = (1..).map(SlotNo).find(|slot| folder.slot(*slot).is_none());
            let slot = free.expect("a folder never holds 2^32 slots");
            let path = dir.join(slot.to_string());
            let mut bytes = page;
            bytes.resize(plan.header.segment_bytes as usize, 0);
            write_new(disk, dir, &path, &bytes).await?;
        }
    }
    write_mark(disk, folder, &Mark::opening(&plan.header)).await?;
    Ok(aside)
}

/// What an opening takes for a spare may be what is kept, beyond a gap.
fn is_free(survey: &Survey, plan: &RepairPlan, slot: SlotNo) -> bool {
    let mut segments = survey.segments.iter();
    let kept = segments
        .any(|planned| planned.slot == slot && planned.header.segment >= plan.header.oldest);
    !kept && !plan.moved.iter().any(|(_, moved)| *moved == slot)
}

async fn move_aside(
    disk: &dyn Disk,
    dir: &Path,
    segment: SegmentNo,
    slot: SlotNo,
) -> Result<PathBuf, FolderOpenError> {
    let from = dir.join(slot.to_string());
    let to = free_name(disk, dir, segment, slot).await?;
    let renamed = disk.rename(&from, &to).await;
    renamed.map_err(|error| FolderOpenError::io("renaming", &from, error))?;
    sync_dir(disk, dir).await?;
    Ok(to)
}

async fn copy_aside(
    disk: &dyn Disk,
    folder: &Folder,
    planned: PlannedSegment,
) -> Result<PathBuf, FolderOpenError> {
    let segment = planned.header.segment;
    let path = free_name(disk, folder.dir(), segment, planned.slot).await?;
    let mut bytes = Vec::new();
    folder.read(planned.slot, &mut bytes).await?;
    write_new(disk, folder.dir(), &path, &bytes).await?;
    Ok(path)
}

/// A name that no file has yet.
async fn free_name(
    disk: &dyn Disk,
    dir: &Path,
    segment: SegmentNo,
    slot: SlotNo,
) -> Result<PathBuf, FolderOpenError> {
    let taken = disk.list(dir).await;
    let taken = taken.map_err(|error| FolderOpenError::io("listing", dir, error))?;
    let name = |number| dir.join(format!("damaged-{number}-segment-{}-{slot}", segment.0));
    let free = (1..ASIDE_NAMES_MAX)
        .map(name)
        .find(|path| !taken.contains(path));
    free.ok_or_else(|| {
        FolderOpenError::io("naming a copy in", dir, io::ErrorKind::AlreadyExists.into())
    })
}

/// Writes a whole file that was not there, or leaves none.
async fn write_new(
    disk: &dyn Disk,
    dir: &Path,
    path: &Path,
    bytes: &[u8],
) -> Result<(), FolderOpenError> {
    let written = async {
        let file = disk.open(path, true).await?;
        file.write_at(0, bytes).await?;
        file.sync().await
    };
    if let Err(error) = written.await {
        // The first error is the one to tell; a leftover copy harms nobody.
        let _removed = disk.remove(path).await;
        if crate::env::is_full(&error) {
            return Err(FolderOpenError::NoSpace {
                dir: dir.to_owned(),
                needed: bytes.len() as u64,
                source: error,
            });
        }
        return Err(FolderOpenError::io("writing", path, error));
    }
    sync_dir(disk, dir).await
}

async fn sync_dir(disk: &dyn Disk, dir: &Path) -> Result<(), FolderOpenError> {
    let synced = disk.sync_dir(dir).await;
    synced.map_err(|error| FolderOpenError::io("syncing", dir, error))
}
