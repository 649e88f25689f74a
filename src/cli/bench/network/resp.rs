//! What Redis says, out of the bytes that have arrived (RESP, version 2).

use bytes::{Buf, Bytes, BytesMut};

use crate::cli::bench::BenchError;

/// The longest line that is no bulk: numbers, states and errors.
const LINE_BYTES_MAX: usize = 4 << 10;

/// The longest bulk: a command's body is far shorter.
const BULK_BYTES_MAX: usize = 1 << 20;

/// The most parts of an array: those of the largest batch that is asked for.
const ARRAY_MAX: usize = 64 << 10;

/// Arrays inside of arrays: a batch has five.
const DEPTH_MAX: usize = 8;

/// What Redis says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RedisReply {
    /// `+OK`.
    State(Bytes),
    Error(Bytes),
    Number(i64),
    Bulk(Bytes),
    Array(Vec<RedisReply>),
    Nil,
}

/// Takes replies out of bytes as they arrive, and looks at none of them twice.
#[derive(Debug, Default)]
pub(super) struct ReplyParser {
    pub(super) buffer: BytesMut,
    /// Arrays that are not complete, each inside the one before.
    open: Vec<OpenArray>,
}

#[derive(Debug)]
struct OpenArray {
    parts: Vec<RedisReply>,
    count: usize,
}

enum ReplyToken {
    Whole(RedisReply),
    Array(usize),
}

impl ReplyParser {
    /// The next complete reply, if there is one.
    ///
    /// # Errors
    /// Bytes that Redis doesn't say; nothing after them can be understood.
    pub(super) fn take(&mut self) -> Result<Option<RedisReply>, BenchError> {
        while let Some(token) = self.token()? {
            let mut whole = match token {
                ReplyToken::Array(0) => RedisReply::Array(Vec::new()),
                ReplyToken::Array(count) => {
                    if self.open.len() == DEPTH_MAX {
                        return Err(strange("an array too deep"));
                    }
                    let parts = Vec::with_capacity(count);
                    self.open.push(OpenArray { parts, count });
                    continue;
                }
                ReplyToken::Whole(reply) => reply,
            };
            loop {
                let Some(array) = self.open.last_mut() else {
                    return Ok(Some(whole));
                };
                array.parts.push(whole);
                if array.parts.len() < array.count {
                    break;
                }
                whole = RedisReply::Array(self.open.pop().expect("just seen").parts);
            }
        }
        Ok(None)
    }

    fn token(&mut self) -> Result<Option<ReplyToken>, BenchError> {
        let searched = &self.buffer[..self.buffer.len().min(LINE_BYTES_MAX)];
        let Some(end) = searched.windows(2).position(|pair| pair == b"\r\n") else {
            return match searched.len() {
                LINE_BYTES_MAX => Err(strange("a line without an end")),
                _ => Ok(None),
            };
        };
        let (kind, text) = match searched[..end].split_first() {
            Some((kind, text)) => (*kind, text),
            None => return Err(strange("an empty line")),
        };
        let number = || {
            let text = std::str::from_utf8(text).ok();
            text.and_then(|text| text.parse::<i64>().ok())
                .ok_or_else(|| strange("no number"))
        };
        let token = match kind {
            b'+' => ReplyToken::Whole(RedisReply::State(Bytes::copy_from_slice(text))),
            b'-' => ReplyToken::Whole(RedisReply::Error(Bytes::copy_from_slice(text))),
            b':' => ReplyToken::Whole(RedisReply::Number(number()?)),
            b'$' | b'*' if number()? == -1 => ReplyToken::Whole(RedisReply::Nil),
            b'*' => ReplyToken::Array(size(number()?, ARRAY_MAX)?),
            b'$' => {
                let bytes = size(number()?, BULK_BYTES_MAX)?;
                // The line's end is two bytes, and so is the bulk's.
                if self.buffer.len() < end + 2 + bytes + 2 {
                    return Ok(None);
                }
                self.buffer.advance(end + 2);
                let bulk = self.buffer.split_to(bytes).freeze();
                self.buffer.advance(2);
                return Ok(Some(ReplyToken::Whole(RedisReply::Bulk(bulk))));
            }
            _ => return Err(strange("an unknown kind")),
        };
        self.buffer.advance(end + 2);
        Ok(Some(token))
    }
}

fn size(number: i64, most: usize) -> Result<usize, BenchError> {
    let size = usize::try_from(number).ok().filter(|size| *size <= most);
    size.ok_or_else(|| strange("a size out of range"))
}

fn strange(what: &str) -> BenchError {
    BenchError::Helper(format!("{what} from redis-server"))
}

/// Appends a request to `out`.
pub(super) fn write_request(parts: &[&[u8]], out: &mut BytesMut) {
    let head = |sign: char, count: usize| format!("{sign}{count}\r\n");
    out.extend_from_slice(head('*', parts.len()).as_bytes());
    for part in parts {
        out.extend_from_slice(head('$', part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &[u8] =
        b"*2\r\n*2\r\n$3\r\n1-0\r\n*1\r\n$4\r\n\r\n\r\n\r\n$-1\r\n+OK\r\n:7\r\n-ERR no\r\n*0\r\n";

    fn bulk(bytes: &'static [u8]) -> RedisReply {
        RedisReply::Bulk(Bytes::from_static(bytes))
    }

    #[test]
    fn replies_are_the_same_however_their_bytes_are_cut() {
        let entry = RedisReply::Array(vec![
            bulk(b"1-0"),
            RedisReply::Array(vec![bulk(b"\r\n\r\n")]),
        ]);
        let expected = [
            RedisReply::Array(vec![entry, RedisReply::Nil]),
            RedisReply::State(Bytes::from_static(b"OK")),
            RedisReply::Number(7),
            RedisReply::Error(Bytes::from_static(b"ERR no")),
            RedisReply::Array(Vec::new()),
        ];
        for piece in 1..=SAID.len() {
            let mut parser = ReplyParser::default();
            let mut seen = Vec::new();
            for bytes in SAID.chunks(piece) {
                parser.buffer.extend_from_slice(bytes);
                while let Some(reply) = parser.take().unwrap() {
                    seen.push(reply);
                }
            }
            assert_eq!(seen, expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn what_redis_does_not_say_is_an_error() {
        for bytes in [
            &b"?1\r\n"[..],
            b"\r\n",
            b"$9999999\r\n",
            b"*-2\r\n",
            b":x\r\n",
        ] {
            let mut parser = ReplyParser::default();
            parser.buffer.extend_from_slice(bytes);
            assert!(parser.take().is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_request_counts_its_parts() {
        let mut out = BytesMut::new();
        write_request(&[b"XDEL", b"s"], &mut out);
        assert_eq!(&out[..], b"*2\r\n$4\r\nXDEL\r\n$1\r\ns\r\n");
    }
}
