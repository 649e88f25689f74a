//! Seeds and the independent random streams drawn from them.
//!
//! Every free choice of a run comes from one seed through a labelled stream, so that switching one
//! consumer off (a fault, a host) leaves the draws of all others alone.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// The root of all randomness of a run, or of one part of it. Written as a decimal number; as text in files,
/// whose numbers need not reach as far.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(into = "String", try_from = "String")]
pub struct Seed(pub u64);

/// Text that is no seed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no seed: write a number below 2^64, or a commit hash")]
pub struct NotASeed(String);

impl std::str::FromStr for Seed {
    type Err = NotASeed;

    /// A number, or else a hash of at least seven hexadecimal digits, of which the first sixteen count.
    fn from_str(text: &str) -> Result<Self, NotASeed> {
        if let Ok(number) = text.parse() {
            return Ok(Self(number));
        }
        let digits = text.get(..text.len().min(16)).unwrap_or_default();
        let is_hash = text.len() >= 7 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let hash = is_hash
            .then(|| u64::from_str_radix(digits, 16).ok())
            .flatten();
        hash.map(Self).ok_or_else(|| NotASeed(text.to_owned()))
    }
}

impl std::fmt::Display for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl From<Seed> for String {
    fn from(seed: Seed) -> Self {
        seed.to_string()
    }
}

impl TryFrom<String> for Seed {
    type Error = NotASeed;

    fn try_from(text: String) -> Result<Self, NotASeed> {
        text.parse()
    }
}

impl Seed {
    /// The seed of the part called `label`.
    pub fn child(self, label: &str) -> Seed {
        Seed(self.draws(label).next_u64())
    }

    /// The stream called `label`. The same seed and label always give the same stream.
    pub fn draws(self, label: &str) -> Draws {
        let mut key = [0_u8; 32];
        key[..8].copy_from_slice(&self.0.to_le_bytes());
        key[8..16].copy_from_slice(&fnv1a(FNV_BASIS, label).to_le_bytes());
        // A second hash from another start makes equal keys for different labels implausible.
        key[16..24].copy_from_slice(&fnv1a(!FNV_BASIS, label).to_le_bytes());
        key[24..].copy_from_slice(&(label.len() as u64).to_le_bytes());
        Draws(ChaCha8Rng::from_seed(key))
    }
}

/// Offset basis and prime of the 64-bit FNV-1a hash: fixed for ever, because seeds in reports depend
/// on them.
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

fn fnv1a(basis: u64, text: &str) -> u64 {
    text.bytes().fold(basis, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME)
    })
}

/// A stream of draws.
#[derive(Clone, Debug)]
pub struct Draws(ChaCha8Rng);

impl Draws {
    /// 64 uniformly distributed bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`; zero if `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("a product of two u64 shifted by 64 fits")
    }

    /// An index below `len`; zero if `len` is zero.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("a number below a usize is a usize")
    }

    /// True once in `n` draws on average; always if `n` is at most 1.
    pub fn one_in(&mut self, n: u32) -> bool {
        self.below(u64::from(n)) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_depends_on_its_seed_and_its_label_only() {
        let first = |seed: u64, label: &str| Seed(seed).draws(label).next_u64();
        assert_eq!(first(1, "disk"), first(1, "disk"));
        assert_ne!(first(1, "disk"), first(2, "disk"));
        assert_ne!(first(1, "disk"), first(1, "clock"));
        assert_ne!(Seed(1).child("a"), Seed(1).child("b"));
    }

    #[test]
    fn seeds_are_numbers_or_commit_hashes() {
        assert_eq!("42".parse(), Ok(Seed(42)));
        assert_eq!("e03a3409".parse(), Ok(Seed(0xe03a_3409)));
        let long = "e03a340993cd9e19f935a413d905fbdea5a02db7".parse();
        assert_eq!(long, Ok(Seed(0xe03a_3409_93cd_9e19)));
        for text in ["", "abc", "-1", "seed", "18446744073709551616x"] {
            assert!(text.parse::<Seed>().is_err(), "{text}");
        }
    }

    #[test]
    fn draws_stay_below_their_bound_and_reach_all_of_it() {
        let mut draws = Seed(7).draws("bounds");
        let mut seen = [false; 5];
        for _ in 0..200 {
            seen[draws.index(5)] = true;
        }
        assert_eq!(seen, [true; 5]);
        assert_eq!(draws.below(0), 0);
        assert!(draws.one_in(1));
    }
}
