//! How often a busy link is read.
//!
//! An endpoint that takes one command after the other writes each answer by itself, and has the bridge woken for
//! each: the answer is read, handled, settled and synced alone, and the next command is leased, synced and written
//! alone. That costs about as much for one answer as for twenty. So a link whose answers take long anyway is left
//! alone for a moment after it was read, and what arrives meanwhile is handled together.
//!
//! The moment is a small part of the time that even the quickest of the last answers took: an endpoint that answers
//! soon has its answers read at once, and one that doesn't waits no longer than that part for what it is to do next.

use std::time::Duration;

use crate::bridge::limits::{REST_FRAMES_MAX, REST_MAX, REST_MIN, REST_SHARE};

/// How long to leave the link alone after `frames` were read together, if one of them was an answer: the quickest
/// came `quickest` after its command was queued.
pub(super) fn rest(frames: usize, quickest: Option<Duration>) -> Option<Duration> {
    if frames > REST_FRAMES_MAX {
        return None;
    }
    let rest = quickest?.checked_div(REST_SHARE)?;
    (rest >= REST_MIN).then_some(rest.min(REST_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_slow_answers_that_come_few_at_a_time_are_left_to_gather() {
        let slow = Some(Duration::from_secs(60));
        let least = REST_MIN * REST_SHARE;
        assert_eq!(rest(1, Some(least - Duration::from_micros(100))), None);
        assert_eq!(rest(1, Some(least)), Some(REST_MIN));
        assert_eq!(rest(1, slow), Some(REST_MAX));
        assert_eq!(rest(REST_FRAMES_MAX, slow), Some(REST_MAX));
        assert_eq!(rest(REST_FRAMES_MAX + 1, slow), None);
        assert_eq!(rest(1, None), None, "nothing was answered");
    }
}
