//! Product options of one run.

use crate::plan::{Knobs, LineSpec, Micros};
use crate::scenario::{Bytes, KnobRanges};
use crate::seed::Draws;

/// Segments are whole pages of this many bytes.
const PAGE_BYTES: u64 = leasebridge::journal::limits::SEGMENT_HEADER_BYTES as u64;

/// The smallest log in segments: four in reserve, and room for a few that are written and compacted.
const SEGMENTS_MIN: u64 = 12;

/// Draws each option in the order of the fields.
pub(super) fn draw(ranges: &KnobRanges, draws: &mut Draws) -> Knobs {
    let lease = ranges.lease.draw(draws);
    let max_hold = ranges.max_hold.draw(draws).max(lease);
    let max_retries = ranges.max_retries.draw(draws);
    let max_in_doubt = ranges.max_in_doubt.draw(draws);
    let backoff_min = ranges.backoff_min.draw(draws);
    let backoff_max = ranges.backoff_max.draw(draws).max(backoff_min);
    let segment_bytes = whole_pages(ranges.segment_bytes.draw(draws));
    let log_bytes_max = ranges
        .log_bytes_max
        .draw(draws)
        .0
        .next_multiple_of(segment_bytes);
    let cache_bytes = ranges.cache_bytes.draw(draws).0;
    let capacity = ranges.capacity.draw(draws);
    let window = ranges.window.draw(draws);
    let key_window = ranges.key_window.draw(draws);
    let heartbeat = ranges.heartbeat.draw(draws);
    let latency_min = ranges.latency_min.draw(draws);
    let latency_max: Micros = ranges.latency_max.draw(draws).max(latency_min);
    let schedule = ranges.schedule.iter().map(|step| step.draw(draws));
    let schedule = schedule.collect();
    let max_age = ranges.max_age.as_ref().map(|age| age.draw(draws));
    let line = ranges.line.as_ref().map(|line| LineSpec {
        bytes_per_s: u32::try_from(line.draw(draws).0).unwrap_or(u32::MAX),
        delay: ranges.line_delay.draw(draws),
    });
    Knobs {
        lease,
        max_hold,
        max_retries,
        max_in_doubt,
        backoff: [backoff_min, backoff_max],
        segment_bytes: u32::try_from(segment_bytes).unwrap_or(u32::MAX),
        log_bytes_max: log_bytes_max.max(SEGMENTS_MIN * segment_bytes),
        cache_bytes,
        capacity,
        window,
        key_window,
        heartbeat,
        latency: [latency_min, latency_max],
        schedule,
        max_age,
        line,
    }
}

/// So many bytes, and what is missing to a whole page.
pub(in crate::scenario) fn whole_pages(bytes: Bytes) -> u64 {
    bytes.0.next_multiple_of(PAGE_BYTES)
}
