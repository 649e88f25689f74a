//! When an old segment goes: strictly the oldest, and only if that frees something.

use super::admission::{RESERVED_SEGMENTS, Space};
use super::tail::Tail;
use crate::core::QueueState;
use crate::core::ids::SegmentNo;
use crate::coverage::{Site, sometimes};

/// Segments beside twice what lives that the log may have before the oldest is compacted: enough
/// that a short backlog dies of itself before anything is copied.
const SEGMENTS_SLACK: u32 = 3;

/// A pass over the whole log was futile if it freed less than an eighth of the bytes it read.
const GAIN_SHARE_MIN: u64 = 8;

/// Segments that a rest after a futile pass leaves alone: one to compact into, one for the traffic meanwhile, one for
/// the opening after a crash.
const COMPACTION_RESERVE: u32 = 3;

/// What a remembered key costs in the log, about.
pub(super) const KEY_BYTES: u64 = 96;

/// See the module. Remembers what it brought so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Compaction {
    /// The pass under way.
    pass: Option<CompactionPass>,
    /// Set while another pass would free next to nothing.
    futile: Option<Futile>,
}

/// A pass over the whole log.
#[derive(Clone, Copy, Debug)]
struct CompactionPass {
    /// The segment that was being written when it began.
    until: SegmentNo,
    /// Segments that were read, because something in them was still needed.
    segments: u64,
    /// Bytes by which the log grew for what was written anew.
    bytes: u64,
}

/// The last pass over the whole log freed next to nothing. The next one waits for either of two changes.
#[derive(Clone, Copy, Debug)]
struct Futile {
    /// More segments than this are in use.
    up_to: u32,
    /// Of these bytes, which lived then, an eighth or more has died.
    live: u64,
}

impl Compaction {
    /// The segment that is to go next, if one is; if `early`, the oldest that can.
    pub(super) fn next(
        &self,
        state: &QueueState,
        tail: &Tail,
        space: &Space,
        early: bool,
    ) -> Option<SegmentNo> {
        let (in_use, oldest) = (tail.in_use(), tail.oldest());
        if oldest == tail.active() {
            return None;
        }
        let short = space.ahead(in_use) <= RESERVED_SEGMENTS + 1;
        // Early only where there is room to move things to: the reserve is for when it must be.
        if state.is_unneeded(oldest) || (early && !short) {
            return Some(oldest);
        }
        let live = state.live_bytes() + KEY_BYTES * state.keys_len() as u64;
        let live = u32::try_from(live.div_ceil(space.segment_bytes())).unwrap_or(u32::MAX);
        let worth_it = in_use > live.saturating_add(1);
        let roomy = live.saturating_mul(2).saturating_add(SEGMENTS_SLACK);
        let gains = self.futile.is_none_or(|futile| {
            let shrunk = state.live_bytes() < futile.live - futile.live / GAIN_SHARE_MIN;
            in_use > futile.up_to || shrunk
        });
        (gains && (in_use > roomy || (short && worth_it))).then_some(oldest)
    }

    /// Notes that what lived in a segment has been written anew, and that the log grew by `bytes` for it. The live
    /// bytes that [`Compaction::next`] goes by are an estimate; a pass over the whole log measures them. One that wrote
    /// more than seven eighths of what it read was futile. The next one waits until the log has grown by a quarter (less
    /// if it has no room for that), or until an eighth of what lived has died.
    pub(super) fn count(
        &mut self,
        segment: SegmentNo,
        bytes: u64,
        state: &QueueState,
        tail: &Tail,
        space: &Space,
    ) {
        let in_use = tail.in_use();
        let pass = self.pass.get_or_insert(CompactionPass {
            until: tail.active(),
            segments: 0,
            bytes: 0,
        });
        pass.segments += 1;
        pass.bytes += bytes;
        if segment >= pass.until {
            let read = pass.segments * space.segment_bytes();
            let futile = pass.bytes > read - read / GAIN_SHARE_MIN;
            sometimes!(Site::CompactionFutile, futile);
            // Leases and settlements go on writing: the log must not grow into what it takes to compact it.
            let spendable = space.ahead(in_use).saturating_sub(COMPACTION_RESERVE);
            self.futile = futile.then(|| Futile {
                up_to: in_use + (in_use / 4).min(spendable),
                live: state.live_bytes(),
            });
            self.pass = None;
        }
    }
}
