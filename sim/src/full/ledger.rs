//! What outlives processes beside disks: what producers know, and what endpoints have done to the world.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use leasebridge::core::{DeliveryId, TaskId};

use crate::plan::{HostName, OpId};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct WorldLedger(Mutex<Books>);

#[derive(Debug, Default)]
struct Books {
    offers: BTreeMap<OpId, Offer>,
    told: BTreeMap<HostName, BTreeMap<TaskId, Option<String>>>,
    executions: BTreeMap<TaskId, usize>,
    effects: BTreeMap<TaskId, HostName>,
    begun: BTreeMap<TaskId, (DeliveryId, OpId)>,
}

/// How far a producer is with an operation. One that isn't here has not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// Nothing is under way: it is to be tried (again).
    Open,
    /// It was sent, and the answer is awaited.
    Asked,
    /// Nothing more is done about it.
    Over,
}

impl WorldLedger {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far an operation is.
    pub(super) fn offer(&self, op: OpId) -> Offer {
        self.books().offers.get(&op).copied().unwrap_or(Offer::Open)
    }

    /// Sets how far an operation is.
    pub(super) fn set_offer(&self, op: OpId, offer: Offer) {
        self.books().offers.insert(op, offer);
    }

    /// How many operations are over.
    pub(super) fn offers_over(&self) -> usize {
        let books = self.books();
        let over = books.offers.values().filter(|offer| **offer == Offer::Over);
        over.count()
    }

    /// A producer was told of a task.
    pub(super) fn told(&self, bridge: &HostName, task: TaskId, key: Option<&str>) {
        let mut books = self.books();
        let tasks = books.told.entry(bridge.clone()).or_default();
        tasks.insert(task, key.map(str::to_owned));
    }

    /// The tasks of a bridge that producers were told of, and the key of each.
    pub(super) fn tasks_of(&self, bridge: &HostName) -> BTreeMap<TaskId, Option<String>> {
        self.books().told.get(bridge).cloned().unwrap_or_default()
    }

    /// Counts an execution of a task; gives how many went before.
    pub(super) fn executes(&self, task: TaskId) -> usize {
        let mut books = self.books();
        let count = books.executions.entry(task).or_default();
        *count += 1;
        *count - 1
    }

    /// The effect of a task is in the world.
    pub(super) fn is_effected(&self, task: TaskId) -> bool {
        self.books().effects.contains_key(&task)
    }

    /// Puts the effect of a task into the world, by the hands of this endpoint.
    pub(super) fn effect(&self, endpoint: &HostName, task: TaskId) {
        self.books().effects.insert(task, endpoint.clone());
    }

    /// The effects that an endpoint has had.
    pub(super) fn effects_at(&self, endpoint: &HostName) -> Vec<TaskId> {
        let books = self.books();
        let of_endpoint = books.effects.iter().filter(|(_, at)| *at == endpoint);
        of_endpoint.map(|(task, _)| *task).collect()
    }

    /// An effect is being written, and its outcome isn't known yet.
    pub(super) fn begin_effect(&self, delivery: DeliveryId, op: OpId) {
        self.books().begun.insert(delivery.task, (delivery, op));
    }

    /// The effect was written; says under which delivery, if it was being written.
    pub(super) fn end_effect(
        &self,
        endpoint: &HostName,
        task: TaskId,
    ) -> Option<(DeliveryId, OpId)> {
        let mut books = self.books();
        books.effects.insert(task, endpoint.clone());
        books.begun.remove(&task)
    }

    /// Effects that were being written when a process died.
    pub(super) fn begun_effects(&self) -> Vec<TaskId> {
        self.books().begun.keys().copied().collect()
    }
}
