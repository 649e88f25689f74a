//! Bounds of the state machine, in one place.

/// Bytes kept of one attempt's error text. Longer texts are cut: an oversized error must never make a
/// task unsaveable. 25 attempts of this size are 6 KiB, far below a record's limit.
pub const ERROR_BYTES_MAX: usize = 240;

/// Attempts kept from the start of a task's history: the first failure tells most.
pub const HISTORY_FIRST: usize = 5;

/// Attempts kept from the end of a task's history.
pub const HISTORY_LAST: usize = 20;

/// Uncharged in-doubt outcomes after which a task is flown alone.
pub const UNCHARGED_BEFORE_ISOLATION: u16 = 2;

/// How long the suspects of a bridge's death keep others from being granted, so that each can be flown
/// alone while nothing else is in flight: after an opening, and again when one would be next but
/// finds company in flight. Milliseconds.
pub const QUARANTINE_MS: u64 = 30_000;

/// How long after that suspects keep nobody back, however long they wait for nothing else to be in flight: a suspect
/// that nobody can fly must not halve what its neighbours get. Milliseconds; ten times the quarantine.
pub const QUARANTINE_REST_MS: u64 = 300_000;

/// Bytes of a route's name.
pub const ROUTE_NAME_BYTES_MAX: usize = 128;

/// Jobs on the poison store that may run at once, and that are remembered. Each takes a line in every segment's head.
pub const JOBS_MAX: usize = 8;

/// Routes of one queue. Each costs a lane and a line in every segment's head.
pub const ROUTES_MAX: usize = 4096;

/// Openings of a log that are remembered, so that what left in them can be announced. An endpoint that is never reached
/// in so many lives of its bridge is not told of the oldest. With the next limit, as many as the smallest record for a
/// task has room for.
pub const ORIGINS_MAX: usize = 192;

/// Ranges of drained ids that are remembered with them. Drains take tasks in their order, so that few ranges are many
/// tasks.
pub const DRAINED_RANGES_MAX: usize = 192;
