//! What the plan does to a disk, over the disk's own faults.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::host::{DIR, Host};
use super::world::World;
use crate::disk::{self, Fault, FaultRule, OpKind};
use crate::history::What;
use crate::plan::{DiskFault, FaultId, Micros};
use crate::seed::Draws;

/// How the names of segments end: whatever else is made at an opening is not what this fault is about.
const SEGMENT_SUFFIX: &str = ".seg";

/// A disk fault that is on.
pub(super) struct Damage {
    host: Arc<Host>,
    id: FaultId,
    rule: Option<disk::FaultId>,
    is_quota: bool,
    /// What counts how often it has struck.
    counter: FaultCounter,
    seen: AtomicU64,
}

/// Where the disk counts a fault.
#[derive(Clone, Copy)]
enum FaultCounter {
    Fault(&'static str),
    /// Slow operations are counted without the name of whoever slows them.
    Ops(OpKind),
}

impl Damage {
    /// Begins a fault of a disk.
    pub(super) fn begin(
        world: &World,
        host: &Arc<Host>,
        id: FaultId,
        fault: &DiskFault,
        (one_in, times): (u32, u32),
    ) -> Self {
        let mut damage = Self {
            host: host.clone(),
            id,
            rule: None,
            is_quota: false,
            counter: FaultCounter::Fault("bit_flip"),
            seen: AtomicU64::new(0),
        };
        let kind = match fault {
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
                let bytes = world
                    .plan
                    .knobs
                    .log_bytes_max
                    .saturating_mul(u64::from(*percent))
                    / 100;
                host.disk.set_quota(Some(bytes));
                damage.is_quota = true;
                return damage.counted(FaultCounter::Fault("quota"));
            }
            DiskFault::BitFlip => {
                let damage = damage.counted(FaultCounter::Fault("bit_flip"));
                damage.hurt(world, times.max(1), flip);
                return damage;
            }
            DiskFault::LostEntry => {
                let damage = damage.counted(FaultCounter::Fault("lost_entry"));
                damage.hurt(world, times.max(1), lose);
                return damage;
            }
            DiskFault::MarkHurt { how } => {
                let damage = damage.counted(FaultCounter::Fault("mark_hurt"));
                let draws = damage.seed(world).draws("mark");
                host.marks.arm(id, *how, times.max(1), &host.disk, draws);
                return damage;
            }
            DiskFault::FolderReplaced => {
                let damage = damage.counted(FaultCounter::Fault("folder_replaced"));
                damage.hurt(world, times.max(1), replace);
                return damage;
            }
        };
        let mut rule = FaultRule::new(kind).one_in(one_in);
        if times > 0 {
            rule = rule.times(times);
        }
        if kind == Fault::NoFiles {
            rule = rule.path_suffix(SEGMENT_SUFFIX);
        }
        if let Fault::Slow { .. } = kind {
            rule = rule.on(OpKind::Sync);
            damage = damage.counted(FaultCounter::Ops(OpKind::Sync));
        } else {
            damage = damage.counted(FaultCounter::Fault(kind.name()));
        }
        damage.rule = Some(host.disk.add_fault(rule.seeded(damage.seed(world))));
        damage
    }

    /// Each operation takes so much longer.
    pub(super) fn slow(host: &Arc<Host>, id: FaultId, delay: Micros) -> Self {
        let (min, max) = (delay.as_duration(), delay.as_duration());
        let rule = host
            .disk
            .add_fault(FaultRule::new(Fault::Slow { min, max }));
        let damage = Self {
            host: host.clone(),
            id,
            rule: Some(rule),
            is_quota: false,
            counter: FaultCounter::Ops(OpKind::Write),
            seen: AtomicU64::new(0),
        };
        damage.counted(FaultCounter::Ops(OpKind::Write))
    }

    fn counted(mut self, counter: FaultCounter) -> Self {
        self.counter = counter;
        self.seen = AtomicU64::new(self.count());
        self
    }

    fn count(&self) -> u64 {
        let stats = self.host.disk.stats();
        match self.counter {
            FaultCounter::Fault(name) => stats.struck(name),
            FaultCounter::Ops(kind) => stats.ops.get(&kind).copied().unwrap_or_default(),
        }
    }

    fn seed(&self, world: &World) -> crate::seed::Seed {
        world.plan.seed.child(&format!("disk fault {}", self.id.0))
    }

    /// Says whether it has struck since this was last asked.
    pub(super) fn look(&self, world: &World) {
        let now = self.count();
        if now > self.seen.swap(now, Ordering::Relaxed) {
            world.strike(self.id);
        }
    }

    pub(super) fn end(self, world: &World) {
        self.look(world);
        if let Some(rule) = self.rule {
            self.host.disk.enable_fault(rule, false);
        }
        if self.is_quota {
            self.host.disk.set_quota(None);
        }
        self.host.marks.disarm(self.id);
    }

    /// Hurts what lies on the disk, so many times.
    fn hurt(&self, world: &World, times: u32, how: impl Fn(&Host, &mut Draws) -> Option<String>) {
        let mut draws = self.seed(world).draws("place");
        for _ in 0..times {
            let Some(text) = how(&self.host, &mut draws) else {
                return;
            };
            world.record(&self.host.name, What::Note { text });
        }
    }
}

/// Flips a bit of a segment.
fn flip(host: &Host, draws: &mut Draws) -> Option<String> {
    let (path, size) = segment(host, draws)?;
    let (offset, bit) = (draws.below(size), draws.below(8));
    let flipped = host
        .disk
        .flip_bit(&path, offset, u32::try_from(bit).unwrap_or(0));
    flipped
        .is_ok()
        .then(|| format!("bit {bit} of byte {offset} of {} flipped", path.display()))
}

/// Puts a copy in the place of the log's folder.
fn replace(host: &Host, _: &mut Draws) -> Option<String> {
    let replaced = host.disk.replace_folder(Path::new(DIR));
    let text = || "copies stand in the place of the log's files".to_owned();
    replaced.is_ok().then(text)
}

/// Loses a segment's name.
fn lose(host: &Host, draws: &mut Draws) -> Option<String> {
    let (path, _) = segment(host, draws)?;
    let lost = host.disk.lose_entry(&path);
    lost.is_ok()
        .then(|| format!("the entry of {} is gone", path.display()))
}

/// One of the segments, with its size.
fn segment(host: &Host, draws: &mut Draws) -> Option<(std::path::PathBuf, u64)> {
    let files = host.disk.files().into_iter();
    let mut segments: Vec<_> = files
        .filter(|(path, size)| *size > 0 && path.extension().is_some_and(|ext| ext == "seg"))
        .collect();
    if segments.is_empty() {
        return None;
    }
    let drawn = draws.index(segments.len());
    Some(segments.swap_remove(drawn))
}
