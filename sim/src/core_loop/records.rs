//! What the admin API of a queue says, as records.

use leasebridge::core::{LaneCounts, TaskId, TaskState};
use leasebridge::queue::{OpenError, storage};

use super::host::{Host, Process};
use super::world::World;
use crate::history::{Counts, Task, What};

/// A task's name in histories.
pub(super) fn task(id: TaskId) -> Task {
    Task(id.to_string())
}

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
            name: name.to_owned(),
            value,
            limit,
        };
        world.record(&host.name, gauge);
    }
}

/// One task as the admin API shows it now.
pub(super) async fn found(process: &Process, id: TaskId, key: Option<&str>) -> What {
    let queue = &process.queue;
    let Some(explained) = queue.explain(id).await else {
        let by_key = key.and_then(|key| queue.find_key(key));
        let done = by_key.is_some_and(|(found, state)| found == id && state == TaskState::Done);
        let state = if done { "done" } else { "gone" };
        return What::Found {
            task: task(id),
            state: state.to_owned(),
            cause: None,
            epoch: 0,
            retries: 0,
            in_doubt: 0,
            attempts: Vec::new(),
        };
    };
    let (state, cause) = match explained.state {
        TaskState::Ready => ("ready", None),
        TaskState::Delayed(_) => ("delayed", None),
        TaskState::Leased(_) => ("leased", None),
        TaskState::Poison(cause) => ("poison", Some(cause.as_str().to_owned())),
        TaskState::Done => ("done", None),
        TaskState::Removed => ("gone", None),
    };
    let attempts = explained.history.as_ref().map(|history| {
        let attempts = history.attempts();
        attempts.map(|attempt| attempt.epoch.0).collect()
    });
    What::Found {
        task: task(id),
        state: state.to_owned(),
        cause,
        epoch: explained.epoch.0,
        retries: explained.retries,
        in_doubt: explained.in_doubt,
        attempts: attempts.unwrap_or_default(),
    }
}

/// Whether an opening was refused because the log is damaged where no power cut damages it.
pub(super) fn is_damage(error: &OpenError) -> bool {
    matches!(
        error,
        OpenError::Storage(storage::OpenError::Corrupt { .. })
    )
}
