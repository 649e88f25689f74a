//! What all processes of a run share with the world, and what survives them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Work;
use super::ledger::WorldLedger;
use super::seat::Seat;
use crate::history::{History, What};
use crate::plan::{FaultId, FaultKind, FaultSpec, HostName, Micros, OpId, OpSpec, Plan, STRANGER};

/// Connections at once: several per bridge and route, dead ones that nobody noticed yet included.
const CONNECTIONS_MAX: usize = 256;

/// As many where strangers want them all: few enough that they can take them.
const CONNECTIONS_MAX_OF_STRANGERS: usize = 64;

/// See the module.
pub(super) struct Shared {
    pub(super) plan: Plan,
    pub(super) history: History,
    pub(super) ledger: WorldLedger,
    pub(super) seats: BTreeMap<HostName, Arc<Seat>>,
    /// The largest body of the plan.
    pub(super) body_bytes_max: u32,
    /// A user's own handlers, if there are any.
    pub(super) work: Option<Arc<dyn Work>>,
    deaths: Mutex<Vec<(HostName, ProcessEnd)>>,
    struck: Mutex<BTreeMap<FaultId, u64>>,
    stopped: AtomicBool,
}

/// A process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProcessEnd {
    /// By itself: it can't go on, and its init system starts it again.
    Exit,
    /// Of a command.
    Pill,
    /// In order, as it was asked to.
    Ended,
    /// It can't start, and starting again would not help.
    Refused,
}

impl Shared {
    pub(super) fn new(
        plan: &Plan,
        seats: BTreeMap<HostName, Arc<Seat>>,
        largest: usize,
        work: Option<Arc<dyn Work>>,
    ) -> Self {
        Self {
            plan: plan.clone(),
            history: History::default(),
            ledger: WorldLedger::default(),
            seats,
            body_bytes_max: u32::try_from(largest).unwrap_or(u32::MAX).max(256),
            work,
            deaths: Mutex::default(),
            struck: Mutex::default(),
            stopped: AtomicBool::new(false),
        }
    }

    /// Writes down what happens now on a host, from within the simulation.
    pub(super) fn record(&self, host: &HostName, what: What) {
        let now = turmoil::sim_elapsed().unwrap_or_default();
        self.history.add(now.into(), host, what);
    }

    /// A remark for people.
    pub(super) fn note(&self, host: &HostName, text: String) {
        self.record(host, What::Note { text });
    }

    /// The process on a host asks to be ended. Whoever calls it does nothing more.
    pub(super) async fn die(&self, host: &HostName, death: ProcessEnd) -> ! {
        self.kill(host, death);
        std::future::pending().await
    }

    /// The process on a host dies of something, at the end of this step.
    pub(super) fn kill(&self, host: &HostName, death: ProcessEnd) {
        let mut deaths = self.deaths.lock().unwrap_or_else(PoisonError::into_inner);
        deaths.push((host.clone(), death));
    }

    /// Who died since the last look.
    pub(super) fn take_deaths(&self) -> Vec<(HostName, ProcessEnd)> {
        std::mem::take(&mut *self.deaths.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A fault changed what the product did, so often since it was last said.
    pub(super) fn strike(&self, at: Micros, fault: FaultId, times: u64) {
        let mut struck = self.struck.lock().unwrap_or_else(PoisonError::into_inner);
        *struck.entry(fault).or_default() += times;
        drop(struck);
        self.history.add(at, &world(), What::Struck { fault });
    }

    /// How often each fault did.
    pub(super) fn take_struck(&self) -> BTreeMap<FaultId, u64> {
        std::mem::take(&mut *self.struck.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The workload is over.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether the workload is over.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// The operation with this number.
    pub(super) fn op(&self, id: OpId) -> Option<&OpSpec> {
        self.plan.ops.iter().find(|op| op.id == id)
    }

    /// Where strangers connect from.
    pub(super) fn stranger(&self) -> &Arc<Seat> {
        self.seat(&STRANGER.into())
    }

    /// Connections that a host takes at once.
    pub(super) fn connections_max(&self) -> usize {
        match has_strangers(&self.plan) {
            true => CONNECTIONS_MAX_OF_STRANGERS,
            false => CONNECTIONS_MAX,
        }
    }

    /// Strangers are all that is done to the world: nothing else excuses what they are seen to get.
    pub(super) fn only_strangers(&self) -> bool {
        let mut faults = self.plan.faults.iter();
        has_strangers(&self.plan) && faults.all(is_stranger)
    }

    pub(super) fn seat(&self, host: &HostName) -> &Arc<Seat> {
        let seat = self.seats.get(host);
        seat.unwrap_or_else(|| panic!("the plan has no host `{host}`"))
    }
}

/// Whether somebody connects who means no good.
pub(super) fn has_strangers(plan: &Plan) -> bool {
    plan.faults.iter().any(is_stranger)
}

fn is_stranger(fault: &FaultSpec) -> bool {
    matches!(fault.kind, FaultKind::Stranger { .. })
}

/// The simulator itself, in the history.
pub(super) fn world() -> HostName {
    HostName::from("world")
}
