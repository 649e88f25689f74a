//! What an applied event means for those who wait: leases to be had, room, losses, news.

use super::super::feed::News;
use super::Core;
use crate::core::event::{Doubt, Isolation, Next, Outcome};
use crate::core::{Event, RouteId, TaskId};

/// What must be known of an event's task before the event is applied: it may be gone after.
#[derive(Clone, Copy, Default)]
pub(super) struct Before {
    route: Option<RouteId>,
    slot: Option<usize>,
    /// Whether it kept others from flying with it.
    isolated: bool,
}

impl Core {
    pub(super) fn before(&self, event: &Event) -> Before {
        let id = match event {
            Event::Settled(settled) => settled.delivery.task,
            Event::Expired { id, .. } | Event::Removed { id, .. } => *id,
            Event::Granted { delivery, .. } if self.feed.is_listened_to() => delivery.task,
            _ => return Before::default(),
        };
        let Some((slot, view)) = self.state.placed(id) else {
            return Before::default();
        };
        Before {
            route: Some(view.route),
            slot: Some(slot),
            isolated: view.isolation != Isolation::None,
        }
    }

    pub(super) fn notice(&mut self, before: Before, event: &Event) {
        match event {
            Event::Enqueued(enqueued) => self.wake(enqueued.route),
            Event::Settled(settled) => {
                if matches!(settled.outcome, Outcome::InDoubt(Doubt::LeaseExpired))
                    || settled.outcome == Outcome::Released
                {
                    self.lost = true;
                }
                if settled.next == Next::Ready
                    && let Some(route) = before.route
                {
                    self.wake(route);
                }
                match settled.next {
                    Next::Done => self.left(before, settled.delivery.task),
                    // It is pending no more.
                    Next::Poison(_) => self.made_room = true,
                    Next::Ready | Next::Delayed(_) => {}
                }
                if self.state.has_suspects() || settled.isolation != Isolation::None {
                    // Somebody may have waited for the air to clear.
                    self.wake_all();
                }
                self.landed(before);
            }
            Event::Expired { .. } => {
                self.made_room = true;
                self.landed(before);
            }
            Event::Due { id } | Event::Requeued { id, .. } | Event::Rerouted { id, .. } => {
                self.wake_for(*id);
            }
            Event::Restored { image, .. } => self.wake(image.route),
            Event::RoutePaused { paused: false, .. } | Event::Quarantined { .. } => self.wake_all(),
            Event::Removed { id, .. } => {
                self.lost = true;
                self.left(before, *id);
                self.landed(before);
            }
            Event::RouteDefined { .. } => self.lanes.push(Default::default()),
            _ => {}
        }
        self.sequence_news(before, event);
    }

    fn sequence_news(&mut self, before: Before, event: &Event) {
        let position = self.writer.appended();
        let state = &self.state;
        self.feed.take(position, event, |id: TaskId| {
            let route = before
                .route
                .or_else(|| state.view(id).map(|view| view.route));
            News {
                at: state.at(),
                route: route.map(|route| state.route_name(route).into()),
            }
        });
        if position == self.writer.durable() {
            // Nothing is on its way to the disk whose completion would tell it.
            self.feed.publish(position);
        }
        if self.backpressure.is_watched() {
            let counts = self.state.counts_of_all();
            self.backpressure.observe(counts.ready + counts.delayed);
        }
    }

    /// A task has left: its body may go, and there is room.
    fn left(&mut self, before: Before, id: TaskId) {
        let (position, durable) = (self.writer.appended(), self.writer.durable());
        self.leaving.add(position, id, durable);
        if let Some(slot) = before.slot {
            self.cache.drop_at(slot);
        }
        self.made_room = true;
    }

    /// A task is out of the way: of all, if it kept others back; of one that must fly alone in its route,
    /// if it was the last in the air there.
    fn landed(&self, before: Before) {
        if before.isolated {
            self.wake_all();
        } else if let Some(route) = before.route {
            let counts = self.state.counts(route);
            if counts.leased == 0 && counts.ready > 0 {
                self.wake(route);
            }
        }
    }

    fn wake_for(&self, id: TaskId) {
        if let Some(view) = self.state.view(id) {
            self.wake(view.route);
        }
    }

    /// One more task of the route can be leased: wakes one who waits for that.
    pub(super) fn wake(&self, route: RouteId) {
        self.lanes[route.0 as usize].notify_one();
    }

    /// Wakes one waiter of each route.
    pub(super) fn wake_all(&self) {
        self.lanes.iter().for_each(|lane| lane.notify_one());
    }
}
