//! What an executed command gave back, as far as a bridge keeps it on the way to the settlement.

use std::fmt;
use std::hash::Hasher;

use bytes::Bytes;
use siphasher::sip128::{Hasher128, SipHasher24};

/// The largest result that is kept whole, in bytes: what somebody who waits for an answer wants to read at
/// once, and with a full window of 1024 commands 64 MiB at most.
pub const RESULT_BYTES_MAX: usize = 64 << 10;

/// The result of a command that was executed.
///
/// An endpoint leaves a result out that doesn't fit a frame (see `docs/protocol.md`): then it is empty.
#[derive(Clone, PartialEq, Eq)]
pub enum TaskResult {
    /// All of it.
    Whole(Bytes),
    /// It was larger than [`RESULT_BYTES_MAX`]: only what tells whether a copy from elsewhere is the same.
    Digest {
        /// How many bytes it had.
        bytes: usize,
        /// Their SipHash-2-4 of 128 bits under a key of zeros. It proves nothing against somebody who forges.
        hash: [u8; 16],
    },
}

impl TaskResult {
    /// Keeps what may be kept of `result`.
    pub(super) fn keep(result: Bytes) -> Self {
        match result.len() {
            // Not a slice of the buffer it arrived in.
            0 => Self::Whole(Bytes::new()),
            1..=RESULT_BYTES_MAX => Self::Whole(result),
            bytes => Self::Digest {
                bytes,
                hash: digest(&result),
            },
        }
    }

    /// A copy that holds no more memory than it needs: what is kept whole is a slice of the buffer it arrived in.
    pub(super) fn detached(&self) -> Self {
        match self {
            Self::Whole(result) => Self::Whole(Bytes::copy_from_slice(result)),
            digest => digest.clone(),
        }
    }
}

fn digest(result: &[u8]) -> [u8; 16] {
    let mut hasher = SipHasher24::new();
    hasher.write(result);
    hasher.finish128().as_bytes()
}

/// Without the bytes, which are the business of others than a log's readers.
impl fmt::Debug for TaskResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(result) => write!(f, "Whole({} bytes)", result.len()),
            Self::Digest { bytes, hash } => {
                let hash = u128::from_be_bytes(*hash);
                write!(f, "Digest({bytes} bytes, {hash:032x})")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_kept_whole_up_to_the_limit_and_as_a_digest_beyond() {
        for bytes in [0, 1, RESULT_BYTES_MAX] {
            let result = Bytes::from(vec![7; bytes]);
            assert_eq!(TaskResult::keep(result.clone()), TaskResult::Whole(result));
        }
        let bytes = RESULT_BYTES_MAX + 1;
        let kept = |byte| TaskResult::keep(vec![byte; bytes].into());
        assert!(matches!(kept(7), TaskResult::Digest { bytes: told, .. } if told == bytes));
        assert_eq!(kept(7), kept(7));
        assert_ne!(kept(7), kept(8));
    }

    /// As the reference implementation writes it; for whoever computes a digest elsewhere.
    #[test]
    fn the_digest_is_what_its_description_says() {
        for (result, hash) in [
            (&b""[..], "5049d74780a3e07d4202ab47d4cef2f4"),
            (b"lit", "073f334952a4922ce06d0f9c37ed196f"),
        ] {
            let digest = u128::from_be_bytes(digest(result));
            assert_eq!(format!("{digest:032x}"), hash);
        }
    }
}
