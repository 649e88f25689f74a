//! The dedupe window: which idempotency keys are remembered, and for what.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use hashbrown::HashTable;
use slab::Slab;

use super::event::{KeyImage, Removal};
use super::ids::{Fingerprint, KeyHash, SegmentNo, TaskId};
use super::task::{Slot, Task};
use super::time::QueueMs;

/// What is known of a remembered key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownKey {
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

/// The number of a remembered key, which its task keeps while it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyNo(NonZeroU32);

impl KeyNo {
    fn of(at: usize) -> Self {
        Self(one_up(at))
    }

    fn at(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// A number that is never zero, so that its absence takes no room.
fn one_up(at: usize) -> NonZeroU32 {
    let number = u32::try_from(at + 1).expect("fewer than 2^32 keys");
    NonZeroU32::new(number).expect("one more than nothing")
}

/// A key in half a cache line: what its task says as well stands there alone, for as long as that lives.
#[derive(Clone, Copy, Debug)]
struct KeyEntry {
    key: KeyHash,
    fingerprint: Fingerprint,
    home: SegmentNo,
    names: Names,
}

const _: () = assert!(size_of::<Option<KeyEntry>>() == 32);

/// What a key names: the slot of a live task, or the place among the finished ones. One bit says which.
#[derive(Clone, Copy, Debug)]
struct Names(NonZeroU32);

impl Names {
    const LIVE_BIT: u32 = 1 << 31;

    fn task(slot: Slot) -> Self {
        let number = one_up(slot as usize);
        assert!(number.get() < Self::LIVE_BIT, "fewer than 2^31 tasks");
        Self(number | Self::LIVE_BIT)
    }

    fn finished(at: usize) -> Self {
        let number = one_up(at);
        assert!(number.get() < Self::LIVE_BIT, "fewer than 2^31 keys");
        Self(number)
    }

    fn get(self) -> Named {
        let number = self.0.get();
        match number & Self::LIVE_BIT {
            0 => Named::Finished(number as usize - 1),
            _ => Named::Task((number & !Self::LIVE_BIT) - 1),
        }
    }
}

enum Named {
    Task(Slot),
    Finished(usize),
}

/// What is known of a task that has gone.
#[derive(Clone, Copy, Debug)]
struct FinishedTask {
    id: TaskId,
    at: QueueMs,
    fate: Fate,
}

/// The window. The keys of live tasks stay as long as the task does; those of finished ones until the
/// window passes or there are too many.
#[derive(Debug, Default)]
pub(crate) struct KeyWindow {
    entries: Slab<KeyEntry>,
    index: HashTable<KeyNo>,
    finished: Slab<FinishedTask>,
    /// Keys of finished tasks, by the age of those.
    by_age: BTreeSet<(QueueMs, KeyNo)>,
    /// How many keys stand in which segment.
    homes: BTreeMap<SegmentNo, u64>,
}

/// The keys are salted hashes already: any 64 of their bits will do.
fn hash(key: KeyHash) -> u64 {
    u64::try_from(key.0 >> 64).expect("the upper half of 128 bits")
}

impl KeyWindow {
    /// What is known of a key; `live` are the tasks whose slots it was told.
    pub(crate) fn get(&self, key: KeyHash, live: &Slab<Task>) -> Option<KnownKey> {
        let found = self
            .index
            .find(hash(key), |no| self.entries[no.at()].key == key)?;
        let entry = &self.entries[found.at()];
        let (id, at, fate) = match entry.names.get() {
            Named::Task(slot) => {
                let task = &live[slot as usize];
                (task.id, task.enqueued_at, Fate::Live)
            }
            Named::Finished(place) => {
                let FinishedTask { id, at, fate } = self.finished[place];
                (id, at, fate)
            }
        };
        Some(KnownKey {
            fingerprint: entry.fingerprint,
            id,
            at,
            fate,
            home: entry.home,
        })
    }

    /// The key with that number, and what its command was like.
    pub(crate) fn key(&self, no: KeyNo) -> (KeyHash, Fingerprint) {
        let entry = &self.entries[no.at()];
        (entry.key, entry.fingerprint)
    }

    /// Remembers the key of a live task, taking the place of what the same key stood for before.
    pub(crate) fn insert(
        &mut self,
        (key, fingerprint): (KeyHash, Fingerprint),
        home: SegmentNo,
        slot: Slot,
    ) -> KeyNo {
        self.forget(key);
        self.enter(KeyEntry {
            key,
            fingerprint,
            home,
            names: Names::task(slot),
        })
    }

    /// Remembers the key of a task that has gone, likewise.
    pub(crate) fn insert_finished(&mut self, image: &KeyImage, home: SegmentNo) {
        self.forget(image.key);
        let KeyImage {
            key,
            fingerprint,
            id,
            at,
            done,
        } = *image;
        let fate = if done { Fate::Done } else { Fate::Removed };
        let place = self.finished.insert(FinishedTask { id, at, fate });
        let no = self.enter(KeyEntry {
            key,
            fingerprint,
            home,
            names: Names::finished(place),
        });
        self.by_age.insert((at, no));
    }

    fn enter(&mut self, entry: KeyEntry) -> KeyNo {
        *self.homes.entry(entry.home).or_default() += 1;
        let no = KeyNo::of(self.entries.insert(entry));
        let entries = &self.entries;
        self.index
            .insert_unique(hash(entry.key), no, |no| hash(entries[no.at()].key));
        no
    }

    /// The task of a key has gone: the key outlives it.
    pub(crate) fn finish(&mut self, no: KeyNo, task: &Task, why: Option<Removal>) {
        let fate = if why.is_some() {
            Fate::Removed
        } else {
            Fate::Done
        };
        let (id, at) = (task.id, task.enqueued_at);
        let place = self.finished.insert(FinishedTask { id, at, fate });
        self.entries[no.at()].names = Names::finished(place);
        self.by_age.insert((at, no));
    }

    /// Forgets a live task's key at once: what comes under it from now on is another command.
    pub(crate) fn release(&mut self, no: KeyNo) {
        self.forget(self.entries[no.at()].key);
    }

    pub(crate) fn rehome(&mut self, no: KeyNo, home: SegmentNo) {
        let old = std::mem::replace(&mut self.entries[no.at()].home, home);
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
            .find_entry(hash(key), |no| entries[no.at()].key == key);
        if let Ok(found) = found {
            let (no, _) = found.remove();
            let entry = self.entries.remove(no.at());
            if let Named::Finished(place) = entry.names.get() {
                let task = self.finished.remove(place);
                self.by_age.remove(&(task.at, no));
            }
            self.leave_home(entry.home);
        }
    }

    /// Forgets the finished ones enqueued before `before`.
    pub(crate) fn forget_before(&mut self, before: QueueMs) {
        while let Some((at, no)) = self.by_age.first().copied()
            && at < before
        {
            let key = self.entries[no.at()].key;
            self.forget(key);
        }
    }

    /// The time before which everything must be forgotten so that neither the window nor the count is
    /// exceeded; `None` if nothing is due. Scans at most what is too many.
    pub(crate) fn due(&self, oldest_kept: QueueMs, count_max: usize) -> Option<QueueMs> {
        let (oldest, _) = self.by_age.first()?;
        let surplus = self.by_age.len().saturating_sub(count_max);
        let by_count = surplus
            .checked_sub(1)
            .and_then(|last| self.by_age.iter().nth(last))
            .map(|(at, _)| QueueMs(at.0 + 1));
        let before = by_count.unwrap_or_default().max(oldest_kept);
        (*oldest < before).then_some(before)
    }

    /// How many keys outlive their tasks.
    pub(crate) fn finished_len(&self) -> usize {
        self.finished.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}
