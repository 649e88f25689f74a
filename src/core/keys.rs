//! The dedupe window: which idempotency keys are remembered, and for what.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashTable;
use slab::Slab;

use super::event::{KeyImage, Removal};
use super::ids::{Fingerprint, KeyHash, SegmentNo, TaskId};
use super::time::QueueMs;

/// What a remembered key stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyEntry {
    pub(crate) key: KeyHash,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) id: TaskId,
    pub(crate) at: QueueMs,
    pub(crate) fate: Fate,
    /// The segment whose record carries the key: while it stands there, that segment can't go.
    pub(crate) home: SegmentNo,
}

/// What became of the task that a key names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Live,
    Done,
    Removed,
}

/// The window. The keys of live tasks stay as long as the task does; those of finished ones until the
/// window passes or there are too many.
#[derive(Debug, Default)]
pub(crate) struct KeyWindow {
    entries: Slab<KeyEntry>,
    index: HashTable<u32>,
    /// Finished ones by age.
    finished: BTreeSet<(QueueMs, u32)>,
    /// How many keys stand in which segment.
    homes: BTreeMap<SegmentNo, u64>,
}

/// The keys are salted hashes already: any 64 of their bits will do.
fn hash(key: KeyHash) -> u64 {
    u64::try_from(key.0 >> 64).expect("the upper half of 128 bits")
}

impl KeyWindow {
    pub(crate) fn get(&self, key: KeyHash) -> Option<&KeyEntry> {
        let found = self
            .index
            .find(hash(key), |at| self.entries[*at as usize].key == key)?;
        Some(&self.entries[*found as usize])
    }

    pub(crate) fn entry(&self, at: u32) -> &KeyEntry {
        &self.entries[at as usize]
    }

    /// Remembers a key, taking the place of what the same key stood for before.
    pub(crate) fn insert(&mut self, entry: KeyEntry) -> u32 {
        self.forget(entry.key);
        *self.homes.entry(entry.home).or_default() += 1;
        let at = u32::try_from(self.entries.insert(entry)).expect("fewer than 2^32 keys");
        let entries = &self.entries;
        self.index
            .insert_unique(hash(entry.key), at, |at| hash(entries[*at as usize].key));
        if entry.fate != Fate::Live {
            self.finished.insert((entry.at, at));
        }
        at
    }

    pub(crate) fn finish(&mut self, at: u32, why: Option<Removal>) {
        let entry = &mut self.entries[at as usize];
        entry.fate = if why.is_some() {
            Fate::Removed
        } else {
            Fate::Done
        };
        self.finished.insert((entry.at, at));
    }

    /// Forgets a live task's key at once: what comes under it from now on is another command.
    pub(crate) fn release(&mut self, at: u32) {
        self.forget(self.entries[at as usize].key);
    }

    pub(crate) fn rehome(&mut self, at: u32, home: SegmentNo) {
        let old = std::mem::replace(&mut self.entries[at as usize].home, home);
        self.leave_home(old);
        *self.homes.entry(home).or_default() += 1;
    }

    fn leave_home(&mut self, home: SegmentNo) {
        let count = self
            .homes
            .get_mut(&home)
            .expect("the home of a key is counted");
        *count -= 1;
        if *count == 0 {
            self.homes.remove(&home);
        }
    }

    /// Keys whose record stands in `segment`.
    pub(crate) fn at_home(&self, segment: SegmentNo) -> u64 {
        self.homes.get(&segment).copied().unwrap_or_default()
    }

    fn forget(&mut self, key: KeyHash) {
        let entries = &self.entries;
        let found = self
            .index
            .find_entry(hash(key), |at| entries[*at as usize].key == key);
        if let Ok(found) = found {
            let (at, _) = found.remove();
            let entry = self.entries.remove(at as usize);
            self.finished.remove(&(entry.at, at));
            self.leave_home(entry.home);
        }
    }

    /// Forgets the finished ones enqueued before `before`.
    pub(crate) fn forget_before(&mut self, before: QueueMs) {
        while let Some((at, index)) = self.finished.first().copied()
            && at < before
        {
            let key = self.entries[index as usize].key;
            self.forget(key);
        }
    }

    /// The time before which everything must be forgotten so that neither the window nor the count is
    /// exceeded; `None` if nothing is due. Scans at most what is too many.
    pub(crate) fn due(&self, oldest_kept: QueueMs, count_max: usize) -> Option<QueueMs> {
        let (oldest, _) = self.finished.first()?;
        let surplus = self.finished.len().saturating_sub(count_max);
        let by_count = surplus
            .checked_sub(1)
            .and_then(|last| self.finished.iter().nth(last))
            .map(|(at, _)| QueueMs(at.0 + 1));
        let before = by_count.unwrap_or_default().max(oldest_kept);
        (*oldest < before).then_some(before)
    }

    pub(crate) fn image(&self, key: KeyHash) -> Option<KeyImage> {
        let entry = self.get(key)?;
        let KeyEntry {
            key,
            fingerprint,
            id,
            at,
            fate,
            ..
        } = *entry;
        (fate != Fate::Live).then_some(KeyImage {
            key,
            fingerprint,
            id,
            at,
            done: fate == Fate::Done,
        })
    }

    /// How many keys outlive their tasks.
    pub(crate) fn finished_len(&self) -> usize {
        self.finished.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}
