//! The loop that everything is compared with: ordered maps and hashing, as in the product, and always the same.

use std::collections::BTreeMap;
use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::child::processor_time;
use crate::failure::CommandFailure;

/// Steps of the loop. Fixed for ever: ratios in old reports depend on it.
const STEPS: u64 = 400_000;
/// Entries the map holds at most.
const ENTRIES: u64 = 4_096;
/// The median of so many loops counts.
const ROUNDS: usize = 5;

/// Seconds of processor time that the loop takes here and now.
///
/// # Errors
/// When the loop did not do what it does.
pub(super) fn seconds() -> Result<f64, CommandFailure> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let before = processor_time();
        if once() == 0 {
            return Err(CommandFailure::because(
                "the calibration loop came to nothing",
            ));
        }
        rounds.push((processor_time() - before).as_secs_f64());
    }
    rounds.sort_unstable_by(f64::total_cmp);
    Ok(rounds[ROUNDS / 2])
}

fn once() -> u64 {
    let mut map: BTreeMap<u64, [u64; 4]> = BTreeMap::new();
    let mut word = 0x9e37_79b9_7f4a_7c15_u64;
    for step in 0..STEPS {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        map.insert(word % (2 * ENTRIES), [step; 4]);
        if map.len() as u64 > ENTRIES {
            map.pop_first();
        }
    }
    let mut hasher = SipHasher13::new();
    for (key, value) in &map {
        hasher.write_u64(*key ^ value[0]);
    }
    hasher.finish()
}
