//! Reading on behind damage: what a person wants to see, and recovery never takes.

use crate::journal::slots::{PlannedSegment, Walk};
use crate::journal::{Placed, SlotNo};

/// Something found in a segment.
pub(super) enum TailFinding<'a> {
    /// An intact record.
    Record(Placed<'a>),
    /// Bytes that are no log, up to the next intact batch or the segment's end.
    Damage {
        /// Where they start.
        offset: u32,
        /// What is wrong with them.
        what: String,
    },
}

/// Where to read: a segment, from one offset up to another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    pub(super) planned: PlannedSegment,
    /// The first byte of a batch, or the segment's first.
    pub(super) from: u32,
    /// Where the log ends in this segment, if anybody says so.
    pub(super) until: Option<u32>,
}

impl Stretch {
    pub(super) fn all_of(planned: PlannedSegment) -> Self {
        Self {
            planned,
            from: 0,
            until: None,
        }
    }

    pub(super) fn slot(&self) -> SlotNo {
        self.planned.slot
    }

    /// Tells `found` everything that can be read of the segment's `bytes`, in order.
    pub(super) fn read(&self, bytes: &[u8], found: &mut dyn FnMut(TailFinding<'_>)) {
        let header = self.planned.header;
        let mut walk = Walk::new(bytes, header.segment, header.generation);
        let ended = |offset: u32| self.until.is_some_and(|until| offset >= until);
        while !ended(walk.offset()) {
            let Some(batch) = walk.next() else {
                let offset = walk.offset();
                let goes_on = walk.skip_damage().is_some();
                if goes_on || self.until.is_some() {
                    let what = "no intact batch stands here".to_owned();
                    found(TailFinding::Damage { offset, what });
                }
                if goes_on {
                    continue;
                }
                return;
            };
            if batch.offset < self.from {
                continue;
            }
            for placed in batch.records() {
                match placed {
                    Ok(placed) => found(TailFinding::Record(placed)),
                    Err(error) => found(TailFinding::Damage {
                        offset: batch.offset,
                        what: error.to_string(),
                    }),
                }
            }
        }
    }
}
