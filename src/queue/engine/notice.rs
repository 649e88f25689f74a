//! What an applied event means for those who wait: leases to be had, room, losses, news.

use super::Core;
use crate::core::event::{Doubt, Isolation, LeaseOutcome, Next};
use crate::core::{Event, Now, RouteId, SpanMs, TaskId};

/// What must be known of an event's task before the event is applied: it may be gone after.
#[derive(Clone, Copy, Default)]
pub(super) struct Before {
    route: Option<RouteId>,
    slot: Option<usize>,
    /// Whether it kept others from flying with it.
    isolated: bool,
    /// How long its lease has been held, if it is.
    held: Option<SpanMs>,
}

impl Core {
    pub(super) fn before(&self, now: Now, event: &Event) -> Before {
        let id = match event {
            Event::Settled(settled) => settled.delivery.task,
            Event::Expired { id, .. } | Event::TooOld { id, .. } | Event::Removed { id, .. } => *id,
            Event::Granted { delivery, .. } if self.told.is_listened_to() => delivery.task,
            _ => return Before::default(),
        };
        let Some((slot, route, isolation)) = self.state.placed(id) else {
            return Before::default();
        };
        Before {
            route: Some(route),
            slot: Some(slot),
            isolated: isolation != Isolation::None,
            held: self
                .state
                .granted_at(slot)
                .map(|granted| now.mono.since(granted)),
        }
    }

    pub(super) fn notice(&mut self, now: Now, before: Before, event: &Event) {
        match event {
            Event::Enqueued(enqueued) => self.waiting.wake(enqueued.route),
            Event::Settled(settled) => {
                if let (Some(route), Some(held)) = (before.route, before.held) {
                    self.times.settled(route, held);
                }
                if matches!(settled.outcome, LeaseOutcome::InDoubt(Doubt::LeaseExpired))
                    || settled.outcome == LeaseOutcome::Released
                {
                    self.waiting.lease_lost();
                }
                if settled.next == Next::Ready
                    && let Some(route) = before.route
                {
                    self.waiting.wake(route);
                }
                match settled.next {
                    Next::Done => self.left(before, settled.delivery.task),
                    // It is pending no more.
                    Next::Poison(_) => self.waiting.room_made(),
                    Next::Ready | Next::Delayed(_) => {}
                }
                if self.state.has_suspects() || settled.isolation != Isolation::None {
                    // Somebody may have waited for the air to clear.
                    self.waiting.wake_each();
                }
                self.landed(before);
            }
            Event::Expired { .. } | Event::TooOld { .. } => {
                self.waiting.room_made();
                self.landed(before);
            }
            Event::Due { id } | Event::Requeued { id, .. } | Event::Rerouted { id, .. } => {
                self.wake_for(*id);
            }
            Event::Restored { image, .. } => self.waiting.wake(image.route),
            Event::RoutePaused { paused: false, .. }
            | Event::Quarantined { .. }
            | Event::ClockSet { .. } => self.waiting.wake_each(),
            Event::Removed { id, .. } => {
                self.waiting.lease_lost();
                self.left(before, *id);
                self.landed(before);
            }
            Event::RouteDefined { .. } => self.waiting.add_lane(),
            _ => {}
        }
        self.told
            .note(now, event, before.route, &self.state, &self.tail);
    }

    /// A task has left: its body may go, and there is room.
    fn left(&mut self, before: Before, id: TaskId) {
        self.told.left(id, &self.tail);
        if let Some(slot) = before.slot {
            self.bodies.drop_at(slot);
        }
        self.waiting.room_made();
    }

    /// A task is out of the way: of all, if it kept others back; of one that must fly alone in its route,
    /// if it was the last in flight there.
    fn landed(&self, before: Before) {
        if before.isolated {
            self.waiting.wake_each();
        } else if let Some(route) = before.route {
            let counts = self.state.counts(route);
            if counts.leased == 0 && counts.ready > 0 {
                self.waiting.wake(route);
            }
        }
    }

    fn wake_for(&self, id: TaskId) {
        if let Some(view) = self.state.view(id) {
            self.waiting.wake(view.route);
        }
    }
}
