//! Callers that wait for something to happen under the lock: for a lease, for room, for the loss of one.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::core::RouteId;

/// See the module.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// Those who wait for a lease, by route.
    lanes: Vec<Arc<Notify>>,
    /// What has happened since somebody last looked.
    happened: Happened,
}

/// What others than a lane's waiters are to be told of, once the lock is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Happened {
    /// A lease ended without its holder.
    pub(super) lease_lost: bool,
    /// A task left.
    pub(super) room_made: bool,
}

impl Waiting {
    /// With a lane for each of so many routes.
    pub(super) fn new(routes: usize) -> Self {
        Self {
            lanes: (0..routes).map(|_| Arc::default()).collect(),
            happened: Happened::default(),
        }
    }

    pub(super) fn add_lane(&mut self) {
        self.lanes.push(Arc::default());
    }

    /// Where to wait for a lease of that route.
    pub(crate) fn lane(&self, route: RouteId) -> Arc<Notify> {
        self.lanes[route.0 as usize].clone()
    }

    pub(super) fn lanes(&self) -> Vec<Arc<Notify>> {
        self.lanes.clone()
    }

    /// One more task of the route can be leased: wakes one who waits for that.
    pub(super) fn wake(&self, route: RouteId) {
        self.lanes[route.0 as usize].notify_one();
    }

    /// Wakes one waiter of each route.
    pub(super) fn wake_each(&self) {
        self.lanes.iter().for_each(|lane| lane.notify_one());
    }

    pub(super) fn lease_lost(&mut self) {
        self.happened.lease_lost = true;
    }

    pub(super) fn room_made(&mut self) {
        self.happened.room_made = true;
    }

    /// What has happened since this was last asked.
    pub(super) fn take(&mut self) -> Happened {
        std::mem::take(&mut self.happened)
    }
}
