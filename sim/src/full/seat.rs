//! A host as the world and its processes share it: the machine, and what is asked of whatever runs on it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use leasebridge::env::Env;
use leasebridge::node::NodeView;
use leasebridge::observe::ListenerStatus;
use tokio::sync::Notify;

use crate::host::SimHost;
use crate::plan::{FaultId, HostName, OpId};

/// See the module.
pub(super) struct Seat {
    pub(super) name: HostName,
    pub(super) machine: SimHost,
    boots: AtomicU32,
    orders: Mutex<VecDeque<HostOrder>>,
    ordered: Notify,
    node: Mutex<Option<NodeView>>,
    manners: Mutex<Manners>,
    /// Unsettled tasks that an endpoint's inbox held when it was last asked.
    inbox_tasks: AtomicU64,
    /// What the process listens with, when it was last asked.
    listeners: Mutex<Vec<ListenerStatus>>,
}

/// Something asked of a process. Done by the next one again if the process dies of it: each may be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HostOrder {
    /// Everything that is in poison now, back to ready.
    RequeueAll(OpId),
    /// The oldest in poison of a route, out for good.
    Purge(OpId, String),
    /// What waits on the first route goes to the second one.
    Move(String, String),
    /// A route stops.
    Pause(String),
    /// A route goes on.
    Resume(String),
    /// Say where every task is that producers were told of.
    Find,
    /// Ask for new links in the place of those that are up.
    RenewLinks,
    /// A stranger begins what this fault says.
    Begin(FaultId),
    /// A stranger ceases it.
    Cease(FaultId),
    /// End in order.
    Drain,
}

/// How an endpoint's handler is told to misbehave, whatever the command says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Manners {
    pub(super) rejects: Option<FaultId>,
    pub(super) refuses: Option<FaultId>,
}

impl Seat {
    pub(super) fn new(name: HostName, machine: SimHost) -> Self {
        Self {
            name,
            machine,
            boots: AtomicU32::new(0),
            orders: Mutex::default(),
            ordered: Notify::new(),
            node: Mutex::default(),
            manners: Mutex::default(),
            inbox_tasks: AtomicU64::new(0),
            listeners: Mutex::default(),
        }
    }

    /// Unsettled tasks that an endpoint's inbox held when it was last asked.
    pub(super) fn inbox_tasks(&self) -> u64 {
        self.inbox_tasks.load(Ordering::Relaxed)
    }

    /// An endpoint's inbox holds so many unsettled tasks.
    pub(super) fn show_inbox(&self, tasks: u64) {
        self.inbox_tasks.store(tasks, Ordering::Relaxed);
    }

    /// What the process listens with, when it was last asked.
    pub(super) fn listeners(&self) -> Vec<ListenerStatus> {
        lock(&self.listeners).clone()
    }

    /// The process listens with these.
    pub(super) fn show_listeners(&self, listeners: Vec<ListenerStatus>) {
        *lock(&self.listeners) = listeners;
    }

    /// The number of a new process, from 1, and its outside.
    pub(super) fn boot(&self) -> (u32, Env) {
        let boot = self.boots.fetch_add(1, Ordering::Relaxed) + 1;
        (boot, self.machine.boot())
    }

    /// Asks something of the process, or of the next one if none is there.
    pub(super) fn order(&self, order: HostOrder) {
        self.orders().push_back(order);
        self.ordered.notify_one();
    }

    /// Forgets what was asked and not done.
    pub(super) fn forget_orders(&self) {
        self.orders().clear();
    }

    /// Whether all that was asked is done.
    pub(super) fn is_idle(&self) -> bool {
        self.orders().is_empty()
    }

    /// The oldest order. It stays until [`Seat::done`]: what a dead process left comes again.
    pub(super) async fn next_order(&self) -> HostOrder {
        loop {
            let ordered = self.ordered.notified();
            let first = self.orders().front().cloned();
            match first {
                Some(order) => return order,
                None => ordered.await,
            }
        }
    }

    /// The oldest order is done.
    pub(super) fn done(&self, order: &HostOrder) {
        let mut orders = self.orders();
        if orders.front() == Some(order) {
            orders.pop_front();
        }
    }

    /// What the world may look at; `None` if no node is up.
    pub(super) fn node(&self) -> Option<NodeView> {
        lock(&self.node).clone()
    }

    /// Shows the world a node, or that there is none any more.
    pub(super) fn show(&self, node: Option<NodeView>) {
        *lock(&self.node) = node;
    }

    pub(super) fn manners(&self) -> MutexGuard<'_, Manners> {
        lock(&self.manners)
    }

    fn orders(&self) -> MutexGuard<'_, VecDeque<HostOrder>> {
        lock(&self.orders)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
