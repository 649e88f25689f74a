//! What a plan's disk faults do to a simulated disk.

use std::path::Path;

use super::bridge_host::QUEUE_DIR;
use super::seat::Seat;
use super::shared::Shared;
use crate::disk::{self, Fault, FaultRule, OpKind, SimDisk};
use crate::plan::{DiskFault, FaultSpec};

/// How the names of segments end: whatever else is made at an opening is not what this fault is about.
const SEGMENT_SUFFIX: &str = ".seg";

/// A disk fault that is on.
#[derive(Clone, Copy, Debug)]
pub(super) enum DiskOn {
    /// A rule strikes.
    Rule(disk::FaultId),
    /// A quota is set; so often had one struck before.
    Quota { before: u64 },
    /// It has happened, so often, and is over.
    AtRest(u64),
}

/// How a fault strikes.
pub(super) struct Manner<'a> {
    pub(super) fault: &'a DiskFault,
    pub(super) one_in: u32,
    pub(super) times: u32,
}

/// Begins a fault on a disk.
pub(super) fn begin(shared: &Shared, seat: &Seat, spec: &FaultSpec, manner: &Manner<'_>) -> DiskOn {
    let disk = seat.machine.disk();
    let fault = match manner.fault {
        DiskFault::TornWrite => Fault::TornWrite,
        DiskFault::ShortWrite => Fault::ShortWrite,
        DiskFault::SyncError => Fault::SyncError,
        DiskFault::SyncLies => Fault::SyncLies,
        DiskFault::ReadError => Fault::ReadError,
        DiskFault::WriteError => Fault::WriteError,
        DiskFault::MisdirectedWrite => Fault::MisdirectedWrite,
        DiskFault::NoFiles => Fault::NoFiles,
        DiskFault::SlowSync { min, max } => Fault::Slow {
            min: min.as_duration(),
            max: max.as_duration(),
        },
        DiskFault::NoSpace { percent } => {
            let topology = &shared.plan.topology;
            let share = match topology.bridges.contains(&seat.name) {
                true => {
                    shared
                        .plan
                        .knobs
                        .log_bytes_max
                        .saturating_mul((*percent).into())
                        / 100
                }
                // An inbox takes a little. There is no room for anything more.
                false => disk.files().iter().map(|(_, bytes)| bytes).sum(),
            };
            let before = disk.stats().struck("quota");
            disk.set_quota(Some(share));
            return DiskOn::Quota { before };
        }
        DiskFault::BitFlip | DiskFault::LostEntry => {
            let mut draws = shared.plan.seed.draws(&format!("rot of {}", spec.id));
            let times = manner.times.max(1);
            let hit = (0..times).filter(|_| rot(disk, manner.fault, &mut draws));
            return DiskOn::AtRest(hit.count() as u64);
        }
        // The core world's, by the rules of scenarios.
        DiskFault::MarkHurt { .. } => return DiskOn::AtRest(0),
        DiskFault::FolderReplaced => {
            let replaced = disk.replace_folder(Path::new(QUEUE_DIR));
            return DiskOn::AtRest(u64::from(replaced.is_ok()));
        }
    };
    let mut rule = FaultRule::new(fault).one_in(manner.one_in);
    match fault {
        Fault::Slow { .. } => rule = rule.on(OpKind::Sync),
        Fault::NoFiles => rule = rule.path_suffix(SEGMENT_SUFFIX),
        _ => {}
    }
    if manner.times > 0 {
        rule = rule.times(manner.times);
    }
    DiskOn::Rule(disk.add_fault(rule))
}

/// Takes the fault off the disk again; damage at rest stays.
pub(super) fn end(seat: &Seat, on: DiskOn) {
    let disk = seat.machine.disk();
    match on {
        DiskOn::Rule(id) => disk.enable_fault(id, false),
        DiskOn::Quota { .. } => disk.set_quota(None),
        DiskOn::AtRest(_) => {}
    }
}

/// How often it has struck so far.
pub(super) fn strikes(seat: &Seat, on: DiskOn) -> u64 {
    let disk = seat.machine.disk();
    match on {
        DiskOn::Rule(id) => disk.struck_by(id).into(),
        DiskOn::Quota { before } => disk.stats().struck("quota") - before,
        DiskOn::AtRest(times) => times,
    }
}

/// Whether a disk has done what no promise survives: what it holds may be damaged, or lost.
pub(super) fn rots(seat: &Seat) -> bool {
    let stats = seat.machine.disk().stats();
    let rot = ["bit_flip", "misdirected_write", "sync_lies", "lost_entry"];
    rot.iter().any(|name| stats.struck(name) > 0)
}

/// Spoils one file where it lies: a bit among the bytes that hold something, or its name.
fn rot(disk: &SimDisk, fault: &DiskFault, draws: &mut crate::seed::Draws) -> bool {
    let mut files = disk.files();
    files.retain(|(_, bytes)| *bytes > 0);
    if files.is_empty() {
        return false;
    }
    let (path, _) = files.swap_remove(draws.index(files.len()));
    if *fault == DiskFault::LostEntry {
        return disk.lose_entry(&path).is_ok();
    }
    let bytes = disk.bytes(&path).unwrap_or_default();
    let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    if used.is_empty() {
        return false;
    }
    let at = used[draws.index(used.len())];
    let bit = u32::try_from(draws.below(8)).expect("below eight");
    disk.flip_bit(&path, at as u64, bit).is_ok()
}
