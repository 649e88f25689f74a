//! The bytes of one file: what is durable, what a read sees, and the changes between the two.
//!
//! A change is visible to reads at once and pending until a sync covers it. When the power fails,
//! [`Content::settle`] draws what becomes of the pending changes. A sector ([`SECTOR_BYTES`]) holds
//! the page cache's state of one instant: it never shows a later change without the earlier ones
//! that touched it, because the cache merges them before they reach the device. Across sectors
//! anything goes.

use std::collections::BTreeMap;

use crate::seed::Draws;

/// The unit in which a device writes, in bytes.
pub const SECTOR_BYTES: usize = 512;

/// Names one pending change of one file.
pub(super) type Serial = u64;

#[derive(Clone, Debug)]
pub(super) enum Change {
    Write { offset: usize, data: Vec<u8> },
    Resize { size: usize },
}

#[derive(Clone, Debug)]
struct PendingChange {
    serial: Serial,
    /// A sync covers only changes whose call had returned when the sync began.
    returned: bool,
    change: Change,
}

/// What became of pending changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SettledChanges {
    pub(super) kept: u64,
    pub(super) torn: u64,
    pub(super) dropped: u64,
}

/// How much of one pending write reaches the device.
#[derive(Debug)]
enum Reach {
    All,
    Nothing,
    /// The first so many bytes: the device stopped in the middle of a sector.
    Prefix(usize),
    /// One flag for each sector the write touches.
    Sectors(Vec<bool>),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    durable: Vec<u8>,
    cached: Vec<u8>,
    pending: Vec<PendingChange>,
    next_serial: Serial,
}

impl Content {
    /// A file with the bytes that a read sees of this one, all of them durable: what a copy of it holds.
    pub(super) fn copied(&self) -> Self {
        Self {
            durable: self.cached.clone(),
            cached: self.cached.clone(),
            ..Self::default()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.cached.len()
    }

    pub(super) fn cached(&self) -> &[u8] {
        &self.cached
    }

    pub(super) fn durable(&self) -> &[u8] {
        &self.durable
    }

    pub(super) fn read(&self, offset: usize, buffer: &mut [u8]) -> usize {
        let there = self.cached.get(offset..).unwrap_or_default();
        let count = there.len().min(buffer.len());
        buffer[..count].copy_from_slice(&there[..count]);
        count
    }

    /// Makes `change` visible and pending.
    pub(super) fn begin(&mut self, change: Change) -> Serial {
        apply(&mut self.cached, &change);
        self.next_serial += 1;
        self.pending.push(PendingChange {
            serial: self.next_serial,
            returned: false,
            change,
        });
        self.next_serial
    }

    /// The call that made the change `serial` has returned.
    pub(super) fn returned(&mut self, serial: Serial) {
        if let Some(pending) = self.pending.iter_mut().find(|p| p.serial == serial) {
            pending.returned = true;
        }
    }

    /// The changes a sync that begins now has to cover, in order.
    pub(super) fn to_sync(&self) -> Vec<Serial> {
        let returned = self.pending.iter().filter(|p| p.returned);
        returned.map(|p| p.serial).collect()
    }

    /// A sync that covers `serials` has succeeded.
    pub(super) fn commit(&mut self, serials: &[Serial]) {
        let durable = &mut self.durable;
        self.pending.retain_mut(|pending| {
            let covered = serials.binary_search(&pending.serial).is_ok();
            if covered {
                settle_down(durable, &mut pending.change);
            }
            !covered
        });
    }

    /// A sync has failed: an unknown part of what was pending reached the device, and nothing will
    /// ever be written again of the rest, whatever later syncs report. Reads may go on seeing it,
    /// until the cache forgets.
    pub(super) fn fail_sync(&mut self, draws: &mut Draws) {
        let cached = self.cached.clone();
        self.settle(draws);
        if draws.one_in(2) {
            self.cached = cached;
        }
    }

    /// The process is gone, the machine is not: nothing is lost, no call will return any more.
    pub(super) fn abandon(&mut self) {
        for pending in &mut self.pending {
            pending.returned = true;
        }
    }

    /// The power failed: draws what becomes of each pending change, and forgets the cache.
    pub(super) fn settle(&mut self, draws: &mut Draws) -> SettledChanges {
        let pending = std::mem::take(&mut self.pending);
        let reaches = draw_reaches(&pending, draws);
        let mut settled = SettledChanges::default();
        let mut newest = BTreeMap::new();
        for (index, (pending, reach)) in pending.iter().zip(&reaches).enumerate() {
            match reach {
                Reach::All => settled.kept += 1,
                Reach::Nothing => settled.dropped += 1,
                Reach::Prefix(_) | Reach::Sectors(_) => settled.torn += 1,
            }
            for (sector, _, end) in pieces(&pending.change) {
                if reached_end(&pending.change, reach, sector, end).is_some() {
                    newest.insert(sector, index);
                }
            }
        }
        for (index, (pending, reach)) in pending.iter().zip(&reaches).enumerate() {
            match &pending.change {
                Change::Resize { .. } if matches!(reach, Reach::All) => {
                    apply(&mut self.durable, &pending.change);
                }
                Change::Resize { .. } => {}
                Change::Write { offset, data } => {
                    for (sector, start, end) in pieces(&pending.change) {
                        let end = match newest.get(&sector) {
                            Some(&newest) if newest > index => Some(end),
                            Some(&newest) if newest == index => {
                                reached_end(&pending.change, reach, sector, end)
                            }
                            _ => None,
                        };
                        if let Some(end) = end {
                            write(
                                &mut self.durable,
                                start,
                                &data[start - offset..end - offset],
                            );
                        }
                    }
                    let grown = offset + data.len();
                    // The size may reach the device ahead of the data: zeros stand there then.
                    if matches!(reach, Reach::Prefix(_) | Reach::Sectors(_))
                        && self.durable.len() < grown
                        && draws.one_in(2)
                    {
                        self.durable.resize(grown, 0);
                    }
                }
            }
        }
        self.cached.clone_from(&self.durable);
        settled
    }

    /// Holds these bytes and no others, durably.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.pending.clear();
        for content in [&mut self.durable, &mut self.cached] {
            content.clear();
            content.extend_from_slice(bytes);
        }
    }

    /// Flips one bit where it lies; false beyond the end of the file.
    pub(super) fn flip_bit(&mut self, offset: usize, bit: u32) -> bool {
        let mask = 1_u8 << (bit % 8);
        let mut found = false;
        for bytes in [&mut self.durable, &mut self.cached] {
            if let Some(byte) = bytes.get_mut(offset) {
                *byte ^= mask;
                found = true;
            }
        }
        found
    }
}

/// Draws the fate of all pending changes together: real losses have a shape, and a shape of its own
/// (everything, nothing, a cut in time) must be as likely as chaos.
fn draw_reaches(pending: &[PendingChange], draws: &mut Draws) -> Vec<Reach> {
    let shape = draws.below(5);
    let cut = draws.index(pending.len() + 1);
    let one = |(index, pending): (usize, &PendingChange)| {
        let fate = match shape {
            0 => 0,
            1 => 1,
            2 if index < cut => 0,
            2 if index > cut => 1,
            2 => 2,
            3 => draws.below(3),
            _ => 3,
        };
        match (&pending.change, fate) {
            (_, 0) => Reach::All,
            (_, 1) => Reach::Nothing,
            (Change::Resize { .. }, _) => [Reach::All, Reach::Nothing]
                .into_iter()
                .nth(draws.index(2))
                .unwrap_or(Reach::Nothing),
            (Change::Write { data, .. }, 2) if draws.one_in(2) => {
                Reach::Prefix(draws.index(data.len() + 1))
            }
            (Change::Write { .. }, _) => Reach::Sectors(
                pieces(&pending.change)
                    .map(|_| draws.one_in(2))
                    .collect::<Vec<_>>(),
            ),
        }
    };
    pending.iter().enumerate().map(one).collect()
}

/// The sectors a write touches, each with the first byte and the end of the write's part of it.
fn pieces(change: &Change) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
    let (offset, end) = match change {
        Change::Write { offset, data } => (*offset, offset + data.len()),
        Change::Resize { .. } => (0, 0),
    };
    (offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES)).filter_map(move |sector| {
        let start = offset.max(sector * SECTOR_BYTES);
        let end = end.min((sector + 1) * SECTOR_BYTES);
        (start < end).then_some((sector, start, end))
    })
}

/// Where the part of a write that reaches `sector` ends, if any does.
fn reached_end(change: &Change, reach: &Reach, sector: usize, end: usize) -> Option<usize> {
    let Change::Write { offset, .. } = change else {
        return None;
    };
    let start = (*offset).max(sector * SECTOR_BYTES);
    match reach {
        Reach::All => Some(end),
        Reach::Nothing => None,
        Reach::Prefix(bytes) => (offset + bytes > start).then(|| end.min(offset + bytes)),
        Reach::Sectors(flags) => flags[sector - offset / SECTOR_BYTES].then_some(end),
    }
}

/// Applies a change that nobody needs afterwards. The first write to a new file is most of what a run writes:
/// it becomes the file.
fn settle_down(bytes: &mut Vec<u8>, change: &mut Change) {
    match change {
        Change::Write { offset: 0, data } if bytes.is_empty() => *bytes = std::mem::take(data),
        change => apply(bytes, change),
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { offset, data } => write(bytes, *offset, data),
        Change::Resize { size } => bytes.resize(*size, 0),
    }
}

fn write(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    if bytes.len() < offset {
        bytes.resize(offset, 0);
    }
    let there = (bytes.len() - offset).min(data.len());
    bytes[offset..offset + there].copy_from_slice(&data[..there]);
    bytes.extend_from_slice(&data[there..]);
}
