//! A command's body: who made it and how its endpoint is to behave; the rest is padding.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::plan::{Behaviour, OpId, OpKind, OpSpec, Plan};

/// What the simulator needs to know of a command where it is executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Body {
    /// The operation that made it; of several with the same key and content, the first.
    pub(super) op: OpId,
    /// What its endpoint does.
    pub(super) steps: Behaviour,
}

impl Body {
    /// As bytes, with so many more behind a line feed.
    pub(super) fn encode(&self, padding: u32) -> Bytes {
        let mut bytes = serde_json::to_vec(self).expect("a body is plain data");
        bytes.push(b'\n');
        bytes.resize(bytes.len() + padding as usize, b'.');
        bytes.into()
    }

    /// Reads it back; `None` if it is none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        serde_json::from_slice(&bytes[..end]).ok()
    }

    /// The body of an enqueue of this plan: operations that repeat an earlier one have its very bytes.
    pub(super) fn of(plan: &Plan, op: &OpSpec) -> Option<Bytes> {
        let OpKind::Enqueue {
            padding, behaviour, ..
        } = &op.kind
        else {
            return None;
        };
        let first = plan.ops.iter().find(|other| repeats(op, other));
        let body = Self {
            op: first.unwrap_or(op).id,
            steps: behaviour.clone(),
        };
        Some(body.encode(*padding))
    }
}

/// Whether two operations enqueue the same under the same key.
fn repeats(op: &OpSpec, other: &OpSpec) -> bool {
    let content = |op: &OpSpec| match &op.kind {
        OpKind::Enqueue {
            key: Some(key),
            route,
            padding,
            behaviour,
            ..
        } => Some((
            op.bridge.clone(),
            key.clone(),
            route.clone(),
            *padding,
            behaviour.clone(),
        )),
        _ => None,
    };
    if op.id == other.id {
        return true;
    }
    let same_key = match (&op.kind, &other.kind) {
        (OpKind::Enqueue { key: Some(a), .. }, OpKind::Enqueue { key: Some(b), .. }) => a == b,
        _ => false,
    };
    same_key && content(op) == content(other)
}

/// What a key stands for: a hash of route and body.
pub(super) fn print(route: &str, body: &[u8]) -> u64 {
    // FNV-1a: the same in every process and version.
    let bytes = route.bytes().chain([0]).chain(body.iter().copied());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Micros, Step};

    #[test]
    fn a_body_comes_back_whatever_its_padding() {
        let body = Body {
            op: OpId(7),
            steps: Behaviour(vec![Step::Reject(Micros(3)), Step::Panic]),
        };
        for padding in [0, 1, 1_000] {
            assert_eq!(Body::decode(&body.encode(padding)), Some(body.clone()));
        }
        assert_eq!(Body::decode(b"17"), None);
        assert_ne!(print("a", b"b"), print("ab", b""));
    }
}
