//! Which slot holds which segment.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::core::ids::SegmentNo;
use crate::env::DiskFile;
use crate::journal::{Generation, SlotNo};

/// A slot's open file.
#[derive(Clone)]
pub(super) struct SlotFile {
    pub(super) slot: SlotNo,
    pub(super) file: Arc<dyn DiskFile>,
    /// Bytes of the file, zeros included.
    pub(super) bytes: u64,
}

/// A slot that holds a segment of the log.
#[derive(Clone)]
pub(super) struct LiveSlot {
    pub(super) slot: SlotFile,
    pub(super) generation: Generation,
    /// Batches that this opening has written to it, the one in flight included.
    pub(super) batches: u64,
    /// Records in them.
    pub(super) records: u32,
    /// Where its last batch ends; unknown while it is written.
    pub(super) end: Option<u32>,
}

/// All slots of one log.
#[derive(Default)]
pub(super) struct SlotTable {
    live: BTreeMap<SegmentNo, LiveSlot>,
    spares: VecDeque<SlotFile>,
    /// The numbers in use, also of slots that are just being made.
    taken: BTreeSet<SlotNo>,
}

impl SlotTable {
    /// Keeps a slot's number from being given out.
    pub(super) fn take(&mut self, slot: SlotNo) {
        self.taken.insert(slot);
    }

    /// The lowest free number, taken.
    pub(super) fn take_next(&mut self) -> SlotNo {
        let free = (1..).map(SlotNo).find(|slot| !self.taken.contains(slot));
        let slot = free.expect("a folder never holds 2^32 slots");
        self.taken.insert(slot);
        slot
    }

    /// The file is gone, and its number free.
    pub(super) fn forget(&mut self, slot: SlotNo) {
        self.taken.remove(&slot);
    }

    pub(super) fn add_spare(&mut self, slot: SlotFile) {
        self.spares.push_back(slot);
    }

    pub(super) fn take_spare(&mut self) -> Option<SlotFile> {
        self.spares.pop_front()
    }

    pub(super) fn spares(&self) -> usize {
        self.spares.len()
    }

    pub(super) fn begin(&mut self, segment: SegmentNo, slot: LiveSlot) {
        let before = self.live.insert(segment, slot);
        assert!(before.is_none(), "a segment begins once");
    }

    /// The segment's last batch ends here.
    pub(super) fn end(&mut self, segment: SegmentNo, end: u32) {
        if let Some(live) = self.live.get_mut(&segment) {
            live.end = Some(end);
        }
    }

    pub(super) fn live(&self, segment: SegmentNo) -> Option<&LiveSlot> {
        self.live.get(&segment)
    }

    pub(super) fn live_mut(&mut self, segment: SegmentNo) -> Option<&mut LiveSlot> {
        self.live.get_mut(&segment)
    }

    pub(super) fn segments(&self) -> usize {
        self.live.len()
    }

    /// The slots of all segments up to this one, which are part of the log no more.
    pub(super) fn retire(&mut self, segment: SegmentNo) -> Vec<SlotFile> {
        let mut retired = Vec::new();
        while let Some(oldest) = self.live.first_entry()
            && *oldest.key() <= segment
        {
            retired.push(oldest.remove().slot);
        }
        retired
    }
}
