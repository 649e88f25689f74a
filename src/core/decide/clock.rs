//! What time it is, when the wall clock tells one that can't be.

use super::super::event::Event;
use super::super::state::QueueState;
use super::super::time::{Now, QueueMs, SpanMs};
use super::Reply;
use crate::coverage::{Site, reached};

pub(super) fn doubt(state: &QueueState, out: &mut Vec<Event>) -> Reply {
    if state.clock_doubted {
        return Reply::Unchanged;
    }
    reached!(Site::ClockDoubted);
    out.push(Event::ClockDoubted);
    Reply::Changed
}

pub(super) fn set(
    state: &QueueState,
    now: Now,
    (at, ahead): (QueueMs, SpanMs),
    out: &mut Vec<Event>,
) -> Reply {
    reached!(Site::ClockSet);
    let at = at.max(now.queue).max(state.at);
    out.push(Event::ClockSet { at, ahead });
    Reply::Changed
}
