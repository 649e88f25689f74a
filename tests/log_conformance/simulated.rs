//! Files on the simulated disk: a death is a power cut, with what its cache makes of it.

use std::path::Path;
use std::sync::{Arc, Mutex};

use leasebridge::queue::log::LogStore;
use leasebridge::queue::log::files::FolderStore;
use leasebridge_sim::disk::{Drivers, Fault, FaultRule, OpNumber, SimDisk};
use leasebridge_sim::seed::Seed;

use super::fixture::{Life, LogFixture};

const DIR: &str = "/queue";

/// The first way to die leaves the page cache alone, the others cut the power.
const WAYS: u64 = 4;

pub(crate) struct SimFixture(Mutex<Machine>);

struct Machine {
    disk: SimDisk,
    drivers: Drivers,
}

impl SimFixture {
    pub(crate) fn new() -> Self {
        let drivers = Drivers::new();
        let disk = SimDisk::new(Seed(5), drivers.clone());
        Self(Mutex::new(Machine { disk, drivers }))
    }

    fn disk(&self) -> SimDisk {
        self.0.lock().unwrap().disk.clone()
    }
}

impl LogFixture for SimFixture {
    fn store(&self) -> Arc<dyn LogStore> {
        Arc::new(FolderStore::new(Arc::new(self.disk()), DIR))
    }

    fn die_at(&self, operation: u64, _way: u64) {
        let disk = self.disk();
        disk.crash_at(OpNumber(disk.last_op().0 + operation));
    }

    fn live(&self, life: Life<'_>) -> bool {
        let drivers = self.0.lock().unwrap().drivers.clone();
        drivers.block_on(life).is_some()
    }

    fn bury(&self, way: u64) {
        let mut machine = self.0.lock().unwrap();
        let drivers = Drivers::new();
        let disk = machine.disk.fork(drivers.clone());
        match way {
            0 => disk.restart_process(),
            way => disk.power_cut(Seed(way)),
        }
        *machine = Machine { disk, drivers };
    }

    fn ways(&self) -> u64 {
        WAYS
    }

    fn stride(&self) -> u64 {
        1
    }

    fn break_append(&self, arrived: bool) {
        let fault = match arrived {
            true => Fault::SyncError,
            false => Fault::WriteError,
        };
        self.disk().add_fault(FaultRule::new(fault).times(1));
    }

    fn rot(&self) {
        let path = Path::new(DIR).join("000002.seg");
        self.disk().flip_bit(&path, 9000, 3).unwrap();
    }

    fn lose_oldest(&self) {
        let path = Path::new(DIR).join("000001.seg");
        self.disk().lose_entry(&path).unwrap();
    }
}
