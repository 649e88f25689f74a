//! How far a stream of frames has come: taken by its writer, by the transport, and by the peer.
//!
//! What the writer took may still lie in this process, what the transport took in the kernel's buffer or in a proxy's.
//! A peer that tells how much it has received says exactly what has left; of another one it is known only what the
//! transport took. When that was is kept for the last seconds, coarsely: whoever waits asks within that time.

use std::collections::VecDeque;
use std::time::Duration;

use super::pace::Pace;
use crate::env::Mono;

/// Marks closer together than this are one.
const MARK_SPAN: Duration = Duration::from_millis(50);

/// How many marks are kept: more than six seconds of a stream that never rests.
const MARKS_MAX: usize = 128;

/// How far each line had left by some time.
struct Mark {
    left: [u64; 2],
    first: Mono,
    last: Mono,
}

/// See the module's description. All are bytes since the start of the stream.
#[derive(Default)]
pub(super) struct Passage {
    pub(super) taken: u64,
    pub(super) written: u64,
    pub(super) received: u64,
    /// The peer tells what it has received.
    pub(super) is_told: bool,
    /// When the stream was last seen to go on.
    pub(super) went_on: Option<Mono>,
    pub(super) pace: Pace,
    marks: VecDeque<Mark>,
}

impl Passage {
    /// Up to where the stream has left, as far as that is known.
    pub(super) fn left(&self) -> u64 {
        match self.is_told {
            true => self.received,
            false => self.written,
        }
    }

    /// So many frames of each line have left by `now`.
    pub(super) fn mark(&mut self, left: [u64; 2], now: Mono) {
        match self.marks.back_mut() {
            Some(mark) if mark.left == left => {}
            Some(mark) if now.saturating_since(mark.first) < MARK_SPAN => {
                mark.left = left;
                mark.last = now;
            }
            _ => {
                let (first, last) = (now, now);
                self.marks.push_back(Mark { left, first, last });
                if self.marks.len() > MARKS_MAX {
                    self.marks.pop_front();
                }
            }
        }
    }

    /// When frame `number` of `line` was seen to have left, if it was; too late rather than too early.
    pub(super) fn left_at(&self, line: usize, number: u64) -> Option<Mono> {
        let after = |mark: &Mark| mark.left[line] <= number;
        let first = self.marks.partition_point(after);
        self.marks.get(first).map(|mark| mark.last)
    }
}
