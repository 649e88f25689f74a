//! Leases that are extended for as long as they are held.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::engine::Owner;
use crate::core::DeliveryId;

/// A holder's leases. Extended at a third of the lease's duration, so that two extensions may be late
/// before a lease is lost.
#[derive(Debug, Default)]
pub(crate) struct KeptLeases {
    deliveries: Mutex<BTreeSet<DeliveryId>>,
}

impl KeptLeases {
    pub(crate) fn remember(&self, delivery: DeliveryId) {
        self.lock().insert(delivery);
    }

    pub(crate) fn forget(&self, delivery: DeliveryId) {
        self.lock().remove(&delivery);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<DeliveryId>> {
        self.deliveries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Extends them until nobody holds any and nobody can add one. Those at the end of `max_hold`, or
    /// lost, are left to their holders to notice.
    pub(crate) async fn keep(kept: Weak<Self>, owner: Weak<Owner>, lease: Duration) {
        loop {
            let Some(clock) = owner.upgrade().map(|owner| owner.engine.env.clock.clone()) else {
                return;
            };
            clock.sleep(lease / 3).await;
            let (Some(kept), Some(owner)) = (kept.upgrade(), owner.upgrade()) else {
                return;
            };
            kept.extend_all(&owner);
        }
    }

    fn extend_all(self: &Arc<Self>, owner: &Arc<Owner>) {
        // Leases are not ours to prolong while the log may not be: until it is again they run on.
        if owner.engine.holds().is_err() {
            return;
        }
        let held: Vec<DeliveryId> = self.lock().iter().copied().collect();
        // Extensions rest on nothing durable, and nobody is told of these.
        let _rests = owner.engine.with(|core, now| {
            for delivery in held {
                let _lost_or_not = core.extend(now, delivery);
            }
        });
    }
}
