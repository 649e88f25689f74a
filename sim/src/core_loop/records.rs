//! What the admin API of a queue says, as records.

use leasebridge::core::LaneCounts;

use super::host::{Host, Process};
use super::world::World;
use crate::history::{Counts, What};

/// The counts in histories.
pub(super) fn counts(counts: LaneCounts) -> Counts {
    Counts {
        ready: counts.ready,
        delayed: counts.delayed,
        leased: counts.leased,
        poison: counts.poison,
    }
}

/// Asks how many tasks are where, beside a full listing, and how large everything is.
pub(super) fn count(world: &World, host: &Host, process: &Process) {
    let queue = &process.queue;
    let now = counts(queue.counts());
    let listed = queue.list().len() as u64;
    let counted = What::Counted {
        counts: now,
        listed: Some(listed),
    };
    world.record(&host.name, counted);
    let knobs = &world.plan.knobs;
    let journal = queue.status().journal;
    // An opening makes the segment that it needs even beyond the limit.
    let beyond = u64::from(process.boot) * u64::from(knobs.segment_bytes);
    let gauges = [
        ("log_bytes", journal.log_bytes, knobs.log_bytes_max + beyond),
        // As many may be pending, and as many again in poison.
        ("memory_tasks", listed, knobs.capacity.saturating_mul(2)),
    ];
    for (name, value, limit) in gauges {
        let gauge = What::Gauge {
            name: name.into(),
            value,
            limit,
        };
        world.record(&host.name, gauge);
    }
}
