//! The writing end: lays events out in segments, in memory, and hands batches to whoever writes them.
//!
//! Lives under the queue's lock, so the way of an event is short: a bound check, a few copies and the
//! CRC of its body. Checksums over batches are left to [`super::Sealer`], outside the lock.

use std::collections::VecDeque;

use super::layout::{Generation, Position, next_batch};
use super::limits::{
    BATCH_BYTES_MAX, BATCH_HEADER_BYTES, BUFFERS_KEPT_MAX, END_RESERVE_BYTES, Geometry,
    SEGMENT_HEADER_BYTES,
};
use super::record::{Control, RecordPlace, encode_base, encode_control, encode_event, size_bound};
use super::replay::Start;
use crate::core::event::{Base, Event};
use crate::core::ids::SegmentNo;
use crate::coverage::{Site, always};

/// What is made durable at once. Its checksums are still missing: see [`super::Sealer::seal`].
#[derive(Debug)]
pub struct Batch {
    /// The segment it goes to.
    pub segment: SegmentNo,
    /// Where in the segment.
    pub offset: u32,
    /// Header and records.
    pub bytes: Vec<u8>,
    /// Count of records.
    pub records: u32,
    /// The end of its last record; what [`Writer::completed`] wants to hear.
    pub end: Position,
    /// The segment the log goes on in, if this batch ends its own.
    pub rolls_to: Option<RollTo>,
    /// Whether it is the seal: nothing follows.
    pub seals: bool,
}

/// What the next segment's header has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollTo {
    /// The number of the next segment.
    pub next: SegmentNo,
    /// The oldest segment that is still needed, as far as that is durable.
    pub oldest: SegmentNo,
}

/// See the module. Not durable by itself: nothing it is given is safe before [`Writer::durable`] has
/// reached its position.
#[derive(Debug)]
pub struct Writer {
    geometry: Geometry,
    generation: Generation,
    segment: SegmentNo,
    /// Where the open batch starts; if none is open, where the next will.
    offset: u32,
    /// The open batch; empty if there is none.
    open: Vec<u8>,
    open_records: u32,
    closed: VecDeque<Batch>,
    closed_bytes: u64,
    buffers: Vec<Vec<u8>>,
    appended: Position,
    in_flight: Option<Position>,
    durable: Position,
    /// The oldest segment still needed, durably.
    oldest: SegmentNo,
    /// Retirements on their way to the disk.
    retiring: VecDeque<(Position, SegmentNo)>,
    sealed: bool,
}

impl Writer {
    /// A writer that begins where recovery said. The header of its first segment must be durable
    /// before its first batch is written.
    pub fn new(geometry: Geometry, start: &Start) -> Self {
        Self {
            geometry,
            generation: start.generation,
            segment: start.segment,
            offset: SEGMENT_HEADER_BYTES,
            open: Vec::new(),
            open_records: 0,
            closed: VecDeque::new(),
            closed_bytes: 0,
            buffers: Vec::new(),
            appended: start.previous_end,
            in_flight: None,
            durable: start.previous_end,
            oldest: start.oldest,
            retiring: VecDeque::new(),
            sealed: false,
        }
    }

    /// Appends an event with its body and says which position its effects rest on. Fills in where the
    /// body went. A volatile event is not written; it rests on what was appended before it.
    ///
    /// `base` gives the state as it is before the event, and is asked only when a segment begins.
    ///
    /// # Panics
    /// For a body above [`Geometry::body_bytes_max`], a body with an event that places none, and
    /// after a seal.
    pub fn append(
        &mut self,
        base: impl FnOnce() -> Base,
        event: &mut Event,
        body: &[u8],
    ) -> Position {
        if !event.is_durable() {
            return self.appended;
        }
        assert!(
            body.len() <= self.geometry.body_bytes_max() as usize,
            "bodies are checked before they are enqueued"
        );
        self.make_room(size_bound(event).saturating_add(body.len()), base);
        let place = RecordPlace {
            segment: self.segment,
            origin: self.offset,
        };
        encode_event(&mut self.open, place, event, body);
        self.end_record()
    }

    /// Appends the retirement of a segment and all before it. Whoever calls has made sure that what
    /// was still needed there was written anew, and that this is durable.
    ///
    /// # Panics
    /// When the segment was never written, or is still being written, or was retired before.
    pub fn retire(&mut self, base: impl FnOnce() -> Base, segment: SegmentNo) -> Position {
        let newest = self.retiring.back().map_or(self.oldest, |last| last.1);
        always!(
            Site::RetiredInOrder,
            newest <= segment && segment < self.segment
        );
        self.make_room(END_RESERVE_BYTES as usize, base);
        encode_control(&mut self.open, Control::Retired { segment });
        let position = self.end_record();
        let oldest = segment.0.checked_add(1).expect("it is before another");
        let oldest = SegmentNo(oldest);
        self.retiring.push_back((position, oldest));
        position
    }

    /// Appends the seal: the log is complete, and nothing follows it. Once it is durable, the next
    /// opening knows that whatever is missing was lost, not cut off.
    ///
    /// # Panics
    /// When it is sealed already.
    pub fn seal(&mut self, base: impl FnOnce() -> Base) -> Position {
        // A batch of its own: damage to any other batch then shows as damage, because an intact
        // one stands behind it.
        if !self.open.is_empty() {
            self.close(None);
        }
        if self.offset == SEGMENT_HEADER_BYTES {
            self.make_room(0, base);
            self.close(None);
        }
        assert!(!self.sealed, "a log is sealed once");
        self.begin();
        encode_control(&mut self.open, Control::Seal);
        let position = self.end_record();
        self.sealed = true;
        self.close(None);
        position
    }

    /// The next batch to write, if there is one and none is in flight. Its bytes come back with
    /// [`Writer::give_back`], its end with [`Writer::completed`].
    pub fn take_batch(&mut self) -> Option<Batch> {
        if self.in_flight.is_some() {
            return None;
        }
        if self.closed.is_empty() && !self.open.is_empty() {
            self.close(None);
        }
        let mut batch = self.closed.pop_front()?;
        let left = self.closed_bytes.checked_sub(batch.bytes.len() as u64);
        self.closed_bytes = left.expect("it was counted when it was closed");
        if let Some(roll) = &mut batch.rolls_to {
            roll.oldest = self.oldest;
        }
        self.in_flight = Some(batch.end);
        Some(batch)
    }

    /// The batch in flight is on the disk, synced.
    ///
    /// # Panics
    /// When that batch was not in flight.
    pub fn completed(&mut self, end: Position) {
        always!(Site::OneBatchInFlight, self.in_flight.take() == Some(end));
        self.durable = end;
        while let Some((position, oldest)) = self.retiring.front().copied()
            && position <= end
        {
            self.oldest = oldest;
            self.retiring.pop_front();
        }
    }

    /// Returns a written batch's buffer for the next one.
    pub fn give_back(&mut self, mut buffer: Vec<u8>) {
        // A buffer that one huge record blew up is not kept for ever.
        if self.buffers.len() < BUFFERS_KEPT_MAX
            && buffer.capacity() / 2 <= BATCH_BYTES_MAX as usize
        {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }

    /// Everything up to here survives a power cut.
    pub fn durable(&self) -> Position {
        self.durable
    }

    /// Where the batch starts that the next record goes to, if it has some already.
    pub fn open_batch(&self) -> Option<Position> {
        (!self.open.is_empty()).then(|| Position::new(self.segment, self.offset))
    }

    /// The end of the last record appended.
    pub fn appended(&self) -> Position {
        self.appended
    }

    /// Bytes appended and not yet taken.
    pub fn pending_bytes(&self) -> u64 {
        self.closed_bytes.saturating_add(self.open.len() as u64)
    }

    /// The segment that the next record goes to, unless it is full.
    pub fn active_segment(&self) -> SegmentNo {
        self.segment
    }

    /// Bytes of the active segment that are taken, its header included.
    pub fn active_bytes(&self) -> u32 {
        self.end_offset()
    }

    /// The oldest segment that is still needed, as far as that is durable.
    pub fn oldest_segment(&self) -> SegmentNo {
        self.oldest
    }

    /// Segments from the oldest needed to the active one, both included.
    pub fn segments_in_use(&self) -> u32 {
        self.segment
            .0
            .saturating_sub(self.oldest.0)
            .saturating_add(1)
    }

    /// The opening this writer writes for.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The sizes it works with.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn end_offset(&self) -> u32 {
        let open = u32::try_from(self.open.len()).ok();
        let end = open.and_then(|open| self.offset.checked_add(open));
        end.expect("segments are smaller than 4 GiB")
    }

    fn end_record(&mut self) -> Position {
        self.open_records = self.open_records.saturating_add(1);
        self.appended = Position::new(self.segment, self.end_offset());
        self.appended
    }

    /// Makes sure that `bytes` more fit the open batch and the segment behind it keeps its reserve.
    #[inline]
    fn make_room(&mut self, bytes: usize, base: impl FnOnce() -> Base) {
        let in_batch = self.open.len().saturating_add(bytes);
        let in_segment = in_batch
            .saturating_add(self.offset as usize)
            .saturating_add(END_RESERVE_BYTES as usize);
        if self.open.is_empty()
            || in_batch > BATCH_BYTES_MAX as usize
            || in_segment > self.geometry.batches_end() as usize
        {
            self.make_room_slowly(bytes, base);
        }
    }

    #[cold]
    fn make_room_slowly(&mut self, bytes: usize, base: impl FnOnce() -> Base) {
        assert!(!self.sealed, "nothing is appended behind a seal");
        if !self.open.is_empty() && self.open.len().saturating_add(bytes) > BATCH_BYTES_MAX as usize
        {
            self.close(None);
        }
        if !self.fits(bytes) {
            self.roll();
        }
        if self.open.is_empty() {
            self.begin();
        }
        if self.end_offset() == SEGMENT_HEADER_BYTES + BATCH_HEADER_BYTES {
            encode_base(&mut self.open, &base());
            self.end_record();
            assert!(
                self.fits(bytes),
                "the geometry leaves room for a base and the largest record"
            );
        }
    }

    /// A segment with nothing in it takes what comes: what doesn't fit there fits nowhere.
    fn fits(&self, bytes: usize) -> bool {
        let header = if self.open.is_empty() {
            BATCH_HEADER_BYTES as usize
        } else {
            0
        };
        let needed = bytes
            .saturating_add(header)
            .saturating_add(END_RESERVE_BYTES as usize);
        needed.saturating_add(self.end_offset() as usize) <= self.geometry.batches_end() as usize
    }

    fn begin(&mut self) {
        if self.open.capacity() == 0 {
            self.open = self.buffers.pop().unwrap_or_default();
        }
        self.open.resize(BATCH_HEADER_BYTES as usize, 0);
    }

    fn roll(&mut self) {
        if self.open.is_empty() {
            self.begin();
        }
        let next = SegmentNo(
            self.segment
                .0
                .checked_add(1)
                .expect("a log never has 2^32 segments"),
        );
        encode_control(&mut self.open, Control::Roll { next });
        self.end_record();
        self.close(Some(RollTo {
            next,
            oldest: self.oldest,
        }));
        self.segment = next;
        self.offset = SEGMENT_HEADER_BYTES;
    }

    fn close(&mut self, rolls_to: Option<RollTo>) {
        let end = self.end_offset();
        assert!(
            end <= self.geometry.batches_end(),
            "the reserve keeps every batch inside its segment"
        );
        let batch = Batch {
            segment: self.segment,
            offset: self.offset,
            bytes: std::mem::take(&mut self.open),
            records: std::mem::take(&mut self.open_records),
            end: self.appended,
            rolls_to,
            seals: self.sealed,
        };
        self.closed_bytes = self.closed_bytes.saturating_add(batch.bytes.len() as u64);
        self.closed.push_back(batch);
        self.offset = next_batch(end);
    }
}
