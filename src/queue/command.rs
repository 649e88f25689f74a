//! The payload of a bridge's queue.

use bytes::{Buf, Bytes};

use super::payload::{Payload, PayloadError};
use crate::wire::v1;

/// A command as the bridge keeps it; its route, key and deadline are the task's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Command {
    /// What the producer sends along, in its order.
    pub headers: Vec<v1::Header>,
    /// What the endpoint is to execute.
    pub body: Bytes,
}

impl Command {
    /// A command with no headers.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self {
            headers: Vec::new(),
            body: body.into(),
        }
    }
}

/// Stored as the number of headers, each as two length-prefixed texts, then the body to the end: the
/// body comes out as a slice of the record, without a copy.
impl Payload for Command {
    fn encode_to(&self, out: &mut Vec<u8>) {
        put_len(out, self.headers.len());
        for v1::Header { name, value } in &self.headers {
            put_text(out, name);
            put_text(out, value);
        }
        out.extend_from_slice(&self.body);
    }

    fn size_hint(&self) -> usize {
        let texts = self
            .headers
            .iter()
            .map(|header| header.name.len() + header.value.len() + 8);
        4 + texts.sum::<usize>() + self.body.len()
    }

    fn decode_from(mut bytes: Bytes) -> Result<Self, PayloadError> {
        let damaged = |reason: &str| PayloadError {
            type_name: std::any::type_name::<Self>(),
            reason: reason.to_owned(),
        };
        let count = bytes.try_get_u32_le().map_err(|_| damaged("cut short"))?;
        let mut headers = Vec::new();
        for _ in 0..count {
            let name = take_text(&mut bytes).ok_or_else(|| damaged("a header's name"))?;
            let value = take_text(&mut bytes).ok_or_else(|| damaged("a header's value"))?;
            headers.push(v1::Header { name, value });
        }
        Ok(Self {
            headers,
            body: bytes,
        })
    }

    /// Headers carry traces and the like, which differ from one try to the next.
    fn identity(&self) -> Option<Bytes> {
        Some(self.body.clone())
    }
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    let len = u32::try_from(len).expect("headers are limited before");
    out.extend_from_slice(&len.to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_len(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn take_text(bytes: &mut Bytes) -> Option<String> {
    let len = bytes.try_get_u32_le().ok()? as usize;
    if bytes.len() < len {
        return None;
    }
    String::from_utf8(bytes.split_to(len).to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_comes_back_and_damage_is_refused() {
        let header = v1::Header {
            name: "trace".into(),
            value: "ü".into(),
        };
        let command = Command {
            headers: vec![header.clone(), header],
            body: "open".into(),
        };
        let mut bytes = Vec::new();
        command.encode_to(&mut bytes);
        assert_eq!(Command::decode_from(bytes.clone().into()).unwrap(), command);
        let headers_end = bytes.len() - command.body.len();
        for cut in 0..headers_end {
            let cut = Bytes::copy_from_slice(&bytes[..cut]);
            assert!(Command::decode_from(cut).is_err());
        }
    }
}
