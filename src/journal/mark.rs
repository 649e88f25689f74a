//! How far a log went, written down where damage to its end can't reach.
//!
//! Nothing in a log tells that its end is missing, above all not that of a whole opening. So a log in files
//! says in a file of its own when an opening begins, and when it is closed in order. A *mark* names positions
//! that were durable before it was made: a log that ends before them has lost something, and a longer one is
//! as it should be.

use super::codec::{Put, Reader};
use super::layout::{FormatVersion, Generation, HeaderError, Newer, Position, SegmentHeader};
use super::slots::{Corruption, Recovered};
use crate::core::ids::SegmentNo;

/// Bytes of a mark: a page, so that writing one never shares a sector with the other.
pub const MARK_PAGE_BYTES: usize = 4096;

/// Marks that are kept: the newest and the one before, for when the power goes while one is written.
pub const MARK_PAGES: usize = 2;

const MARK_MAGIC: [u8; 8] = *b"LEASEBMK";
const MARK_CRC_AT: usize = MARK_PAGE_BYTES - 4;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The opening that made it.
    pub generation: Generation,
    /// The segment that this opening began with.
    pub first: SegmentNo,
    /// Where the log ended.
    pub end: Position,
    /// The CRC of the batch there; 0 if there was none.
    pub crc: u32,
    /// Whether nothing was written behind it.
    pub state: MarkState,
}

/// What a mark says of the log's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkState {
    /// The opening was about to write.
    Open,
    /// The opening was closed in order.
    Sealed {
        /// Records in the segment that the log ends in.
        records: u32,
    },
}

/// What a mark and the log beside it say against each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarkFlaw {
    /// The log ends before the place that it had reached.
    LogShort(Corruption),
    /// Nothing says how far the log went: the mark is missing, or an older copy of it was put there.
    NoWord(Corruption),
}

impl MarkFlaw {
    /// The damage that either amounts to.
    pub fn into_damage(self) -> Corruption {
        match self {
            Self::LogShort(damage) | Self::NoWord(damage) => damage,
        }
    }
}

impl Mark {
    /// Of an opening, or of a repair, that has written this header of its first segment.
    pub fn opening(header: &SegmentHeader) -> Self {
        Self {
            generation: header.generation,
            first: header.segment,
            end: header.previous_end,
            crc: header.previous_crc,
            state: MarkState::Open,
        }
    }

    /// Of a log that is whole and whose own mark is lost; none if it holds nothing.
    pub fn of_whole(log: &Recovered) -> Option<Self> {
        let (first, generation) = log.newest?;
        let records = log.segments.last().map_or(0, |last| last.records);
        Some(Self {
            generation,
            first,
            end: log.start.previous_end,
            crc: log.start.previous_crc,
            state: match log.sealed {
                true => MarkState::Sealed { records },
                false => MarkState::Open,
            },
        })
    }

    /// As a page.
    pub fn encode(&self) -> Vec<u8> {
        let mut page = Vec::with_capacity(MARK_PAGE_BYTES);
        let (state, records) = match self.state {
            MarkState::Open => (0, 0),
            MarkState::Sealed { records } => (1, records),
        };
        page.put(&MARK_MAGIC);
        page.put_u32(FormatVersion::WRITTEN.version());
        page.put_u32(self.generation.0);
        page.put_u32(self.first.0);
        page.put_u32(state);
        page.put_u64(self.end.as_u64());
        page.put_u32(self.crc);
        page.put_u32(records);
        page.resize(MARK_CRC_AT, 0);
        let crc = crc32c::crc32c(&page);
        page.put_u32(crc);
        page
    }

    /// From a page.
    ///
    /// # Errors
    /// [`HeaderError`], never a panic, whatever the bytes are.
    pub fn decode(page: &[u8]) -> Result<Self, HeaderError> {
        let page = page.get(..MARK_PAGE_BYTES);
        let page = page.ok_or(HeaderError::Unreadable)?;
        let (covered, crc) = page.split_at(MARK_CRC_AT);
        if covered[..8] != MARK_MAGIC || crc != crc32c::crc32c(covered).to_le_bytes() {
            return Err(HeaderError::Unreadable);
        }
        let mut reader = Reader::new(&covered[8..]);
        let mut number = || reader.u32().map_err(|_| HeaderError::Unreadable);
        let version = number()?;
        if version > FormatVersion::WRITTEN.version() {
            return Err(HeaderError::Newer(Newer::Version(version)));
        }
        let (generation, first, state) = (Generation(number()?), SegmentNo(number()?), number()?);
        let (low, high) = (number()?, number()?);
        let (crc, records) = (number()?, number()?);
        Ok(Self {
            generation,
            first,
            end: Position::new(SegmentNo(high), low),
            crc,
            state: match state {
                0 => MarkState::Open,
                1 => MarkState::Sealed { records },
                _ => return Err(HeaderError::Unreadable),
            },
        })
    }

    /// The newest of the marks in a file's bytes, and its page's number.
    ///
    /// # Errors
    /// What only a newer program understands.
    pub fn newest(bytes: &[u8]) -> Result<Option<(usize, Self)>, Newer> {
        let mut found = Vec::with_capacity(MARK_PAGES);
        for (number, page) in bytes.chunks(MARK_PAGE_BYTES).take(MARK_PAGES).enumerate() {
            match Self::decode(page) {
                Ok(mark) => found.push((number, mark)),
                Err(HeaderError::Newer(what)) => return Err(what),
                Err(HeaderError::Blank | HeaderError::Unreadable) => {}
            }
        }
        let newest = found.into_iter();
        Ok(newest.max_by_key(|(_, mark)| (mark.generation, mark.state != MarkState::Open)))
    }

    /// Whether a log that is whole by itself is all that the mark beside it speaks of.
    ///
    /// # Errors
    /// [`MarkFlaw`]. A log without batches of version 2 needs no mark.
    pub fn check(found: Option<&Self>, log: &Recovered) -> Result<(), MarkFlaw> {
        let no_word = |what| Err(MarkFlaw::NoWord(at_end(log, what)));
        let Some(mark) = found else {
            return match log.needs_mark {
                true if !planted!(Bug::MissingMarkBelieved) => no_word(
                    "the file `mark`, which says how far the log went, is missing or unreadable"
                        .to_owned(),
                ),
                _ => Ok(()),
            };
        };
        // Any number of openings may have died between their header and their mark; none of them wrote a batch.
        if let Some(writer) = log.written
            && writer > mark.generation
        {
            return no_word(format!(
                "the file `mark` is of opening {}, and opening {} has written: it is an older copy",
                mark.generation.0, writer.0
            ));
        }
        let (end, crc) = (log.start.previous_end, log.start.previous_crc);
        let same = end == mark.end && crc == mark.crc;
        let reached = match mark.state {
            MarkState::Open => mark.has_begun(log) && (same || end > mark.end),
            MarkState::Sealed { .. } => same,
        };
        match reached {
            true => Ok(()),
            false => Err(MarkFlaw::LogShort(mark.missing(log))),
        }
    }

    /// Whether the first segment of this opening is there, or the one that a later opening put in its place.
    fn has_begun(&self, log: &Recovered) -> bool {
        log.newest.is_some_and(|(segment, generation)| {
            segment >= self.first && generation >= self.generation
        })
    }

    /// What of the log is missing.
    fn missing(&self, log: &Recovered) -> Corruption {
        let (found, end) = (log.start.previous_end, self.end);
        let (last, how) = match self.state {
            MarkState::Open => (None, "was durable up to"),
            MarkState::Sealed { records } => (Some(records), "was closed in order at"),
        };
        let absent = |segment, what| Corruption {
            segment,
            slot: None,
            offset: 0,
            what,
        };
        if found < end && found.segment() == end.segment() {
            let here = log.segments.last().map_or(0, |last| last.records);
            let records = last.map_or_else(String::new, |last| {
                let missing = last.saturating_sub(here);
                format!(": {missing} of the {last} records of this segment are missing")
            });
            return at_end(log, format!("the log ends here and {how} {end}{records}"));
        }
        if found < end {
            let records = last.map_or_else(String::new, |last| {
                format!(", the last of which held {last} records")
            });
            let segments = end.segment().0.saturating_sub(found.segment().0);
            let what = match found == Position::default() {
                true => format!("nothing of the log is there, and it {how} {end}{records}"),
                false => format!(
                    "no file holds it, and the log {how} {end}: {segments} segments are missing{records}"
                ),
            };
            let first = match found == Position::default() {
                true => end.segment(),
                false => SegmentNo(found.segment().0.saturating_add(1)),
            };
            return absent(first, what);
        }
        if self.state == MarkState::Open && !self.has_begun(log) {
            let opening = self.generation.0;
            return absent(
                self.first,
                format!(
                    "no file holds it, and opening {opening} began it: all that it wrote is missing"
                ),
            );
        }
        at_end(
            log,
            format!("the log {how} {end}, and that is not what stands there"),
        )
    }
}

/// Damage at the end of what could be read.
fn at_end(log: &Recovered, what: String) -> Corruption {
    let end = log.start.previous_end;
    Corruption {
        segment: end.segment(),
        slot: log.last_batch.map(|last| last.slot),
        offset: end.offset(),
        what,
    }
}
