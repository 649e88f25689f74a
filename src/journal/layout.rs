//! The two headers: of a segment and of a batch; and the places in the log they speak of.

use std::fmt;

use super::codec::{DecodeError, Put, Reader};
use super::limits::{BATCH_ALIGN_BYTES, BATCH_HEADER_BYTES, SEGMENT_HEADER_BYTES};
use crate::core::ids::SegmentNo;

/// A version of the format that this program reads. Segments and batches both name theirs: a log that is kept
/// without segment headers can be read all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FormatVersion {
    /// Without optional fields.
    One,
    /// With optional fields in the records, features in the segment's header, and a witness of each batch.
    Two,
}

impl FormatVersion {
    /// The one this program writes, and the newest it reads.
    pub const WRITTEN: Self = Self::Two;

    /// As a segment's header names it.
    pub fn version(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }

    fn of_version(version: u32) -> Option<Self> {
        let all = [Self::One, Self::Two];
        all.into_iter().find(|format| format.version() == version)
    }

    fn batch_magic(self) -> [u8; 4] {
        match self {
            Self::One => *b"LBB\xb5",
            Self::Two => *b"LBB\xb6",
        }
    }

    fn of_batch(bytes: &[u8]) -> Option<Self> {
        let all = [Self::One, Self::Two];
        all.into_iter()
            .find(|format| bytes.starts_with(&format.batch_magic()))
    }
}

/// Something in a log that a newer program wrote, and that this one can't read around.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Newer {
    /// A whole format of the future.
    #[error("format version {0}, newer than this program reads ({newest})", newest = FormatVersion::WRITTEN.version())]
    Version(u32),
    /// Segments that are laid out in another way.
    #[error("format version 2 with features {0:#06x}, which this program does not know")]
    Features(u16),
    /// A record with a field that must be known.
    #[error(
        "format version 2 with optional field {0} in a record, which this program does not know and must"
    )]
    Field(u8),
}

const SEGMENT_MAGIC: [u8; 8] = *b"LEASEBSG";
const WITNESS_MAGIC: [u8; 4] = *b"LBW\xb6";

/// The features of a segment, since version 2, that its reader must know, as bits.
const FEATURES_KNOWN: u16 = FEATURE_CUT;

/// See [`SegmentHeader::is_cut`].
const FEATURE_CUT: u16 = 1;

const SEGMENT_CRC_AT: usize = SEGMENT_HEADER_BYTES as usize - 4;
const BATCH_CRC_AT: usize = BATCH_HEADER_BYTES as usize - 4;

/// A place in the log: just behind a record. Ordered as the log is; zero is before everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// The place `offset` bytes into a segment.
    pub fn new(segment: SegmentNo, offset: u32) -> Self {
        Self(u64::from(segment.0) << 32 | u64::from(offset))
    }

    /// The segment that the position lies in.
    pub fn segment(self) -> SegmentNo {
        SegmentNo(u32::try_from(self.0 >> 32).expect("32 bits are left"))
    }

    /// Its byte offset in the segment.
    pub fn offset(self) -> u32 {
        u32::try_from(self.0 & u64::from(u32::MAX)).expect("32 bits are left")
    }

    /// As one number that orders as positions do.
    pub fn as_u64(self) -> u64 {
        self.0
    }

    pub(super) fn from_u64(value: u64) -> Self {
        Self(value)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment().0, self.offset())
    }
}

/// Counts the openings of a log, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u32);

impl Generation {
    /// The next opening's.
    pub(super) fn next(self) -> Self {
        Self(
            self.0
                .checked_add(1)
                .expect("a log is never opened 2^32 times"),
        )
    }
}

/// Names a slot file. A slot holds one segment after another; which one, its header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotNo(pub u32);

impl fmt::Display for SlotNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06}.seg", self.0)
    }
}

impl SlotNo {
    /// The slot whose file has this name, if it is a slot's name.
    pub fn from_file_name(name: &str) -> Option<Self> {
        let number: u32 = name.strip_suffix(".seg")?.parse().ok()?;
        let slot = Self(number);
        (number > 0 && slot.to_string() == name).then_some(slot)
    }
}

/// Where the batch behind one that ends at `end` starts.
pub fn next_batch(end: u32) -> u32 {
    end.next_multiple_of(BATCH_ALIGN_BYTES)
}

/// The first page of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Which segment the slot holds.
    pub segment: SegmentNo,
    /// The opening that wrote it.
    pub generation: Generation,
    /// The oldest segment still needed when this header was written.
    pub oldest: SegmentNo,
    /// Bytes of the segment, header included.
    pub segment_bytes: u32,
    /// Where the log ended in the segment before.
    pub previous_end: Position,
    /// The CRC of the last batch there.
    pub previous_crc: u32,
    /// The log did not end there of itself: a repair cut off what followed, and no opening has written since that it
    /// knows.
    pub is_cut: bool,
}

/// Why a page is no usable [`SegmentHeader`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// All zeros: a fresh slot.
    #[error("the slot was never used")]
    Blank,
    /// Torn, rotten, or something else altogether.
    #[error("the header is unreadable")]
    Unreadable,
    /// Intact, but of the future.
    #[error("the segment is of {0}")]
    Newer(Newer),
}

impl SegmentHeader {
    /// As a page.
    pub fn encode(&self) -> Vec<u8> {
        let mut page = Vec::with_capacity(SEGMENT_HEADER_BYTES as usize);
        page.put(&SEGMENT_MAGIC);
        page.put_u32(FormatVersion::WRITTEN.version());
        page.put_u32(self.segment.0);
        page.put_u32(self.generation.0);
        page.put_u32(self.oldest.0);
        page.put_u32(self.segment_bytes);
        page.put_u32(self.previous_crc);
        page.put_u64(self.previous_end.as_u64());
        page.put_u16(if self.is_cut { FEATURE_CUT } else { 0 });
        // The features that a reader may pass over, of which there is none, and room.
        page.resize(SEGMENT_CRC_AT, 0);
        let crc = crc32c::crc32c(&page);
        page.put_u32(crc);
        page
    }

    /// From the first bytes of a slot file; more than a page may be given.
    ///
    /// # Errors
    /// [`HeaderError`], never a panic, whatever the bytes are.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let page = bytes
            .get(..SEGMENT_HEADER_BYTES as usize)
            .ok_or(HeaderError::Unreadable)?;
        if page.iter().all(|byte| *byte == 0) {
            return Err(HeaderError::Blank);
        }
        // The magic, the version and the CRC keep their places in every version to come, so that a
        // newer header is told from a broken one.
        let (covered, crc) = page.split_at(SEGMENT_CRC_AT);
        if covered[..8] != SEGMENT_MAGIC || crc != crc32c::crc32c(covered).to_le_bytes() {
            return Err(HeaderError::Unreadable);
        }
        let mut reader = Reader::new(&covered[8..]);
        let short = |_: DecodeError| HeaderError::Unreadable;
        let version = reader.u32().map_err(short)?;
        let format = match FormatVersion::of_version(version) {
            Some(format) => format,
            None if version > FormatVersion::WRITTEN.version() => {
                return Err(HeaderError::Newer(Newer::Version(version)));
            }
            None => return Err(HeaderError::Unreadable),
        };
        let mut header = Self::read(&mut reader).map_err(short)?;
        if format >= FormatVersion::Two {
            let features = reader.u16().map_err(short)?;
            let unknown = features & !FEATURES_KNOWN;
            if unknown != 0 {
                return Err(HeaderError::Newer(Newer::Features(unknown)));
            }
            header.is_cut = features & FEATURE_CUT != 0;
        }
        Ok(header)
    }

    /// What stands behind the version in every format so far.
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            segment: SegmentNo(reader.u32()?),
            generation: Generation(reader.u32()?),
            oldest: SegmentNo(reader.u32()?),
            segment_bytes: reader.u32()?,
            previous_crc: reader.u32()?,
            previous_end: Position::from_u64(reader.u64()?),
            is_cut: false,
        })
    }
}

/// What stands before a batch's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// How its records are written.
    pub format: FormatVersion,
    /// Bytes of records.
    pub records_bytes: u32,
    /// Count of records.
    pub records: u32,
    /// The segment it was written for: salt.
    pub segment: SegmentNo,
    /// The opening that wrote it: salt.
    pub generation: Generation,
    /// The CRC of the batch before: the chain.
    pub previous_crc: u32,
    /// Everything before this place was durable when the batch was written: the end of the one before.
    pub previous_end: Position,
    /// CRC-32C of the records.
    pub records_crc: u32,
}

impl BatchHeader {
    /// As bytes, and the CRC that the next batch chains to.
    pub(super) fn encode(&self) -> ([u8; BATCH_HEADER_BYTES as usize], u32) {
        self.encode_behind(self.format.batch_magic())
    }

    /// As the bytes of a [`super::Witness`]: a batch's but for the magic, so that neither passes for the other.
    pub(super) fn encode_witness(&self) -> [u8; BATCH_HEADER_BYTES as usize] {
        self.encode_behind(WITNESS_MAGIC).0
    }

    fn encode_behind(&self, magic: [u8; 4]) -> ([u8; BATCH_HEADER_BYTES as usize], u32) {
        let mut bytes = [0; BATCH_HEADER_BYTES as usize];
        bytes[0..4].copy_from_slice(&magic);
        bytes[4..8].copy_from_slice(&self.records_bytes.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.records.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.segment.0.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.generation.0.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.previous_crc.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.previous_end.as_u64().to_le_bytes());
        bytes[32..36].copy_from_slice(&self.records_crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..BATCH_CRC_AT]);
        bytes[BATCH_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        (bytes, crc)
    }

    /// The intact header at the front of `bytes` and its CRC, if there is one.
    pub fn decode(bytes: &[u8]) -> Option<(Self, u32)> {
        Self::decode_behind(FormatVersion::of_batch(bytes)?, bytes)
    }

    /// What an intact witness at the front of `bytes` says of its batch, if one stands there.
    pub(super) fn decode_witness(bytes: &[u8]) -> Option<Self> {
        let is_one = bytes.starts_with(&WITNESS_MAGIC);
        let read = is_one.then(|| Self::decode_behind(FormatVersion::Two, bytes));
        read.flatten().map(|(header, _)| header)
    }

    fn decode_behind(format: FormatVersion, bytes: &[u8]) -> Option<(Self, u32)> {
        let bytes = bytes.get(..BATCH_HEADER_BYTES as usize)?;
        let (covered, crc) = bytes.split_at(BATCH_CRC_AT);
        let computed = crc32c::crc32c(covered);
        if crc != computed.to_le_bytes() {
            return None;
        }
        let mut reader = Reader::new(&covered[4..]);
        let header = Self {
            format,
            records_bytes: reader.u32().ok()?,
            records: reader.u32().ok()?,
            segment: SegmentNo(reader.u32().ok()?),
            generation: Generation(reader.u32().ok()?),
            previous_crc: reader.u32().ok()?,
            previous_end: Position::from_u64(reader.u64().ok()?),
            records_crc: reader.u32().ok()?,
        };
        Some((header, computed))
    }

    /// Whether bytes without an intact header nevertheless began as a batch of this segment and
    /// generation: what a torn write leaves.
    pub(super) fn traces(bytes: &[u8], segment: SegmentNo, generation: Generation) -> bool {
        FormatVersion::of_batch(bytes).is_some()
            && bytes.get(12..16) == Some(&segment.0.to_le_bytes())
            && bytes.get(16..20) == Some(&generation.0.to_le_bytes())
    }
}
