//! Choices that a seed repeats.

use std::time::Duration;

/// The variable that gives all choices another seed.
const SEED_VARIABLE: &str = "LEASEBRIDGE_E2E_SEED";

/// A small generator (SplitMix64): the same seed makes the same choices.
pub(crate) struct Chance(u64);

impl Chance {
    /// The generator of the test called `name`. Says its seed, which is shown when the test fails.
    pub(crate) fn of(name: &str) -> Self {
        let seed = std::env::var(SEED_VARIABLE)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
            .unwrap_or(0);
        println!("{name}: {SEED_VARIABLE}={seed}");
        let named = name.bytes().fold(seed, |sum: u64, byte| {
            sum.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte)
        });
        Self(named)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    /// Lets time pass, so that what comes next hits the others wherever they are.
    pub(crate) fn pause(&mut self, at_most: Duration) {
        let micros = u64::try_from(at_most.as_micros()).expect("a short time");
        std::thread::sleep(Duration::from_micros(self.below(micros)));
    }

    /// Some bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }
}
