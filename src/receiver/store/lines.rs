//! The lines of an effect file: `route`, task id, epoch, key and body, separated by tabs.
//!
//! In route, key and body a backslash is written `\\`, a tab `\t`, a newline `\n`, a carriage return
//! `\r`, and a zero byte or one that is no UTF-8 `\xHH` (two lower-case hexadecimal digits). Everything else
//! stands for itself, so that text stays readable, a line is always one command, and the exact bytes can be
//! had back. With no zero byte ever written, a block that never reached the disk shows. A `#` at the start of a
//! route is written `\x23`: lines that start with one are not commands.
//!
//! In a file a sixth field follows: the CRC-32C of what stands before its tab, as eight lower-case hexadecimal digits.

use bytes::BytesMut;

use crate::core::DeliveryId;
use crate::receiver::handler::Delivered;

/// Fields of a line without its checksum.
const FIELDS: usize = 5;

/// Digits of a checksum.
const CHECKSUM_BYTES: usize = 8;

/// One executed command, as an effect file holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectLine {
    /// The route it came along.
    pub route: Vec<u8>,
    /// The task, and the epoch that executed it.
    pub delivery: DeliveryId,
    /// The idempotency key.
    pub key: Vec<u8>,
    /// The command's body.
    pub body: Vec<u8>,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The first line does not say that this is an effect file.
    #[error(
        "not an effect file: its first line is not `# leasebridge-inbox`, its version (1 or 2) and 32 hexadecimal digits; name another file"
    )]
    Header,
    /// Five fields make a line, and a sixth may hold its checksum.
    #[error("{fields} fields instead of 5 (route, id, epoch, key, body) and perhaps a checksum")]
    Fields {
        /// How many there are.
        fields: usize,
    },
    /// The second field is no task id.
    #[error("the second field is no task id")]
    Id,
    /// The third field is no epoch.
    #[error("the third field is no epoch")]
    Epoch,
    /// The sixth field is not what the others come to.
    #[error("its checksum is wrong: it is not what was written")]
    Checksum,
    /// The checksum is missing, though every line of this file has one.
    #[error("its checksum is missing: it is not what was written")]
    Unchecked,
    /// The line has no end, and is followed by what was never written.
    #[error("it has no end, and it is not what was written")]
    End,
    /// A zero byte, which is never written.
    #[error("it has a hole: bytes that were never written, or were lost")]
    Hole,
    /// A field holds an escape that is never written.
    #[error("the {field} holds a broken escape")]
    Escape {
        /// The name of the field: `route`, `key` or `body`.
        field: &'static str,
    },
}

impl EffectLine {
    /// Appends the line of a command, with its newline.
    pub fn write(command: &Delivered, out: &mut BytesMut) {
        use std::fmt::Write;
        let Delivered {
            delivery,
            route,
            key,
            body,
            ..
        } = command;
        let route = route.as_bytes();
        let texts = [route.len(), key.len(), body.len(), 64];
        out.reserve(texts.into_iter().fold(0, usize::saturating_add));
        if let Some(rest) = route.strip_prefix(b"#") {
            out.extend_from_slice(b"\\x23");
            escape(rest, out);
        } else {
            escape(route, out);
        }
        let DeliveryId { task, epoch } = delivery;
        write!(out, "\t{task}\t{epoch}\t").expect("a buffer takes what it is given");
        escape(key.as_bytes(), out);
        out.extend_from_slice(b"\t");
        escape(body, out);
        out.extend_from_slice(b"\n");
    }

    /// As [`EffectLine::write`], with the checksum.
    pub fn write_checked(command: &Delivered, out: &mut BytesMut) {
        let start = out.len();
        Self::write(command, out);
        out.truncate(out.len().saturating_sub(1));
        let checksum = checksum(&out[start..]);
        out.reserve(CHECKSUM_BYTES + 2);
        out.extend_from_slice(b"\t");
        out.extend_from_slice(&checksum);
        out.extend_from_slice(b"\n");
    }

    /// Whether a line has a checksum. Whether it is right, [`EffectLine::parse`] says.
    pub fn is_checked(line: &[u8]) -> bool {
        line.iter().filter(|byte| **byte == b'\t').count() == FIELDS
    }

    /// Reads a line, without its newline.
    ///
    /// # Errors
    /// [`LineError`] when it was not written by [`EffectLine::write`] or [`EffectLine::write_checked`].
    pub fn parse(line: &[u8]) -> Result<Self, LineError> {
        if line.contains(&0) {
            return Err(LineError::Hole);
        }
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b'\t').collect();
        let (route, id, epoch, key, body) = match fields[..] {
            [route, id, epoch, key, body] => (route, id, epoch, key, body),
            [route, id, epoch, key, body, found] => {
                let tab = line.len().saturating_sub(found.len()).saturating_sub(1);
                let checked = &line[..tab];
                if checksum(checked) != found {
                    return Err(LineError::Checksum);
                }
                (route, id, epoch, key, body)
            }
            _ => {
                let fields = fields.len();
                return Err(LineError::Fields { fields });
            }
        };
        let text = |field| std::str::from_utf8(field).ok();
        let task = text(id).and_then(|id| id.parse().ok());
        let epoch = text(epoch).and_then(|epoch| epoch.parse().ok());
        Ok(Self {
            delivery: DeliveryId {
                task: task.ok_or(LineError::Id)?,
                epoch: epoch.ok_or(LineError::Epoch)?,
            },
            route: unescape(route).ok_or(LineError::Escape { field: "route" })?,
            key: unescape(key).ok_or(LineError::Escape { field: "key" })?,
            body: unescape(body).ok_or(LineError::Escape { field: "body" })?,
        })
    }
}

/// What the last field of a checked line says of the bytes before its tab.
fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut crc = crc32c::crc32c(bytes);
    // The highest digit first.
    std::array::from_fn(|_| {
        crc = crc.rotate_left(4);
        DIGITS[(crc & 15) as usize]
    })
}

fn escape(bytes: &[u8], out: &mut BytesMut) {
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid().as_bytes();
        while let Some(at) = rest
            .iter()
            .position(|byte| matches!(byte, b'\\' | b'\t' | b'\n' | b'\r' | 0))
        {
            out.extend_from_slice(&rest[..at]);
            out.extend_from_slice(match rest[at] {
                b'\\' => b"\\\\",
                b'\t' => b"\\t",
                b'\n' => b"\\n",
                0 => b"\\x00",
                _ => b"\\r",
            });
            rest = &rest[at..][1..];
        }
        out.extend_from_slice(rest);
        for byte in chunk.invalid() {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
            out.extend_from_slice(&[b'\\', b'x', DIGITS[high], DIGITS[low]]);
        }
    }
}

fn unescape(mut field: &[u8]) -> Option<Vec<u8>> {
    // Bytes that are no UTF-8 are always escaped.
    std::str::from_utf8(field).ok()?;
    let mut bytes = Vec::with_capacity(field.len());
    while let Some(at) = field.iter().position(|byte| matches!(byte, b'\\' | b'\r')) {
        bytes.extend_from_slice(&field[..at]);
        let (byte, length) = match field[at..] {
            [b'\\', b'\\', ..] => (b'\\', 2),
            [b'\\', b't', ..] => (b'\t', 2),
            [b'\\', b'n', ..] => (b'\n', 2),
            [b'\\', b'r', ..] => (b'\r', 2),
            [b'\\', b'x', high, low, ..] => (digit(high)? << 4 | digit(low)?, 4),
            _ => return None,
        };
        bytes.push(byte);
        field = &field[at..][length..];
    }
    bytes.extend_from_slice(field);
    Some(bytes)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => byte.checked_sub(b'0'),
        b'a'..=b'f' => byte.checked_sub(b'a')?.checked_add(10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::{Epoch, Origin, SendNumber, Seq, TaskId};

    fn command(route: &str, key: &str, body: &[u8]) -> Delivered {
        Delivered {
            delivery: DeliveryId {
                task: TaskId {
                    seq: Seq(42),
                    origin: Origin(0xc0ffee),
                },
                epoch: Epoch::new(3).unwrap(),
            },
            send: SendNumber::FIRST,
            route: route.into(),
            headers: Vec::new(),
            body: body.to_vec().into(),
            key: key.into(),
            expires_in: None,
        }
    }

    fn line(command: &Delivered) -> BytesMut {
        let mut out = BytesMut::new();
        EffectLine::write(command, &mut out);
        out
    }

    #[test]
    fn a_line_reads_as_documented() {
        let body = b"a\\b\tc\nd\re\xff\xc3\xa4#";
        assert_eq!(
            line(&command("#orders", "k 1", body)),
            "\\x23orders\t42-0000000000c0ffee\t3\tk 1\ta\\\\b\\tc\\nd\\re\\xffä#\n".as_bytes()
        );
    }

    proptest! {
        #[test]
        fn every_command_comes_back_from_its_line(
            route in "[#\\\\\t\n\r a-zä]{0,9}",
            key in "[\\\\\t\n\r\u{0}a-zä]{0,9}",
            body in proptest::collection::vec(
                prop_oneof![any::<u8>(), Just(b'\\'), Just(b'\n'), Just(b'x')], 0..60),
        ) {
            let written = line(&command(&route, &key, &body));
            let (end, text) = written.split_last().unwrap();
            prop_assert_eq!(*end, b'\n');
            prop_assert!(!text.contains(&b'\n') && !text.contains(&0) && !text.starts_with(b"#"));
            prop_assert!(std::str::from_utf8(text).is_ok());
            let read = EffectLine::parse(text).unwrap();
            prop_assert_eq!(read.route, route.as_bytes());
            prop_assert_eq!(read.key, key.as_bytes());
            prop_assert_eq!(read.body, body);
            prop_assert_eq!(read.delivery.epoch.get(), 3);
        }

        #[test]
        fn a_flipped_bit_of_a_checked_line_is_found(
            body in "[a-z #@\t]{0,30}", at in any::<prop::sample::Index>(), bit in 0..8_u32,
        ) {
            let mut out = BytesMut::new();
            EffectLine::write_checked(&command("default", "k", body.as_bytes()), &mut out);
            let mut text = out.to_vec();
            prop_assert_eq!(text.pop(), Some(b'\n'));
            prop_assert!(EffectLine::is_checked(&text));
            prop_assert_eq!(EffectLine::parse(&text).unwrap().body, body.as_bytes());
            let at = at.index(text.len());
            text[at] ^= 1_u8 << bit;
            // What is no checked line any more is refused by whoever asked for one.
            let found = EffectLine::parse(&text);
            prop_assert!(found.is_err() || !EffectLine::is_checked(&text), "{:?}", found);
        }

        #[test]
        fn no_line_makes_it_panic(line in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = EffectLine::parse(&line);
        }
    }

    #[test]
    fn what_was_never_written_is_refused_by_name() {
        for (line, error) in [
            (&b"orders"[..], LineError::Fields { fields: 1 }),
            (b"o\t1-0000000000000001\t1\tk\tb\tmore", LineError::Checksum),
            (
                b"o\t1-0000000000000001\t1\tk\tb\tmore\tmore",
                LineError::Fields { fields: 7 },
            ),
            (b"o\t1\t1\tk\tb", LineError::Id),
            (b"o\t1-0000000000000001\t0\tk\tb", LineError::Epoch),
            (b"o\t1-0000000000000001\t+1\tk\tb", LineError::Epoch),
            (b"o\t+1-0000000000000001\t1\tk\tb", LineError::Id),
            (b"o\t1-000000000000000A\t1\tk\tb", LineError::Id),
            (
                b"o\\\t1-0000000000000001\t1\tk\tb",
                LineError::Escape { field: "route" },
            ),
            (
                b"o\t1-0000000000000001\t1\tk\\q\tb",
                LineError::Escape { field: "key" },
            ),
            (
                b"o\t1-0000000000000001\t1\tk\t\\x0",
                LineError::Escape { field: "body" },
            ),
            (
                b"o\t1-0000000000000001\t1\tk\t\xff",
                LineError::Escape { field: "body" },
            ),
            (b"o\t1-0000000000000001\t1\tk\tb\0c", LineError::Hole),
            (
                b"o\t1-0000000000000001\t1\tk\tb\r",
                LineError::Escape { field: "body" },
            ),
        ] {
            assert_eq!(EffectLine::parse(line), Err(error));
        }
    }
}
