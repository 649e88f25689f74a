//! What the overriding functions answer from: atomics alone, so that they can be asked at any moment, also while
//! a thread ends.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Says how many nanoseconds of simulated time have passed.
pub type Source = fn() -> u64;

/// What a monotonic clock shows at the start: far from zero, so that subtracting a few minutes stays possible.
const MONOTONIC_START_NS: u64 = 1_000_000_000_000_000;
/// What a clock of the day shows at the start: 2026-01-01T00:00:00Z, as the simulated hosts' do.
const WALL_START_NS: u64 = 1_767_225_600_000_000_000;
/// The odd constant of SplitMix64, whose output function follows it.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

static SOURCE: OnceLock<Source> = OnceLock::new();
static RANDOM: AtomicU64 = AtomicU64::new(0);

/// From now on this process sees the time of `source` and random bytes drawn from `seed`. There is no way back.
pub fn activate(seed: u64, source: Source) {
    reseed(seed);
    SOURCE.get_or_init(|| source);
}

/// Starts the random bytes again, from `seed`.
pub fn reseed(seed: u64) {
    RANDOM.store(seed, Ordering::Relaxed);
}

/// Whether [`activate`] was called.
pub fn is_active() -> bool {
    SOURCE.get().is_some()
}

/// The simulated monotonic clock, in nanoseconds; `None` while the system's is to be used.
#[cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "only Linux has the overrides")
)]
pub(crate) fn monotonic_ns() -> Option<u64> {
    SOURCE.get().map(|source| MONOTONIC_START_NS + source())
}

/// The simulated clock of the day, in nanoseconds since 1970; `None` while the system's is to be used.
#[cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "only Linux has the overrides")
)]
pub(crate) fn wall_ns() -> Option<u64> {
    SOURCE.get().map(|source| WALL_START_NS + source())
}

/// Fills `bytes`; `false` while the system's randomness is to be used.
#[cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "only Linux has the overrides")
)]
pub(crate) fn fill(bytes: &mut [u8]) -> bool {
    if !is_active() {
        return false;
    }
    for chunk in bytes.chunks_mut(8) {
        let mut word = RANDOM
            .fetch_add(GOLDEN, Ordering::Relaxed)
            .wrapping_add(GOLDEN);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
    }
    true
}
