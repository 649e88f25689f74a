//! The keys of lines that name none.
//!
//! Each run has keys of its own: a line that is sent twice within the run is in the queue once, and the same line of
//! another run is another command.
//!
//! A run that resumes has keys that depend on nothing but the input. The key of a line is a hash of the input's name, the line's route, and every byte of the input up to
//! and including the line; its number stands behind it for people. The same input gives the same keys
//! today and in the next version, so sending it again doubles nothing, and equal lines at different
//! places differ. Changing anything here breaks that promise for whoever upgrades between a crash and
//! the repetition.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

/// Bytes of the longest key the bridge takes.
pub(crate) const KEY_BYTES_MAX: usize = 256;

/// Where keys come from.
pub(crate) enum LineKeys {
    /// From a number that no other run has.
    OfRun(u128),
    /// From the input.
    OfInput(KeyChain),
}

impl LineKeys {
    /// Takes in the next line. Every line counts, also one that is empty or refused.
    pub(crate) fn advance(&mut self, line: &[u8]) {
        if let Self::OfInput(chain) = self {
            chain.advance(line);
        }
    }

    /// The key of line `number`, the one that was taken in last.
    pub(crate) fn key(&self, number: u64, route: &str) -> String {
        match self {
            Self::OfRun(run) => format!("run-{run:032x}-{number}"),
            Self::OfInput(chain) => chain.key(number, route),
        }
    }
}

/// The running hash of an input.
///
/// `SipHash` with a fixed key: collisions at 128 bits are out of reach by chance, and whoever makes them on
/// purpose only drops lines of their own input.
#[derive(Clone)]
pub(crate) struct KeyChain {
    so_far: SipHasher13,
}

impl KeyChain {
    /// The chain of the input called `source`.
    pub(crate) fn new(source: &str) -> Self {
        let mut so_far = SipHasher13::new_with_keys(0x6c65_6173_6562_7269, 0x6467_6520_6b65_7973);
        absorb(&mut so_far, source.as_bytes());
        Self { so_far }
    }

    /// Takes in the next line. Every line counts, also one that is empty or refused.
    pub(crate) fn advance(&mut self, line: &[u8]) {
        absorb(&mut self.so_far, line);
    }

    /// The key of the line that was taken in last.
    pub(crate) fn key(&self, number: u64, route: &str) -> String {
        let mut hasher = self.so_far;
        absorb(&mut hasher, route.as_bytes());
        format!("lb1-{:032x}-{number}", hasher.finish128().as_u128())
    }
}

/// Takes in `bytes` behind their length, so that no two sequences of parts look alike.
fn absorb(hasher: &mut SipHasher13, bytes: &[u8]) {
    hasher.write_u64((bytes.len() as u64).to_le());
    hasher.write(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(source: &str, route: &str, lines: &[&str]) -> Vec<String> {
        let mut chain = KeyChain::new(source);
        (1..)
            .zip(lines)
            .map(|(number, line)| {
                chain.advance(line.as_bytes());
                chain.key(number, route)
            })
            .collect()
    }

    #[test]
    fn lines_of_two_runs_have_nothing_in_common() {
        let key = |run, number| LineKeys::OfRun(run).key(number, "default");
        assert_eq!(key(7, 3), "run-00000000000000000000000000000007-3");
        assert_ne!(key(7, 3), key(7, 4));
        assert_ne!(key(7, 3), key(8, 3));
        assert!(key(u128::MAX, u64::MAX).len() <= KEY_BYTES_MAX);
    }

    #[test]
    fn keys_never_change_between_versions() {
        assert_eq!(
            keys("stdin", "default", &["1", "2"]),
            [
                "lb1-adea9a4a11dd199f26bceeee4682b509-1",
                "lb1-b47f33245a9f920c23a57ba74296db8c-2"
            ]
        );
    }

    #[test]
    fn the_same_input_has_the_same_keys_and_any_difference_changes_them() {
        let first = keys("a", "r", &["x", "x", "y"]);
        assert_eq!(first, keys("a", "r", &["x", "x", "y"]));
        assert_ne!(first[0], first[1], "equal lines at different places");
        assert_ne!(first[0], keys("b", "r", &["x"])[0], "another input");
        assert_ne!(first[0], keys("a", "s", &["x"])[0], "another route");
        let changed = keys("a", "r", &["z", "x", "y"]);
        assert_ne!(first[2], changed[2], "another line before it");
        assert_ne!(
            keys("a", "r", &["xy", "z"])[1],
            keys("a", "r", &["x", "yz"])[1],
            "the same bytes cut elsewhere"
        );
    }
}
