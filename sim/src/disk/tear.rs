//! The shapes of a write that goes wrong while the process lives.

use super::content::SECTOR_BYTES;
use crate::seed::Draws;

/// The parts of `data` at `start` that arrive: a prefix, or some of its sectors. Never all of it.
pub(super) fn torn<'a>(start: usize, data: &'a [u8], draws: &mut Draws) -> Vec<(usize, &'a [u8])> {
    let mut parts = Vec::new();
    if draws.one_in(2) {
        parts.push((start, &data[..draws.index(data.len())]));
        return parts;
    }
    let end = start + data.len();
    let sectors = start / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES);
    let lost = sectors.start + draws.index(sectors.len());
    for sector in sectors {
        let from = start.max(sector * SECTOR_BYTES);
        let until = end.min((sector + 1) * SECTOR_BYTES);
        if sector != lost && draws.one_in(2) {
            parts.push((from, &data[from - start..until - start]));
        }
    }
    parts
}

/// Where a misdirected write lands: another sector of the file, at the same place inside it. `None`
/// if the file has no other: the bytes go nowhere.
pub(super) fn astray(
    start: usize,
    len: usize,
    file_len: usize,
    draws: &mut Draws,
) -> Option<usize> {
    let inside = start % SECTOR_BYTES;
    let own = start / SECTOR_BYTES;
    let room = file_len.checked_sub(inside + len)?;
    let sectors = room / SECTOR_BYTES + 1;
    let others = sectors - usize::from(own < sectors);
    if others == 0 {
        return None;
    }
    let drawn = draws.index(others);
    let sector = if drawn >= own { drawn + 1 } else { drawn };
    Some(sector * SECTOR_BYTES + inside)
}
