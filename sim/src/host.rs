//! One simulated machine: its clock and disk, which outlive its processes, and an `Env` for each
//! process that boots on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use leasebridge::env::{Env, Wall};

use crate::clock::{SimClock, TimeSource};
use crate::disk::{SimDisk, TokioSpawner};
use crate::entropy::SimEntropy;
use crate::points::SimPoints;
use crate::seed::Seed;
use crate::transport::SimTransport;

/// Where simulated wall clocks start: 2026-01-01T00:00:00Z.
pub const WALL_START: Wall = Wall::from_unix_ms(1_767_225_600_000);

/// A machine inside a turmoil simulation.
#[derive(Debug)]
pub struct SimHost {
    seed: Seed,
    clock: SimClock,
    disk: SimDisk,
    points: Arc<SimPoints>,
    boots: AtomicU64,
}

impl SimHost {
    /// The machine called `name` in the run of `run_seed`: the same two always give the same
    /// machine, whatever other machines there are.
    pub fn new(name: &str, run_seed: Seed) -> Self {
        let seed = run_seed.child(&format!("host {name}"));
        let clock = SimClock::new(TimeSource::Turmoil, WALL_START);
        let disk =
            SimDisk::new(seed.child("disk"), TokioSpawner).with_clock(Arc::new(clock.clone()));
        Self {
            seed,
            clock,
            disk,
            points: Arc::new(SimPoints::new(seed.child("points"))),
            boots: AtomicU64::new(0),
        }
    }

    /// Its clock: for drift and jumps.
    pub fn clock(&self) -> &SimClock {
        &self.clock
    }

    /// Its disk: for faults and crashes.
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// Its points: for unlikely turns of whatever process runs there.
    pub fn points(&self) -> &SimPoints {
        &self.points
    }

    /// The world for one process. Each process draws from an entropy stream of its own, so that
    /// what the next one draws doesn't depend on the instant at which this one dies.
    pub fn boot(&self) -> Env {
        let boot = self.boots.fetch_add(1, Ordering::Relaxed);
        Env {
            clock: Arc::new(self.clock.clone()),
            transport: Arc::new(SimTransport),
            disk: Arc::new(self.disk.clone()),
            entropy: Arc::new(SimEntropy::new(
                self.seed,
                &format!("entropy of boot {boot}"),
            )),
            points: self.points.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_and_boot_has_entropy_of_its_own() {
        let draw = |name: &str, seed: u64, boots: usize| {
            let host = SimHost::new(name, Seed(seed));
            let last = (0..boots).map(|_| host.boot()).last();
            last.map(|env| env.entropy.next_u64())
        };
        assert_eq!(draw("a", 1, 1), draw("a", 1, 1));
        assert_ne!(draw("a", 1, 1), draw("a", 1, 2));
        assert_ne!(draw("a", 1, 1), draw("b", 1, 1));
        assert_ne!(draw("a", 1, 1), draw("a", 2, 1));
    }
}
