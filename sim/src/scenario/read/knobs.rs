//! Reads `[knobs]`: the options of queues and bridges, each a value or a range.

use leasebridge::queue::SCHEDULE_STEPS_MAX;

use super::ScenarioError;
use super::section::{Field, Section};
use crate::plan::Micros;
use crate::scenario::{Between, Bytes, KnobRanges};

const fn times(min_ms: u64, max_secs: u64) -> Between<Micros> {
    Between::new(Micros::from_millis(min_ms), Micros::from_secs(max_secs))
}

/// Reads it; what is not given keeps its default.
pub(super) fn read(section: &Section<'_>) -> Result<KnobRanges, ScenarioError> {
    let default = KnobRanges::default();
    let latency = Between::new(Micros(0), Micros::from_secs(10));
    let knobs = KnobRanges {
        lease: section.range("lease", times(100, 3_600), default.lease)?,
        max_hold: section.range("max_hold", times(100, 86_400), default.max_hold)?,
        max_retries: section.range("max_retries", Between::new(0, 1_000), default.max_retries)?,
        max_in_doubt: section.range(
            "max_in_doubt",
            Between::new(0, 1_000),
            default.max_in_doubt,
        )?,
        backoff_min: section.range("backoff_min", times(1, 3_600), default.backoff_min)?,
        backoff_max: section.range("backoff_max", times(1, 3_600), default.backoff_max)?,
        segment_bytes: section.range(
            "segment_bytes",
            Between::new(Bytes::kib(20), Bytes::kib(16 << 10)),
            default.segment_bytes,
        )?,
        log_bytes_max: section.range(
            "log_bytes_max",
            Between::new(Bytes::kib(256), Bytes::kib(256 << 10)),
            default.log_bytes_max,
        )?,
        cache_bytes: section.range(
            "cache_bytes",
            Between::new(Bytes(0), Bytes::kib(256 << 10)),
            default.cache_bytes,
        )?,
        capacity: section.range("capacity", Between::new(1, 1 << 20), default.capacity)?,
        window: section.range("window", Between::new(1, 4_096), default.window)?,
        key_window: section.range("key_window", times(1, 7 * 86_400), default.key_window)?,
        heartbeat: section.range("heartbeat", times(10, 60), default.heartbeat)?,
        latency_min: section.range("latency_min", latency, default.latency_min)?,
        latency_max: section.range("latency_max", latency, default.latency_max)?,
        schedule: match section.get("schedule") {
            Some(field) => schedule(&field)?,
            None => default.schedule,
        },
        max_age: match section.get("max_age") {
            Some(field) => Some(field.range(times(100, 86_400))?),
            None => default.max_age,
        },
        line: match section.get("line") {
            Some(field) => Some(field.range(Between::new(Bytes(256), Bytes::kib(128 << 10)))?),
            None => default.line,
        },
        line_delay: section.range("line_delay", latency, default.line_delay)?,
    };
    section.finish()?;
    Ok(knobs)
}

fn schedule(field: &Field<'_>) -> Result<Vec<Between<Micros>>, ScenarioError> {
    let steps = field.items();
    if !(1..=SCHEDULE_STEPS_MAX).contains(&steps.len()) {
        return Err(field.wrong(format!(
            "a schedule has from 1 to {SCHEDULE_STEPS_MAX} waits"
        )));
    }
    steps
        .iter()
        .map(|step| step.range(times(1, 3_600)))
        .collect()
}
