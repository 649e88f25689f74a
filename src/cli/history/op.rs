//! What commands are called in a history: both sides of the wire come to the same from what both know.

use std::hash::Hasher;

use leasebridge::history::OpId;
use siphasher::sip::SipHasher13;

/// The number of a command's operation. Producer and endpoint come to the same from what both know, so that
/// nothing has to travel with the command: a hash of its key, or of its body if it has none. Thirty-two
/// bits are what the form has; two of ten thousand commands share one with a probability of a hundredth.
pub(super) fn op_of(key: &str, body: &[u8]) -> OpId {
    let hash = match key {
        "" => hash(&[body]),
        key => hash(&[key.as_bytes()]),
    };
    OpId(u32::try_from(hash >> 32).expect("half of 64 bits"))
}

/// What a key stands for.
pub(super) fn print_of(route: &str, body: &[u8]) -> u64 {
    hash(&[route.as_bytes(), body])
}

/// With fixed keys: the same in every process.
fn hash(parts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher13::new();
    for part in parts {
        hasher.write_usize(part.len());
        hasher.write(part);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_told_apart_by_their_keys_and_prints_by_route_and_body() {
        assert_eq!(op_of("k", b"1"), op_of("k", b"2"));
        assert_ne!(op_of("k", b"1"), op_of("l", b"1"));
        assert_ne!(op_of("", b"1"), op_of("", b"2"));
        assert_ne!(print_of("ab", b"c"), print_of("a", b"bc"));
    }
}
