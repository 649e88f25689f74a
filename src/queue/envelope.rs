//! What stands in the log for one command: its key's text and its value's bytes.
//!
//! `key length (2 bytes, little-endian) | key | value`. The text of the key is only for people; the
//! dedupe window works on its hash.

use std::hash::Hasher;

use bytes::{Buf, Bytes};
use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher13 as SipHasher13x128};

use super::options::KEY_BYTES_MAX;
use super::payload::Payload;
use crate::core::ids::{Fingerprint, KeyHash};

/// Bytes an envelope adds to a value: the longest key and its length.
pub(crate) const ENVELOPE_BYTES_MAX: u32 = 256 + 2;

const KEY_LEN_BYTES: usize = 2;

const _: () = assert!(ENVELOPE_BYTES_MAX as usize == KEY_BYTES_MAX + KEY_LEN_BYTES);

/// Appends a sealed value to `out`.
pub(crate) fn seal_into<T: Payload>(out: &mut Vec<u8>, key: Option<&str>, value: &T) {
    let key = key.unwrap_or_default().as_bytes();
    let len = u16::try_from(key.len()).expect("keys are checked before");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(key);
    value.encode_to(out);
}

/// How many bytes [`seal_into`] will append, about.
pub(crate) fn size_hint<T: Payload>(key: Option<&str>, value: &T) -> usize {
    KEY_LEN_BYTES + key.map_or(0, str::len) + value.size_hint()
}

pub(crate) fn seal<T: Payload>(key: Option<&str>, value: &T) -> Vec<u8> {
    let mut record = Vec::with_capacity(size_hint(key, value));
    seal_into(&mut record, key, value);
    record
}

/// Takes an envelope apart; `None` if it is none.
pub(crate) fn open(mut record: Bytes) -> Option<(Option<String>, Bytes)> {
    let len = usize::from(record.try_get_u16_le().ok()?);
    let key = match len {
        0 => None,
        len => Some(String::from_utf8(record.get(..len)?.to_vec()).ok()?),
    };
    record.advance(len);
    Some((key, record))
}

/// The value's bytes within a sealed record.
pub(crate) fn value_of<'a>(record: &'a [u8], key: Option<&str>) -> &'a [u8] {
    &record[KEY_LEN_BYTES + key.map_or(0, str::len)..]
}

/// A key's hash under the queue's salt (SipHash-1-3, Aumasson and Bernstein): nobody who doesn't know the salt
/// can make two keys collide. A key's scope is its route: the same key on another one is another key.
pub(crate) fn hash_key(salt: u128, route: &str, key: &str) -> KeyHash {
    let mut hasher = SipHasher13x128::new_with_key(&salt.to_le_bytes());
    // No text has this byte: what a key without a route is hashed from never begins like this.
    hasher.write_u8(0xff);
    hasher.write(&(route.len() as u64).to_le_bytes());
    hasher.write(route.as_bytes());
    hasher.write(key.as_bytes());
    KeyHash(hasher.finish128().as_u128())
}

/// The same as older programs made it, for whom a key was one over all routes.
pub(crate) fn hash_key_of_any_route(salt: u128, key: &str) -> KeyHash {
    let mut hasher = SipHasher13x128::new_with_key(&salt.to_le_bytes());
    hasher.write(key.as_bytes());
    KeyHash(hasher.finish128().as_u128())
}

/// What a key stands for: its route and its value's identity.
pub(crate) fn fingerprint(salt: u128, route: &str, identity: &[u8]) -> Fingerprint {
    let mut hasher = SipHasher13::new_with_key(&salt.to_le_bytes());
    hasher.write(&(route.len() as u64).to_le_bytes());
    hasher.write(route.as_bytes());
    hasher.write(identity);
    Fingerprint(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_again() {
        for key in [None, Some("k"), Some("schlüssel")] {
            let record = seal(key, &"value".to_owned());
            let (found, value) = open(record.clone().into()).unwrap();
            assert_eq!(found.as_deref(), key);
            assert_eq!(value, value_of(&record, key));
            assert_eq!(String::decode_from(value).unwrap(), "value");
        }
        assert_eq!(open(Bytes::from_static(b"\x05")), None);
        assert_eq!(open(Bytes::from_static(b"\x05\x00abc")), None);
    }

    #[test]
    fn a_fingerprint_tells_route_and_body_apart() {
        let same = fingerprint(1, "a", b"bc");
        assert_eq!(same, fingerprint(1, "a", b"bc"));
        assert_ne!(same, fingerprint(1, "ab", b"c"));
        assert_ne!(same, fingerprint(1, "a", b"bd"));
        assert_ne!(hash_key(1, "a", "k"), hash_key(2, "a", "k"));
        assert_ne!(hash_key(1, "a", "bk"), hash_key(1, "ab", "k"));
        assert_ne!(hash_key(1, "", "k"), hash_key_of_any_route(1, "k"));
    }
}
