//! Processor time, in a unit that machines can be compared by.
//!
//! The unit is the simulator's calibration loop (`leasebridge-sim bench`), step for step: ordered maps and hashing,
//! as in the product, and always the same.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use siphasher::sip::SipHasher13;

use super::BenchError;

/// Steps of the loop. Fixed for ever: figures in old reports depend on it.
const STEPS: u64 = 400_000;
/// Entries the map holds at most.
const ENTRIES: u64 = 4_096;
/// What the loop comes to.
const COMES_TO: u64 = 0x058a_a2ab_a8a9_450c;
/// The median of so many loops counts.
const ROUNDS: usize = 5;

/// Runs from its start: by the clock on the wall, and by the processor time of the whole process.
pub(super) struct Stopwatch {
    wall: Instant,
    processor: Duration,
}

/// What one cycle of a measured run took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Took {
    /// Cycles in a second.
    pub(super) rate: f64,
    /// Seconds of processor time, of all threads, in a cycle.
    pub(super) processor: f64,
}

impl Stopwatch {
    pub(super) fn start() -> Self {
        Self {
            wall: Instant::now(),
            processor: processor_time(),
        }
    }

    pub(super) fn took(&self, cycles: usize) -> Took {
        let wall = self.wall.elapsed();
        let processor = processor_time().saturating_sub(self.processor);
        Took {
            rate: cycles as f64 / wall.as_secs_f64(),
            processor: processor.as_secs_f64() / cycles as f64,
        }
    }
}

/// Seconds of processor time that the loop takes here and now.
///
/// # Errors
/// [`BenchError::Miscounted`] when the loop did not do what it does.
pub(super) fn loop_seconds() -> Result<f64, BenchError> {
    let mut rounds = [0.0; ROUNDS];
    for round in &mut rounds {
        let before = processor_time();
        let came_to = once();
        if came_to != COMES_TO {
            return Err(BenchError::Miscounted(came_to));
        }
        *round = processor_time().saturating_sub(before).as_secs_f64();
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

/// Processor time that this process has used, of all its threads.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    // It began at zero: neither part is ever negative.
    Duration::new(
        time.tv_sec.cast_unsigned(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same number stands in the simulator's loop: both measure in one unit.
    #[test]
    fn the_loop_is_what_it_was() {
        assert_eq!(once(), COMES_TO);
    }
}
