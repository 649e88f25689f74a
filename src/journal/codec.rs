//! Little-endian primitives, and a reader that is total: any bytes whatever decode or are refused,
//! nothing panics, and nothing is allocated beyond what the bytes themselves hold.

use super::layout::Newer;

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end in the middle of a field.
    #[error("the record ends in the middle of a field")]
    Short,
    /// A code that stands for nothing.
    #[error("{value} is no {field}")]
    Value {
        /// Of which field.
        field: &'static str,
        /// The byte that was read.
        value: u8,
    },
    /// Text that is no UTF-8.
    #[error("a text is not UTF-8")]
    Text,
    /// Optional fields whose lengths or order contradict each other.
    #[error("the optional fields are not in order")]
    Fields,
    /// An optional field of a newer program that says it must not be passed over.
    #[error("it has optional field {0}, which a reader must know")]
    UnknownField(u8),
}

impl DecodeError {
    /// What a newer program wrote, if that is what it is.
    pub(crate) fn newer(self) -> Option<Newer> {
        match self {
            Self::UnknownField(field) => Some(Newer::Field(field)),
            Self::Short | Self::Value { .. } | Self::Text | Self::Fields => None,
        }
    }
}

/// Writing of primitives, little-endian. Inlined everywhere: a record is a dozen fields of known size, and a call for
/// each costs more than the copy.
pub(super) trait Put {
    fn put(&mut self, bytes: &[u8]);

    #[inline]
    fn put_u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    #[inline]
    fn put_u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }

    #[inline]
    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }

    #[inline]
    fn put_u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }

    #[inline]
    fn put_u128(&mut self, value: u128) {
        self.put(&value.to_le_bytes());
    }

    /// A text of at most 65535 bytes. The state machine caps every text far below.
    fn put_text(&mut self, text: &str) {
        let len = u16::try_from(text.len()).expect("texts are capped before they become events");
        self.put_u16(len);
        self.put(text.as_bytes());
    }
}

impl Put for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Bytes that the fixed fields of a record stay under.
pub(super) const FIXED_BYTES_MAX: usize = 96;

/// The fixed fields of a record, gathered on the stack: the log's buffer then grows once for all of them.
#[derive(Debug)]
pub(super) struct Fixed {
    bytes: [u8; FIXED_BYTES_MAX],
    len: usize,
}

impl Fixed {
    #[inline]
    pub(super) fn new() -> Self {
        Self {
            bytes: [0; FIXED_BYTES_MAX],
            len: 0,
        }
    }

    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Put for Fixed {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let end = self.len.saturating_add(bytes.len());
        self.bytes[self.len..end].copy_from_slice(bytes);
        self.len = end;
    }
}

/// Reads primitives from the front of a slice.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// What is there only if its flag is set.
    pub(super) fn when<T>(
        &mut self,
        is_set: bool,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        is_set.then(|| read(self)).transpose()
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(len).ok_or(DecodeError::Short)?;
        let taken = self.bytes.get(self.at..end).ok_or(DecodeError::Short)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let taken = self.take(N)?;
        Ok(taken.try_into().expect("take gives what was asked for"))
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn u128(&mut self) -> Result<u128, DecodeError> {
        self.array().map(u128::from_le_bytes)
    }

    pub(super) fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(DecodeError::Value { field, value }),
        }
    }

    pub(super) fn text(&mut self) -> Result<Box<str>, DecodeError> {
        let len = usize::from(self.u16()?);
        let text = std::str::from_utf8(self.take(len)?).map_err(|_| DecodeError::Text)?;
        Ok(text.into())
    }
}
