//! A deterministic disk in memory, with the failures of a real one.
//!
//! # Model
//!
//! A file has durable bytes and pending changes. Reads see all changes at once; [`DiskFile::sync`]
//! makes durable the changes whose calls had returned when it began. Names (create, rename, remove)
//! are durable after [`Disk::sync_dir`]; a new file's content may be durable while its name is not.
//! Directories are durable as soon as they are made.
//!
//! When the power fails ([`SimDisk::power_cut`]), each pending change is kept,
//! dropped or torn by sectors of [`SECTOR_BYTES`] or at a byte, the size may have grown ahead of the
//! data, and the oldest few pending changes of names are kept while the rest is undone. When only
//! the process dies ([`SimDisk::kill`], then [`SimDisk::restart_process`]), the cache survives.
//! Either way locks are released, and whatever an older process opened is dead: its operations hang
//! or fail, as [`AfterDeath`] says. The disk doesn't know which process a call of [`Disk`] comes from
//! (only files and locks do), so stop the old process's tasks before the restart.
//!
//! # What must survive what
//!
//! A power cut at any operation, a slow operation, a full disk and EIO from a read are survived by a
//! journal without loss. A failed write or sync ends the journal's life; what was acknowledged
//! before is still there after a restart. A lying sync, a bit flip, a misdirected write and a lost
//! entry break what the disk promised: nothing may be skipped silently, but loss is possible, and a
//! scenario that injects them says which guarantees it lifts.
//!
//! # Determinism
//!
//! All choices come from the [`Seed`]s given: a disk's for the faults, each restart's for what the
//! power cut left. The same calls in the same order leave the same bytes.
//!
//! # Example
//!
//! A sweep over all crash points of a piece of work, a few outcomes each, without any runtime:
//!
//! ```
//! use std::path::Path;
//!
//! use leasebridge::env::Disk;
//! use leasebridge_sim::disk::{Drivers, OpNumber, SimDisk};
//! use leasebridge_sim::seed::Seed;
//!
//! async fn work(disk: &SimDisk) -> std::io::Result<()> {
//!     let file = disk.open(Path::new("/log"), true).await?;
//!     disk.sync_dir(Path::new("/")).await?;
//!     file.write_at(0, b"entry").await?;
//!     file.sync().await
//! }
//!
//! for number in 1.. {
//!     let drivers = Drivers::new();
//!     let disk = SimDisk::new(Seed(1), drivers.clone());
//!     disk.crash_at(OpNumber(number));
//!     let promised = drivers.block_on(work(&disk)).is_some();
//!     for outcome in 0..4 {
//!         let after = disk.fork(Drivers::new());
//!         after.power_cut(Seed(outcome));
//!         let kept = after.bytes(Path::new("/log")).is_some_and(|bytes| bytes == b"entry");
//!         assert!(kept || !promised);
//!     }
//!     // Drivers of the dead process hold the disk that holds them.
//!     drop(drivers.take());
//!     if promised {
//!         break;
//!     }
//! }
//! ```

mod content;
mod faults;
mod file_ops;
mod handles;
mod name_ops;
mod names;
mod spawn;
mod state;
mod tear;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leasebridge::env::Clock;
#[cfg(doc)]
use leasebridge::env::{Disk, DiskFile};

pub use content::SECTOR_BYTES;
pub use faults::{Fault, FaultId, FaultRule, OpKind, OpNumber};
pub use spawn::{Drivers, Spawner, TokioSpawner};

use crate::gate::HostGate;
use crate::seed::Seed;
use state::DiskState;

/// The largest file, in bytes: far above what a run needs, and well below what would exhaust the
/// machine's memory when a product bug writes at a wild offset.
pub const FILE_BYTES_MAX: usize = 256 << 20;

/// What a disk without a quota claims to hold, in bytes.
pub const FREE_BYTES_WITHOUT_QUOTA: u64 = 1 << 40;

/// What becomes of operations of a dead process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AfterDeath {
    /// Their futures never complete: the dead do nothing further. For whoever drops the tasks of a
    /// dead process, as turmoil and [`Drivers`] do.
    #[default]
    Hang,
    /// They fail at once. For callers that run to the end on their own.
    Fail,
}

/// A simulated disk; clones share it.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<DiskState>>,
    spawner: Arc<dyn Spawner>,
    clock: Option<Arc<dyn Clock>>,
    death: AfterDeath,
    gate: HostGate,
}

impl SimDisk {
    /// An empty disk without faults or quota. `seed` decides about the faults.
    pub fn new(seed: Seed, spawner: impl Spawner) -> Self {
        Self {
            state: Arc::new(Mutex::new(DiskState::new(seed))),
            spawner: Arc::new(spawner),
            clock: None,
            death: AfterDeath::default(),
            gate: HostGate::new(),
        }
    }

    /// Its operations begin and end when this gate lets them.
    pub fn with_gate(mut self, gate: HostGate) -> Self {
        self.gate = gate;
        self
    }

    /// Slow operations take their time by `clock`.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// What becomes of operations of a dead process.
    pub fn with_death(mut self, death: AfterDeath) -> Self {
        self.death = death;
        self
    }

    /// A disk of its own in the same state, faults, counters and pending changes included. What was
    /// open on this one is not open on the copy until it is restarted; its drivers go to `spawner`.
    ///
    /// Lets a sweep try several outcomes of one crash.
    pub fn fork(&self, spawner: impl Spawner) -> Self {
        Self {
            state: Arc::new(Mutex::new(self.state().clone())),
            spawner: Arc::new(spawner),
            clock: self.clock.clone(),
            death: self.death,
            gate: self.gate.clone(),
        }
    }

    /// The process dies at the operation with this number (or the next one, if it lies behind):
    /// that operation never returns and its effect is pending; a sync has made nothing durable.
    /// [`SimDisk::power_cut`] and [`SimDisk::restart_process`] clear it.
    pub fn crash_at(&self, number: OpNumber) {
        self.state().crash_at = Some(number);
    }

    /// The process dies now. Nothing happens on the disk until it is restarted.
    pub fn kill(&self) {
        self.state().kill();
    }

    /// Whether the process is dead.
    pub fn is_dead(&self) -> bool {
        self.state().is_dead()
    }

    /// The power failed (the process dies if it still lives) and is back: `seed` draws what is left
    /// of what was pending. A new process may open the disk.
    pub fn power_cut(&self, seed: Seed) {
        self.state().restart(Some(seed.draws("power cut")));
    }

    /// A new process may open the disk after the old one died alone: the machine went on, so
    /// nothing that was written is lost.
    pub fn restart_process(&self) {
        self.state().restart(None);
    }

    /// Adds a fault, switched on.
    pub fn add_fault(&self, rule: FaultRule) -> FaultId {
        self.state().faults.add(rule)
    }

    /// Switches a fault on or off. Its draws go on where they stopped.
    ///
    /// # Panics
    /// When `id` comes from another disk that has more faults.
    pub fn enable_fault(&self, id: FaultId, enabled: bool) {
        self.state().faults.enable(id, enabled);
    }

    /// How often a fault has struck.
    ///
    /// # Panics
    /// As [`SimDisk::enable_fault`].
    pub fn struck_by(&self, id: FaultId) -> u32 {
        self.state().faults.fired(id)
    }

    /// Switches all faults off.
    pub fn disable_faults(&self) {
        self.state().faults.disable_all();
    }

    /// Bounds the bytes of all files together, or lifts the bound. May lie below what is in use:
    /// nothing grows then.
    pub fn set_quota(&self, bytes: Option<u64>) {
        self.state().quota = bytes;
    }

    /// Flips bit `bit` (0 to 7) of the byte at `offset` where it lies.
    ///
    /// # Errors
    /// When there is no such file or byte.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u32) -> io::Result<()> {
        let mut state = self.state();
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let flipped = state
            .content_mut(path)
            .is_some_and(|content| content.flip_bit(at, bit));
        if !flipped {
            return Err(nothing_there(path));
        }
        state.stats.injected("bit_flip");
        Ok(())
    }

    /// Puts other bytes in the place of a file's, durably, as whoever restores it from a backup does.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn put(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let Some(content) = state.content_mut(path) else {
            return Err(nothing_there(path));
        };
        content.put(bytes);
        Ok(())
    }

    /// Counts a fault that something else than a rule has done.
    pub fn count_injected(&self, name: &'static str) {
        self.state().stats.injected(name);
    }

    /// Loses the directory entry of a file, durably: the file is gone. Open handles stay good.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn lose_entry(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.lose(path) {
            return Err(nothing_there(path));
        }
        state.stats.injected("lost_entry");
        Ok(())
    }

    /// Puts a copy in the place of a folder, as whoever restores it or mounts another file system over it does. Open
    /// handles stay good, and what is written through them is found by nobody.
    ///
    /// # Errors
    /// When there is nothing in it.
    pub fn replace_folder(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.replace_files(dir) == 0 {
            return Err(nothing_there(dir));
        }
        state.stats.injected("folder_replaced");
        Ok(())
    }

    /// The files and their sizes in bytes, by path.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let state = self.state();
        let paths = state.names.files().map(|(path, _)| path);
        let sized = paths.map(|path| {
            let size = state
                .content(path)
                .map_or(0, |content| content.len() as u64);
            (path.clone(), size)
        });
        sized.collect()
    }

    /// A file's bytes as a read sees them.
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.content(path).map(|content| content.cached().to_vec())
    }

    /// A file's bytes as a power cut without luck would leave them, its name granted.
    pub fn durable_bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state
            .content(path)
            .map(|content| content.durable().to_vec())
    }

    /// What has been done and injected so far, over all processes.
    pub fn stats(&self) -> DiskStats {
        self.state().stats.clone()
    }

    /// The number of the last operation: crash points of a run go from 1 to this.
    pub fn last_op(&self) -> OpNumber {
        self.state().stats.last_op
    }

    fn state(&self) -> MutexGuard<'_, DiskState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk").finish_non_exhaustive()
    }
}

fn nothing_there(path: &Path) -> io::Error {
    let text = format!("nothing there in {}", path.display());
    io::Error::new(io::ErrorKind::NotFound, text)
}

/// Counters of a disk, over all processes that used it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskStats {
    /// The number of the last operation, reads left out.
    pub last_op: OpNumber,
    /// Operations by kind.
    pub ops: BTreeMap<OpKind, u64>,
    /// Faults that struck, by name (see [`Fault::name`]; also `quota`, `bit_flip`, `lost_entry`,
    /// `folder_replaced`).
    pub faults: BTreeMap<&'static str, u64>,
    /// Deaths of a process.
    pub deaths: u64,
    /// Pending changes that power cuts kept whole.
    pub writes_kept: u64,
    /// Pending writes that power cuts tore.
    pub writes_torn: u64,
    /// Pending changes that power cuts dropped.
    pub writes_dropped: u64,
    /// Changes of names that power cuts undid.
    pub names_undone: u64,
}

impl DiskStats {
    /// How often the fault of this name has struck.
    pub fn struck(&self, name: &str) -> u64 {
        self.faults.get(name).copied().unwrap_or(0)
    }

    fn injected(&mut self, name: &'static str) {
        *self.faults.entry(name).or_default() += 1;
    }

    /// Counts an operation and gives its number: reads among reads, the others among the others.
    fn count(&mut self, kind: OpKind) -> OpNumber {
        let of_kind = self.ops.entry(kind).or_default();
        *of_kind += 1;
        if kind == OpKind::Read {
            return OpNumber(*of_kind);
        }
        self.last_op.0 += 1;
        self.last_op
    }
}
