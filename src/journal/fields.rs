//! Optional fields: what a program writes about a command that an older one of the same format need not know.
//!
//! They stand behind the options of an enqueue and of a task's image, and only if there are any. A reader takes the
//! fields it knows; the rest it carries along with its task, as they are, so that nothing is lost when it moves
//! or drains the task. A field that must be known says so, and a reader that doesn't know it refuses the log.

use super::codec::{DecodeError, Put, Reader};
use crate::core::event::Carried;

/// Bytes of all optional fields of one record: compaction and the smallest segment have to reckon with them.
pub(super) const FIELDS_BYTES_MAX: usize = 1024;

/// Set in the tag of a field that a reader must know to go on.
const MUST_KNOW: u8 = 0x80;

/// Bytes of a field beside its value: its tag and its length.
const FIELD_HEAD_BYTES: usize = 3;

/// Appends what is carried along, with its length.
pub(super) fn put(out: &mut Vec<u8>, carried: &Carried) {
    let fields = carried.as_bytes();
    let len = u16::try_from(fields.len()).expect("as long as it was when it was read");
    out.put_u16(len);
    out.put(fields);
}

/// Reads fields: checks that they are in order, and that none has to be known.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<Carried, DecodeError> {
    let len = usize::from(reader.u16()?);
    let bytes = reader.take(len)?;
    if !(FIELD_HEAD_BYTES..=FIELDS_BYTES_MAX).contains(&len) {
        return Err(DecodeError::Fields);
    }
    let mut fields = Reader::new(bytes);
    let mut last = 0;
    while fields.remaining() > 0 {
        let tag = next(&mut fields).map_err(|_| DecodeError::Fields)?;
        let number = tag & !MUST_KNOW;
        if number <= last {
            return Err(DecodeError::Fields);
        }
        last = number;
        if tag & MUST_KNOW != 0 {
            return Err(DecodeError::UnknownField(number));
        }
    }
    Ok(Carried::new(bytes))
}

/// The next field's tag; its value is passed over.
fn next(fields: &mut Reader<'_>) -> Result<u8, DecodeError> {
    let tag = fields.u8()?;
    let len = usize::from(fields.u16()?);
    fields.take(len)?;
    Ok(tag)
}
