//! What holds a whole host up: a pause, slowness, and the trap that stops it while it is busy.
//!
//! turmoil can't stop a process. What can be stopped is everything by which it touches the world: its clock,
//! transport and disk share one gate. While it is shut no timer fires, no byte is read or written, no
//! connection is opened or accepted and no disk operation begins or ends; the world goes on and time passes.
//! Timers inside tonic and h2 follow true time and may fire meanwhile, but what they lead to waits here too.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::plan::FaultId;

/// One host's gate; clones share it. Open at first.
#[derive(Clone, Debug, Default)]
pub struct HostGate(Arc<GateShared>);

#[derive(Debug, Default)]
struct GateShared {
    /// Whether anything at all is on: the fast path of every operation looks here only.
    troubled: AtomicBool,
    state: Mutex<GateState>,
}

#[derive(Debug, Default)]
struct GateState {
    pauses: BTreeSet<FaultId>,
    delays: BTreeMap<FaultId, Duration>,
    trap: Trap,
    struck: BTreeMap<FaultId, u64>,
    waiting: Vec<Waker>,
}

/// Waits for the host to be in the middle of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Trap {
    #[default]
    Unset,
    Set,
    /// The host wrote or synced: it stands still in the middle of it until it is crashed.
    Sprung,
}

impl GateState {
    fn is_shut(&self) -> bool {
        self.trap == Trap::Sprung || !self.pauses.is_empty()
    }

    fn is_troubled(&self) -> bool {
        self.trap != Trap::Unset || !self.pauses.is_empty() || !self.delays.is_empty()
    }

    fn count(&mut self, fault: FaultId) {
        *self.struck.entry(fault).or_default() += 1;
    }
}

impl HostGate {
    /// An open gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shuts it until [`HostGate::resume`] of the same fault.
    pub fn pause(&self, fault: FaultId) {
        self.change(|state| {
            state.pauses.insert(fault);
        });
    }

    /// Ends a pause; the host goes on once no other holds it.
    pub fn resume(&self, fault: FaultId) {
        self.change(|state| {
            state.pauses.remove(&fault);
        });
    }

    /// Each timer and disk operation is late by `delay` until [`HostGate::hurry`] of the same fault. Of several
    /// delays the longest counts.
    pub fn slow(&self, fault: FaultId, delay: Duration) {
        self.change(|state| {
            state.delays.insert(fault, delay);
        });
    }

    /// Ends the slowness of this fault.
    pub fn hurry(&self, fault: FaultId) {
        self.change(|state| {
            state.delays.remove(&fault);
        });
    }

    /// From now on the host's next disk write, sync or socket write stops it, its effect begun and its caller
    /// not told, until [`HostGate::forget_process`].
    pub fn set_trap(&self) {
        self.change(|state| state.trap = Trap::Set);
    }

    /// Whether the trap has sprung.
    pub fn is_trapped(&self) -> bool {
        self.is_troubled() && self.state().trap == Trap::Sprung
    }

    /// The process is gone: neither its pause nor the trap is there for the next one. Slowness is the
    /// machine's, and stays.
    pub fn forget_process(&self) {
        self.change(|state| {
            state.pauses.clear();
            state.trap = Trap::Unset;
        });
    }

    /// Whether nothing passes.
    pub fn is_shut(&self) -> bool {
        self.is_troubled() && self.state().is_shut()
    }

    /// How often each fault held something up.
    pub fn struck(&self) -> BTreeMap<FaultId, u64> {
        self.state().struck.clone()
    }

    /// The host writes: springs the trap, if one is set.
    pub(crate) fn busy(&self) {
        if self.is_troubled() && self.state().trap == Trap::Set {
            self.change(|state| state.trap = Trap::Sprung);
        }
    }

    /// Ready while the gate is open.
    pub(crate) fn poll_open(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_troubled() {
            return Poll::Ready(());
        }
        let mut state = self.state();
        if !state.is_shut() {
            return Poll::Ready(());
        }
        if !state
            .waiting
            .iter()
            .any(|waker| waker.will_wake(cx.waker()))
        {
            state.waiting.push(cx.waker().clone());
            for fault in state.pauses.clone() {
                state.count(fault);
            }
        }
        Poll::Pending
    }

    /// Completes once the gate is open.
    pub(crate) async fn opened(&self) {
        poll_fn(|cx| self.poll_open(cx)).await;
    }

    /// The end of a timer or disk operation: late if the host is slow, and never while it is paused.
    #[expect(
        clippy::disallowed_methods,
        reason = "tokio's time is simulated here, and slowness is a span of true time"
    )]
    pub(crate) async fn passed(&self) {
        if !self.is_troubled() {
            return;
        }
        let delay = {
            let mut state = self.state();
            let slowest = state.delays.iter().max_by_key(|(_, delay)| **delay);
            let slowest = slowest.map(|(fault, delay)| (*fault, *delay));
            slowest.map(|(fault, delay)| {
                state.count(fault);
                delay
            })
        };
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        self.opened().await;
    }

    fn is_troubled(&self) -> bool {
        self.0.troubled.load(Ordering::Relaxed)
    }

    fn change(&self, change: impl FnOnce(&mut GateState)) {
        let woken = {
            let mut state = self.state();
            change(&mut state);
            self.0
                .troubled
                .store(state.is_troubled(), Ordering::Relaxed);
            if state.is_shut() {
                Vec::new()
            } else {
                std::mem::take(&mut state.waiting)
            }
        };
        woken.into_iter().for_each(Waker::wake);
    }

    fn state(&self) -> MutexGuard<'_, GateState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
