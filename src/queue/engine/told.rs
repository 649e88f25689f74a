//! News of what has happened, for listeners of the feed, watchers of the depth and endpoints. Each is told once
//! its record is durable.

use tokio::sync::watch;

use super::super::backpressure::{Backpressure, BackpressureSignal};
use super::super::feed::{Feed, LifecycleFeed, News};
use super::leaving::Leaving;
use super::tail::Tail;
use crate::core::{Event, Now, QueueState, RouteId, Seq, TaskId};
use crate::journal::Position;
use crate::observe::{BackpressureStatus, FeedStatus};

/// See the module.
#[derive(Debug)]
pub(crate) struct Told {
    feed: Feed,
    backpressure: Backpressure,
    leaving: Leaving,
}

impl Told {
    pub(super) fn new(watermarks: Option<(u64, u64)>) -> Self {
        Self {
            feed: Feed::new(),
            backpressure: Backpressure::new(watermarks),
            leaving: Leaving::default(),
        }
    }

    /// Whether somebody may hear of single events.
    pub(super) fn is_listened_to(&self) -> bool {
        self.feed.is_listened_to()
    }

    pub(crate) fn listen(&mut self) -> LifecycleFeed {
        self.feed.subscribe()
    }

    pub(crate) fn watch_depth(&self) -> watch::Receiver<BackpressureSignal> {
        self.backpressure.subscribe()
    }

    pub(crate) fn feed_status(&self) -> FeedStatus {
        self.feed.status()
    }

    pub(crate) fn backpressure_status(&self) -> BackpressureStatus {
        self.backpressure.status()
    }

    /// Sets or removes the watermarks; the state starts anew.
    pub(crate) fn set_watermarks(&mut self, watermarks: Option<(u64, u64)>, state: &QueueState) {
        self.backpressure.set(watermarks, depth(state));
    }

    /// Takes in an event that was decided at `now`, appended to `tail` and applied to `state`; `route` is its task's,
    /// if that has left.
    pub(super) fn note(
        &mut self,
        now: Now,
        event: &Event,
        route: Option<RouteId>,
        state: &QueueState,
        tail: &Tail,
    ) {
        if self.feed.is_listened_to() {
            self.tell(now, event, route, state, tail);
        } else {
            self.feed.pass(event);
        }
        if self.backpressure.is_watched() {
            self.backpressure.observe(depth(state));
        }
    }

    fn tell(
        &mut self,
        now: Now,
        event: &Event,
        route: Option<RouteId>,
        state: &QueueState,
        tail: &Tail,
    ) {
        let position = tail.appended();
        self.feed.take(position, event, |id: Option<TaskId>| {
            let route = route.or_else(|| match event {
                Event::RoutePaused { route, .. } => Some(*route),
                _ => id.and_then(|id| state.view(id)).map(|view| view.route),
            });
            News {
                // Not every event has a time of its own; queue time never goes back.
                at: now.queue.max(state.at()),
                route: route.map(|route| state.route_name(route).into()),
            }
        });
        if position == tail.durable() {
            // Nothing is on its way to the log whose completion would tell it.
            self.feed.publish(position);
        }
    }

    /// Takes in that a task has left for good with the last record of `tail`.
    pub(super) fn left(&mut self, id: TaskId, tail: &Tail) {
        self.leaving.add(tail.appended(), id, tail.durable());
    }

    /// Everything up to here is durable.
    pub(super) fn durable(&mut self, position: Position) {
        self.feed.publish(position);
    }

    /// The range of ids around `id` that have all left for good, durably.
    pub(super) fn settled_range(
        &mut self,
        id: TaskId,
        state: &QueueState,
        tail: &Tail,
    ) -> Option<(Seq, Seq)> {
        let range = state.settled_range(id)?;
        if planted!(Bug::SettledToldEarly) {
            return Some(range);
        }
        self.leaving.durable_part(id, range, tail.durable())
    }
}

/// Tasks that wait.
fn depth(state: &QueueState) -> u64 {
    let counts = state.counts_of_all();
    counts.ready + counts.delayed
}
