//! Reading on behind damage, into a new log.
//!
//! The old folder is left as it is. What can be believed of it ([`belief`]) is written to a folder of its own, as a log
//! that was closed in order: each task as it stands, the keys of those that are gone. A task whose lease or end may lie in
//! a gap goes to the poison store as one that may have been executed, and never to ready; every other goes on under an
//! epoch that nobody has given out.

mod belief;

use std::path::Path;
use std::sync::Arc;

use super::super::error::FolderOpenError;
use super::super::folder::Folder;
use super::super::marker::{NewLog, holds_log};
use super::super::open::{Opened, open_unfinished};
use super::super::segments::SegmentFiles;
use super::super::unfinished;
use super::{AnyEvents, existing, lock_if_there};
use crate::core::event::{Base, Event};
use crate::core::ids::{BodyRef, SegmentNo, Seq, TaskId};
use crate::env::Disk;
use crate::journal::slots::{PlannedSegment, Survey, Torn, Walk};
use crate::journal::{
    Control, Corruption, FormatVersion, Generation, Geometry, GeometryOptions, IntactBatch,
    LogRecord, Position, Sealer, SegmentHeader, Witness, Writer,
};
use belief::{Belief, Survivor};

/// A place of a log that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogGap {
    /// Where it begins: the end of what was read before.
    pub from: Position,
    /// Where reading goes on; none if nothing follows.
    pub to: Option<Position>,
}

/// What a salvage found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Salvage {
    /// Why no opening takes the log, if none does: its first damage, as [`verify`](super::verify) names it. There may be damage
    /// and no gap: a stray copy of a segment hides nothing of what can be read.
    pub damage: Option<Corruption>,
    /// The last batch of a log that is not damaged, if it can't be read. An opening leaves it out, and so does this.
    pub torn: Option<Torn>,
    /// What can't be read, in the order of the log.
    pub gaps: Vec<LogGap>,
    /// Tasks that go on as they stood.
    pub kept: u64,
    /// Tasks that went to the poison store, because they may have been executed.
    pub doubtful: Vec<TaskId>,
    /// Tasks of which something was read, but not their command, and the last that was: they are lost, or over.
    pub strangers: Vec<(TaskId, &'static str)>,
    /// Numbers of commands that were enqueued in a gap, first and last: nothing else is known of them. Without a last one
    /// nothing tells how many there were, or whether there were any.
    pub unknown: Vec<(Seq, Option<Seq>)>,
    /// Keys of tasks that are over, which go on being known.
    pub keys: u64,
    /// Whether the secret of the keys is lost, so that no old key is recognised.
    pub forgets_keys: bool,
    /// Routes whose names are lost, as they are called now.
    pub made_up_routes: Vec<String>,
    /// Whether there was anything to write: without it there is no new log.
    pub is_written: bool,
}

/// Reads the log in `dir` as far as it can be read, and writes what can be believed to a new log in the folder `to`, which
/// must not hold one. `dir` is not changed. Broken off halfway it leaves a folder that no opening takes: remove it, and
/// begin again.
///
/// # Errors
/// [`FolderOpenError::NoLog`] if there is none in `dir`, [`FolderOpenError::Locked`] if somebody has it open,
/// [`FolderOpenError::Taken`] if there is one in `to`, [`FolderOpenError::Newer`] for one of a newer program,
/// [`FolderOpenError::Corrupt`] if what can be read contradicts itself, and those of an opening for `to`.
pub async fn salvage(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    to: &Path,
) -> Result<Salvage, FolderOpenError> {
    let _lock = lock_if_there(&**disk, dir).await?;
    let folder = existing(&**disk, dir).await?;
    if holds_log(&**disk, to).await? {
        let dir = to.to_owned();
        return Err(FolderOpenError::Taken { dir });
    }
    let (damage, torn) = verdict(&folder).await?;
    let survey = folder.survey(&folder.heads().await?).await?;
    let segments = needed(&folder, &survey).await?;
    let mut reading = Reading::new(&folder);
    reading.read(&segments, survey.oldest).await?;
    let Reading { belief, gaps, .. } = reading;
    let mut salvage = Salvage {
        damage,
        torn,
        gaps,
        strangers: belief.strangers().collect(),
        unknown: belief.unknown().collect(),
        forgets_keys: belief.forgets_keys(),
        made_up_routes: belief.made_up_routes(),
        ..Salvage::default()
    };
    if let Some(base) = belief.base() {
        let geometry = geometry(&belief, super::repair::segment_bytes(&survey));
        unfinished::begin(&**disk, to).await?;
        let writing = Writing::begin(Arc::clone(disk), to, geometry, base).await?;
        write(writing, &folder, &segments, &belief, &mut salvage).await?;
        unfinished::end(&**disk, to).await?;
        salvage.is_written = true;
    }
    Ok(salvage)
}

/// What an opening would say of the log: a salvage reads on behind damage, and does not look for all that there can be.
async fn verdict(folder: &Folder) -> Result<(Option<Corruption>, Option<Torn>), FolderOpenError> {
    match folder.recover(&mut AnyEvents).await {
        Ok(recovered) => Ok((None, recovered.torn)),
        Err(FolderOpenError::Corrupt { damage, .. }) => Ok((Some(damage), None)),
        Err(error) => Err(error),
    }
}

/// The segments that the log needs, oldest first, those that have lost their headers among them.
async fn needed(folder: &Folder, survey: &Survey) -> Result<Vec<PlannedSegment>, FolderOpenError> {
    let all = survey.segments.iter().copied();
    let mut needed: Vec<_> = all
        .filter(|planned| planned.header.segment >= survey.oldest)
        .collect();
    let mut bytes = Vec::new();
    for (slot, segment) in &survey.headless {
        let is_known = needed.iter().any(|known| known.header.segment == *segment);
        if is_known || *segment < survey.oldest {
            continue;
        }
        folder.read(*slot, &mut bytes).await?;
        // Its batches say which opening wrote them.
        if let Some(generation) = Walk::opening_of(&bytes, *segment) {
            let header = SegmentHeader {
                segment: *segment,
                generation,
                oldest: survey.oldest,
                segment_bytes: super::repair::segment_bytes(survey),
                previous_end: Position::default(),
                previous_crc: 0,
                is_cut: false,
            };
            let slot = *slot;
            needed.push(PlannedSegment { slot, header });
        }
    }
    needed.sort_by_key(|planned| planned.header.segment);
    Ok(needed)
}

/// The first pass: what can be believed.
struct Reading<'a> {
    folder: &'a Folder,
    belief: Belief,
    gaps: Vec<LogGap>,
    /// The end of what was read.
    end: Position,
    /// Where the log goes on, if the last batch says so.
    rolls_to: Option<SegmentNo>,
    /// The newest opening of which a batch was read.
    newest: Generation,
    /// Whether a batch was read that is written only after a mark.
    needs_mark: bool,
}

impl<'a> Reading<'a> {
    fn new(folder: &'a Folder) -> Self {
        Self {
            folder,
            belief: Belief::default(),
            gaps: Vec::new(),
            end: Position::default(),
            rolls_to: None,
            newest: Generation::default(),
            needs_mark: false,
        }
    }

    async fn read(
        &mut self,
        needed: &[PlannedSegment],
        oldest: SegmentNo,
    ) -> Result<(), FolderOpenError> {
        let Some(first) = needed.first() else {
            return Ok(());
        };
        // Where the log begins, unless its first segments are lost.
        if first.header.segment == oldest {
            self.end = first.header.previous_end;
        }
        let mut durable = Position::default();
        let mut bytes = Vec::new();
        for (at, planned) in needed.iter().enumerate() {
            self.folder.read(planned.slot, &mut bytes).await?;
            let follower = needed.get(at + 1).map(|next| next.header.previous_end);
            let until = follower.filter(|end| end.segment() == planned.header.segment);
            self.segment(planned, &bytes, until.map(Position::offset))?;
            if let Some(witness) = Witness::newest(&bytes, &planned.header) {
                durable = durable.max(witness.durable);
            }
        }
        let newest = needed.iter().map(|planned| planned.header.generation).max();
        self.newest = self.newest.max(newest.unwrap_or_default());
        let last = needed.last().map(|planned| planned.header.segment);
        if durable > self.end || self.rolls_to > last || self.is_short()? {
            self.gap(None);
        }
        Ok(())
    }

    /// Nothing in a log tells that its end is missing. The mark beside it does: how far it went, and which opening was the
    /// last. Without one nobody knows.
    fn is_short(&self) -> Result<bool, FolderOpenError> {
        Ok(match self.folder.mark().mark()? {
            None => self.needs_mark,
            Some(mark) => mark.end > self.end || mark.generation > self.newest,
        })
    }

    /// Reads a segment, not past the end that the one behind it names.
    fn segment(
        &mut self,
        planned: &PlannedSegment,
        bytes: &[u8],
        until: Option<u32>,
    ) -> Result<(), FolderOpenError> {
        let header = planned.header;
        // One that lost its header doesn't say where it goes on; its first batch does.
        if header.previous_end != self.end && header.previous_end != Position::default() {
            self.gap(Some(header.previous_end));
            self.end = header.previous_end;
        }
        let mut walk = Walk::new(bytes, header.segment, header.generation);
        while until.is_none_or(|until| walk.offset() < until) {
            match walk.next() {
                Some(batch) if until.is_none_or(|until| batch.end <= until) => {
                    self.batch(planned, &batch)?;
                }
                Some(_) => break,
                None if walk.skip_damage().is_some() => {}
                None => break,
            }
        }
        Ok(())
    }

    fn batch(
        &mut self,
        planned: &PlannedSegment,
        batch: &IntactBatch<'_>,
    ) -> Result<(), FolderOpenError> {
        self.needs_mark |= batch.header.format >= FormatVersion::Two;
        self.rolls_to = None;
        let before = batch.header.previous_end;
        if before != self.end {
            self.gap(Some(before));
        }
        for placed in batch.records() {
            let placed = match placed {
                Ok(placed) => placed,
                Err(error) => {
                    if let Some(what) = error.newer() {
                        let path = self.folder.dir().join(planned.slot.to_string());
                        return Err(FolderOpenError::Newer { path, what });
                    }
                    // Its checksum is right, and still it can't be read: nothing behind it in the batch can.
                    self.gap(None);
                    break;
                }
            };
            let believed = match placed.record {
                LogRecord::Base(base) => self.belief.take_base(base),
                LogRecord::Event(event) => self.belief.take(event),
                LogRecord::Control(Control::Roll { next }) => {
                    self.rolls_to = Some(next);
                    Ok(())
                }
                LogRecord::Control(_) => Ok(()),
            };
            believed.map_err(|impossible| FolderOpenError::Corrupt {
                dir: self.folder.dir().to_owned(),
                damage: planned.corrupt(placed.offset, impossible.to_string()),
            })?;
        }
        self.end = Position::new(planned.header.segment, batch.end);
        Ok(())
    }

    fn gap(&mut self, to: Option<Position>) {
        self.belief.gap();
        self.gaps.push(LogGap { from: self.end, to });
    }
}

/// The second pass: the new log.
async fn write(
    mut writing: Writing,
    folder: &Folder,
    segments: &[PlannedSegment],
    belief: &Belief,
    salvage: &mut Salvage,
) -> Result<(), FolderOpenError> {
    let alive = belief.alive().filter_map(|id| belief.survivor(id));
    let mut alive: Vec<(BodyRef, TaskId)> = alive
        .map(|survivor| (survivor.body, survivor.image.id))
        .collect();
    // Segment by segment, so that each file is read once.
    alive.sort_unstable();
    let mut bytes = Vec::new();
    let mut read = None;
    for (body, id) in alive {
        let Some(survivor) = belief.survivor(id) else {
            continue;
        };
        if read != Some(body.segment) {
            bytes.clear();
            let holds = |planned: &&PlannedSegment| planned.header.segment == body.segment;
            if let Some(planned) = segments.iter().find(holds) {
                folder.read(planned.slot, &mut bytes).await?;
            }
            read = Some(body.segment);
        }
        let Survivor {
            image, is_doubtful, ..
        } = survivor;
        let Some(content) = content(&bytes, body) else {
            // It was whole when its record was read; a disk that takes it back takes the task with it.
            salvage.strangers.push((id, "unreadable"));
            continue;
        };
        match is_doubtful {
            true => salvage.doubtful.push(id),
            false => salvage.kept += 1,
        }
        let body = BodyRef::default();
        let image = Box::new(image);
        writing
            .append(Event::Moved { image, body }, content)
            .await?;
    }
    salvage.doubtful.sort_unstable();
    for key in belief.key_images() {
        salvage.keys += 1;
        let body = BodyRef::default();
        writing.append(Event::KeyMoved { key, body }, &[]).await?;
    }
    writing.close().await
}

fn content(segment: &[u8], body: BodyRef) -> Option<&[u8]> {
    let start = body.offset as usize;
    let end = start.checked_add(body.len as usize)?;
    let content = segment.get(start..end)?;
    (crc32c::crc32c(content) == body.crc).then_some(content)
}

/// A new log that is being written.
struct Writing {
    files: SegmentFiles,
    writer: Writer,
    sealer: Sealer,
    base: Base,
    _lock: Arc<dyn crate::env::DiskLock>,
}

impl Writing {
    async fn begin(
        disk: Arc<dyn Disk>,
        to: &Path,
        geometry: Geometry,
        base: Base,
    ) -> Result<Self, FolderOpenError> {
        let opened = open_unfinished(disk, to, geometry, NewLog::Begin, &mut AnyEvents).await?;
        let Opened {
            files, start, lock, ..
        } = opened;
        Ok(Self {
            files,
            writer: Writer::new(geometry, &start),
            sealer: Sealer::new(&start),
            base,
            _lock: lock,
        })
    }

    async fn append(&mut self, mut event: Event, body: &[u8]) -> Result<(), FolderOpenError> {
        let base = &self.base;
        self.writer.append(|| base.clone(), &mut event, body);
        if self.writer.pending_bytes() < u64::from(BATCH_BYTES) {
            return Ok(());
        }
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), FolderOpenError> {
        while let Some(batch) = self.writer.take_batch() {
            let sealed = self.sealer.seal(batch);
            let written = self.files.write_batch(&sealed).await;
            written.map_err(|failure| {
                let source = std::io::Error::new(failure.source.kind(), failure.source);
                FolderOpenError::io(failure.doing, &failure.path, source)
            })?;
            self.writer.completed(sealed.end);
            self.writer.give_back(sealed.into_bytes());
        }
        Ok(())
    }

    async fn close(mut self) -> Result<(), FolderOpenError> {
        let base = self.base.clone();
        self.writer.seal(|| base);
        self.flush().await
    }
}

/// Bytes that are gathered before they are written.
const BATCH_BYTES: u32 = 1 << 20;

/// Segments as large as those that were, for bodies as large as those that go on.
fn geometry(belief: &Belief, segment_bytes: u32) -> Geometry {
    let bodies = belief.alive().filter_map(|id| belief.survivor(id));
    let largest = bodies.map(|survivor| survivor.body.len).max();
    let options = |segment_bytes| GeometryOptions {
        segment_bytes,
        body_bytes_max: largest.unwrap_or_default(),
    };
    Geometry::new(options(segment_bytes)).unwrap_or_else(|_| {
        Geometry::new(options(SEGMENT_BYTES_ROOMY)).expect("it holds the largest body")
    })
}

/// A segment that holds the largest body there can be.
const SEGMENT_BYTES_ROOMY: u32 = 32 << 20;
