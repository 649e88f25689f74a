//! Hosts that exist as names only: until when each stands still.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::world::World;
use crate::plan::{HostName, Micros};

/// See the module.
#[derive(Default)]
pub(super) struct Stillness(Mutex<BTreeMap<HostName, Micros>>);

impl Stillness {
    /// The host does nothing before that.
    pub(super) fn keep(&self, host: &HostName, until: Micros) {
        let mut still = self.lock();
        let at = still.entry(host.clone()).or_default();
        *at = until.max(*at);
    }

    /// Waits until the host does something again.
    pub(super) async fn wait(&self, world: &World, host: &HostName) {
        loop {
            let until = self.lock().get(host).copied();
            match until.filter(|until| *until > world.now()) {
                Some(until) => world.sleep_until(until).await,
                None => return,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<HostName, Micros>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
