//! What the plan does to a log's mark between two lives of its queue: a page of it, the file, or an older copy.
//!
//! The log itself is whole, so that nothing that was promised may be lost by it: an opening goes on or is refused, and then
//! a repair writes the mark anew. One thing is more than that: where the mark is gone, nothing says any more how far the log
//! went, and an opening that goes on as if that were nothing would do so as well when the log's end is gone.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use leasebridge::journal::{MARK_PAGE_BYTES, MARK_PAGES};

use super::host::DIR;
use crate::disk::SimDisk;
use crate::history::What;
use crate::plan::{FaultId, MarkHarm};
use crate::seed::Draws;

/// The file's name.
const MARK_FILE: &str = "mark";

/// Bytes of a segment's header: a page.
const HEADER_BYTES: usize = 4096;

/// The marks of one machine's log.
#[derive(Default)]
pub(super) struct HurtMarks(Mutex<HurtState>);

#[derive(Default)]
struct HurtState {
    armed: Vec<ArmedHarm>,
    /// The mark of a log with batches is gone, and nobody has made it anew.
    must_refuse: bool,
}

struct ArmedHarm {
    fault: FaultId,
    how: MarkHarm,
    times: u32,
    /// What the mark held when the fault began.
    copy: Option<Vec<u8>>,
    draws: Draws,
}

impl HurtMarks {
    /// From now on the mark is hurt before openings, so many times.
    pub(super) fn arm(
        &self,
        fault: FaultId,
        how: MarkHarm,
        times: u32,
        disk: &SimDisk,
        draws: Draws,
    ) {
        let copy = disk.bytes(&mark());
        self.state().armed.push(ArmedHarm {
            fault,
            how,
            times,
            copy,
            draws,
        });
    }

    /// Nothing more is done for this fault.
    pub(super) fn disarm(&self, fault: FaultId) {
        self.state().armed.retain(|armed| armed.fault != fault);
    }

    /// A process is about to open the log. Says what was done to its mark.
    pub(super) fn strike(&self, disk: &SimDisk) -> Option<String> {
        let mut state = self.state();
        let HurtState { armed, must_refuse } = &mut *state;
        let harm = armed.iter_mut().find(|armed| armed.times > 0)?;
        let text = harm.strike(disk)?;
        disk.count_injected("mark_hurt");
        if harm.how == MarkHarm::Removed && holds_batches(disk) {
            *must_refuse = true;
        }
        Some(text)
    }

    /// A repair has made the mark anew.
    pub(super) fn repaired(&self) {
        self.state().must_refuse = false;
    }

    /// An opening went well. None may without a mark.
    pub(super) fn opened(&self) -> Option<What> {
        let unmarked = std::mem::take(&mut self.state().must_refuse);
        unmarked.then(|| What::Gauge {
            name: "openings_without_mark".into(),
            value: 1,
            limit: 0,
        })
    }

    fn state(&self) -> MutexGuard<'_, HurtState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ArmedHarm {
    /// Hurts the mark, if there is one to hurt.
    fn strike(&mut self, disk: &SimDisk) -> Option<String> {
        let path = mark();
        let mut bytes = disk.bytes(&path).filter(|bytes| !bytes.is_empty())?;
        let page = self.draws.index(MARK_PAGES);
        let from = (page * MARK_PAGE_BYTES).min(bytes.len());
        let until = (from + MARK_PAGE_BYTES).min(bytes.len());
        let text = match self.how {
            MarkHarm::PageZeroed => {
                bytes[from..until].fill(0);
                disk.put(&path, &bytes).ok()?;
                format!("page {page} of the mark is full of zeros")
            }
            MarkHarm::PageFlipped => {
                let at = from + self.draws.index(until - from);
                let byte = bytes.get_mut(at)?;
                *byte ^= 1 << self.draws.below(8);
                disk.put(&path, &bytes).ok()?;
                format!("a bit of byte {at} of the mark flipped")
            }
            MarkHarm::OlderCopy => {
                let copy = self.copy.as_ref().filter(|copy| **copy != bytes)?;
                disk.put(&path, copy).ok()?;
                "an older copy of the mark was put back".to_owned()
            }
            MarkHarm::Removed => {
                disk.lose_entry(&path).ok()?;
                "the mark is gone".to_owned()
            }
        };
        self.times -= 1;
        Some(text)
    }
}

fn mark() -> PathBuf {
    Path::new(DIR).join(MARK_FILE)
}

/// Whether any segment holds more than its header.
fn holds_batches(disk: &SimDisk) -> bool {
    let files = disk.files().into_iter();
    let mut segments = files.filter(|(path, _)| path.extension().is_some_and(|ext| ext == "seg"));
    segments.any(|(path, _)| {
        let bytes = disk.durable_bytes(&path).unwrap_or_default();
        let behind = bytes.get(HEADER_BYTES..);
        behind.is_some_and(|behind| behind.iter().any(|byte| *byte != 0))
    })
}
