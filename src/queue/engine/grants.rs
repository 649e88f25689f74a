//! Granting leases: under the lock, then the bodies.

use std::sync::Arc;

use bytes::Bytes;

use super::cache::Page;
use super::life::Owner;
use super::{Core, Engine, Promise, QueueStage};
use crate::core::decide::Grant;
use crate::core::event::TransportKind;
use crate::core::{DeliveryId, Input, Now, Reply, Report, RouteId, Settlement, TaskId};
use crate::coverage::{Site, reached};
use crate::env::Point;
use crate::observe::CacheStatus;

/// A lease without its value, and its record if that was still in memory.
pub(crate) struct Granted {
    pub(crate) grant: Grant,
    pub(crate) record: Option<Bytes>,
}

/// Leases on their way to whoever asked. Those that don't arrive go back as if they had never been
/// granted.
pub(crate) struct Unclaimed {
    owner: Arc<Owner>,
    pub(crate) granted: Vec<Granted>,
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if self.granted.is_empty() {
            return;
        }
        reached!(Site::UnclaimedReturned);
        let granted = std::mem::take(&mut self.granted);
        let _rests = self.owner.engine.with(|core, now| {
            for Granted { grant, record } in granted {
                core.end(now, ending(grant.delivery, Report::Released), record);
            }
        });
    }
}

/// How a lease ends, without a word on why.
pub(crate) fn ending(delivery: DeliveryId, report: Report) -> Settlement {
    let transport: Option<TransportKind> = None;
    Settlement {
        delivery,
        report,
        sends: 0,
        transport,
        error: None,
        jitter: 0,
    }
}

impl Core {
    /// Leases up to `max` tasks of a route.
    pub(crate) fn grant_many(&mut self, now: Now, route: RouteId, max: usize) -> Vec<Granted> {
        if self.stage != QueueStage::Open {
            return Vec::new();
        }
        let ready = self.state.counts(route).ready;
        let room = usize::try_from(ready).unwrap_or(usize::MAX).min(max);
        let mut granted = Vec::with_capacity(room);
        while granted.len() < max {
            match self.run(now, Input::Grant { route }, &[]) {
                Ok(Reply::Granted(grant)) => {
                    let slot = self.state.slot_of(grant.delivery.task);
                    let record = slot.and_then(|slot| self.bodies.lease(slot));
                    granted.push(Granted { grant, record });
                }
                Ok(Reply::AskAgain) => {}
                _ => break,
            }
        }
        if granted.len() == max && self.state.counts(route).ready > 0 {
            // One wake may have stood for many tasks: the next waiter is woken by the last.
            self.waiting.wake(route);
        }
        granted
    }

    /// Keeps a new task's record in memory while there is room for it.
    pub(crate) fn remember_record(&mut self, id: TaskId, record: Bytes, page: &mut Page) {
        if let Some(slot) = self.state.slot_of(id) {
            self.bodies.put(slot, record, page);
        }
    }

    pub(crate) fn cache_status(&self) -> CacheStatus {
        self.bodies.status()
    }

    /// A task's record, if it is in memory.
    pub(crate) fn peek_record(&self, id: TaskId) -> Option<Bytes> {
        self.bodies.peek(self.state.slot_of(id)?)
    }

    /// Ends a lease whose outcome nobody waits for; its record, if at hand, is kept for the next lease.
    pub(crate) fn end(&mut self, now: Now, settlement: Settlement, record: Option<Bytes>) {
        if self.stage == QueueStage::Closed {
            return;
        }
        let id = settlement.delivery.task;
        // A stale one has been ended by somebody else already.
        if self.run(now, Input::Settle(settlement), &[]).is_ok()
            && let (Some(record), Some(slot)) = (record, self.state.slot_of(id))
        {
            // On its own: its page may be kept by nobody else.
            let record = Bytes::copy_from_slice(&record);
            let mut page = Page::new(record.len());
            self.bodies.put(slot, record, &mut page);
        }
    }
}

impl Promise<Unclaimed> {
    /// Whether nothing was granted: that is no promise, and may be known at once.
    pub(crate) fn is_empty(&self) -> bool {
        self.peek().granted.is_empty()
    }
}

impl Engine {
    /// Leases up to `max` tasks at once, without waiting for any to come.
    pub(crate) fn grant(
        self: &Arc<Self>,
        owner: &Arc<Owner>,
        route: RouteId,
        max: usize,
    ) -> Promise<Unclaimed> {
        let max = match self.env.points.fires(Point::BatchOfOne) {
            true => 1,
            false => max,
        };
        let promise = self.with(|core, now| core.grant_many(now, route, max));
        let promise = promise.map(|granted| Unclaimed {
            owner: owner.clone(),
            granted,
        });
        match planted!(Bug::GrantBeforeDurable) {
            true => Promise {
                position: Default::default(),
                ..promise
            },
            false => promise,
        }
    }
}
