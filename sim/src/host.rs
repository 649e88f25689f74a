//! One simulated machine: its clock and disk, which outlive its processes, and an `Env` for each
//! process that boots on it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leasebridge::env::{Env, Wall};

use crate::clock::{DriftPpm, SimClock, TimeSource};
use crate::disk::{SimDisk, TokioSpawner};
use crate::entropy::SimEntropy;
use crate::gate::HostGate;
use crate::net::{Network, Power, SimTransport};
use crate::plan::{FaultId, FaultKind, FaultSpec, HostName};
use crate::points::SimPoints;
use crate::seed::Seed;

/// Where simulated wall clocks start: 2026-01-01T00:00:00Z.
pub const WALL_START: Wall = Wall::from_unix_ms(1_767_225_600_000);

/// A machine inside a turmoil simulation.
#[derive(Debug)]
pub struct SimHost {
    name: HostName,
    seed: Seed,
    network: Network,
    gate: HostGate,
    clock: SimClock,
    disk: SimDisk,
    points: Arc<SimPoints>,
    boots: AtomicU64,
    faults: Mutex<BTreeMap<FaultId, FaultKind>>,
}

impl SimHost {
    /// The machine called `name` in the run of `run_seed`: the same two always give the same
    /// machine, whatever other machines there are.
    pub fn new(name: &str, run_seed: Seed, network: &Network) -> Self {
        let seed = run_seed.child(&format!("host {name}"));
        let gate = HostGate::new();
        let clock = SimClock::new(TimeSource::Turmoil, WALL_START).with_gate(gate.clone());
        let disk = SimDisk::new(seed.child("disk"), TokioSpawner)
            .with_clock(Arc::new(clock.clone()))
            .with_gate(gate.clone());
        let name = HostName::from(name);
        network.join(&name, &gate);
        Self {
            name,
            seed,
            network: network.clone(),
            gate,
            clock,
            disk,
            points: Arc::new(SimPoints::new(seed.child("points"))),
            boots: AtomicU64::new(0),
            faults: Mutex::default(),
        }
    }

    /// Its name in the simulation.
    pub fn name(&self) -> &HostName {
        &self.name
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
        let transport =
            SimTransport::new(self.name.clone(), self.network.clone(), self.gate.clone());
        Env {
            clock: Arc::new(self.clock.clone()),
            transport: Arc::new(transport),
            disk: Arc::new(self.disk.clone()),
            entropy: Arc::new(SimEntropy::new(
                self.seed,
                &format!("entropy of boot {boot}"),
            )),
            points: self.points.clone(),
        }
    }

    /// Begins a pause, slowness, drift or jump of this host; says whether it was one. Other faults are left
    /// alone.
    pub fn begin(&self, fault: &FaultSpec) -> bool {
        match &fault.kind {
            FaultKind::Pause { host } if *host == self.name => self.gate.pause(fault.id),
            FaultKind::Slow { host, delay } if *host == self.name => {
                self.gate.slow(fault.id, delay.as_duration());
            }
            FaultKind::Drift { host, .. } if *host == self.name => {}
            FaultKind::Jump { host, ms } if *host == self.name => self.clock.jump_wall_ms(*ms),
            _ => return false,
        }
        self.faults().insert(fault.id, fault.kind.clone());
        self.adjust_drift();
        true
    }

    /// Ends a fault of this host; says whether it was on here. A wall clock that was set stays so.
    pub fn end(&self, fault: FaultId) -> bool {
        if self.faults().remove(&fault).is_none() {
            return false;
        }
        self.gate.resume(fault);
        self.gate.hurry(fault);
        self.network.gate_changed();
        self.adjust_drift();
        true
    }

    /// The clock drifts by the sum of the drifts that are on.
    fn adjust_drift(&self) {
        let drifts = self.faults();
        let drifts = drifts.values().map(|fault| match fault {
            FaultKind::Drift { ppm, .. } => *ppm,
            _ => 0,
        });
        self.clock
            .set_drift(DriftPpm(drifts.fold(0, i32::saturating_add)));
    }

    /// From now on the next disk write, sync or socket write of the host stops it in the middle:
    /// [`SimHost::is_struck`] then says so, and a crash or power cut is due at once. Until then the write's
    /// caller is told nothing, and nothing else happens on the host.
    pub fn strike_when_busy(&self) {
        self.gate.set_trap();
    }

    /// Whether the host has been stopped as [`SimHost::strike_when_busy`] asked.
    pub fn is_struck(&self) -> bool {
        self.gate.is_trapped()
    }

    /// The process dies, its machine goes on: peers are told that connections are closed, connects are refused,
    /// and the disk keeps what was written.
    pub fn crash(&self, sim: &mut turmoil::Sim<'_>) {
        self.disk.kill();
        self.network.set_power(sim, &self.name, Power::Crashed);
        sim.crash(&*self.name.0);
        self.disk.restart_process();
        self.gate.forget_process();
    }

    /// The machine loses power: nobody is told, and `seed` draws what is left of what its disk hadn't synced.
    pub fn power_cut(&self, sim: &mut turmoil::Sim<'_>, seed: Seed) {
        self.network.set_power(sim, &self.name, Power::Dark);
        sim.crash(&*self.name.0);
        self.disk.power_cut(seed);
        self.gate.forget_process();
    }

    /// Starts the host again after its death, or in place of a process that has ended.
    pub fn start(&self, sim: &mut turmoil::Sim<'_>) {
        self.network.set_power(sim, &self.name, Power::Up);
        sim.bounce(&*self.name.0);
    }

    fn faults(&self) -> MutexGuard<'_, BTreeMap<FaultId, FaultKind>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Micros;

    #[test]
    fn every_host_and_boot_has_entropy_of_its_own() {
        let draw = |name: &str, seed: u64, boots: usize| {
            let network = Network::new(Seed(seed), [Micros(1), Micros(1)]);
            let host = SimHost::new(name, Seed(seed), &network);
            let last = (0..boots).map(|_| host.boot()).last();
            last.map(|env| env.entropy.next_u64())
        };
        assert_eq!(draw("a", 1, 1), draw("a", 1, 1));
        assert_ne!(draw("a", 1, 1), draw("a", 1, 2));
        assert_ne!(draw("a", 1, 1), draw("b", 1, 1));
        assert_ne!(draw("a", 1, 1), draw("a", 2, 1));
    }
}
