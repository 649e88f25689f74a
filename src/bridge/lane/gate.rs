//! When a lane may take leases: some link takes commands, and the route's breaker lets them pass.
//!
//! With the breaker open a probe is made in two steps: first a link is up and answers a heartbeat, then
//! one task is let through. Until its outcome is known nothing else is taken; the rest waits as ready.

use std::sync::Arc;

use crate::bridge::breaker::BreakerPass;
use crate::bridge::delivery::Evidence;
use crate::bridge::link::Link;
use crate::bridge::route::Route;
use crate::coverage::{Site, reached};
use crate::env::{BoxFuture, Mono, timeout};

/// See the module's description.
pub(super) struct LaneGate {
    route: Arc<Route>,
    /// The link the next command goes over first.
    link: Option<Arc<Link>>,
    open: bool,
    /// Waits until the probe is due and a heartbeat is answered.
    probe: Option<BoxFuture<'static, bool>>,
    task: TaskProbe,
}

/// The second step of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TaskProbe {
    /// The breaker is closed, or open and not that far.
    None,
    /// The heartbeat was answered; one task may pass.
    Wanted,
    /// It is under way.
    InFlight,
}

impl LaneGate {
    pub(super) fn new(route: Arc<Route>) -> Self {
        Self {
            route,
            link: None,
            open: false,
            probe: None,
            task: TaskProbe::None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Whether any link takes commands.
    pub(super) fn has_link(&self) -> bool {
        self.link.is_some()
    }

    /// Looks at links and breaker anew. `true` if the gate has been opened or shut.
    pub(super) fn look(&mut self, wanted: bool) -> bool {
        let link = self.route.first_link();
        let appeared = self.link.is_none() && link.is_some();
        self.link = link;
        let now = self.route.env.clock.now();
        let probe_at = {
            let mut breaker = self.route.breaker();
            if appeared {
                breaker.hurry(now);
                self.probe = None;
            }
            if breaker.is_closed() {
                self.task = TaskProbe::None;
            }
            breaker.probe_at()
        };
        let usable = wanted && self.link.is_some();
        self.probe = match (self.probe.take(), &self.link, probe_at) {
            (probe @ Some(_), Some(_), Some(_)) => probe,
            (None, Some(link), Some(due)) if wanted => Some(self.heartbeat_at(link, due)),
            _ => None,
        };
        let passes = self.task != TaskProbe::None || self.route.breaker().is_closed();
        std::mem::replace(&mut self.open, usable && passes) != self.open
    }

    /// How many unanswered commands the endpoint accepts.
    pub(super) fn in_flight_max(&self) -> usize {
        let most = self
            .link
            .as_ref()
            .map_or(0, |link| link.hello().in_flight_max);
        usize::try_from(most).unwrap_or(usize::MAX)
    }

    /// Of `room`, how much may be taken.
    pub(super) fn limit(&self, room: usize) -> usize {
        match self.task {
            TaskProbe::None => room,
            TaskProbe::Wanted => room.min(1),
            TaskProbe::InFlight => 0,
        }
    }

    /// The link the next command goes over first, while the gate is open.
    pub(super) fn open_link(&self) -> Option<Arc<Link>> {
        self.link.clone().filter(|_| self.open)
    }

    /// One lease starts on its way.
    pub(super) fn pass(&mut self) -> BreakerPass {
        if self.task == TaskProbe::Wanted {
            self.task = TaskProbe::InFlight;
            reached!(Site::RouteProbed);
            return BreakerPass::Probe;
        }
        BreakerPass::Free
    }

    /// One attempt has ended.
    pub(super) fn finished(&mut self, now: Mono, pass: BreakerPass, evidence: Evidence) {
        let mut breaker = self.route.breaker();
        let name = &self.route.options.name;
        match evidence {
            Evidence::Answers => {
                if breaker.answered() {
                    tracing::info!(route = %name, "the endpoint answers: leasing again");
                }
            }
            Evidence::Silence => {
                if breaker.unanswered(now, pass) {
                    tracing::warn!(route = %name, "the endpoint doesn't answer: leasing nothing");
                }
            }
            Evidence::None => {}
        }
        if pass == BreakerPass::Probe && self.task == TaskProbe::InFlight {
            // One that says nothing leaves its place to the next.
            self.task = match evidence {
                Evidence::None => TaskProbe::Wanted,
                Evidence::Answers | Evidence::Silence => TaskProbe::None,
            };
        }
    }

    pub(super) fn is_probing(&self) -> bool {
        self.probe.is_some()
    }

    /// Waits for the first step of a probe. Cancel safe.
    pub(super) async fn probe(&mut self) -> bool {
        match &mut self.probe {
            Some(probe) => probe.await,
            None => std::future::pending().await,
        }
    }

    /// The first step of a probe has ended.
    pub(super) fn probed(&mut self, answered: bool) {
        self.probe = None;
        let now = self.route.env.clock.now();
        let mut breaker = self.route.breaker();
        let Some(pass) = breaker.pass(now) else {
            return;
        };
        if answered {
            self.task = TaskProbe::Wanted;
        } else {
            breaker.unanswered(now, pass);
        }
    }

    fn heartbeat_at(&self, link: &Arc<Link>, due: Mono) -> BoxFuture<'static, bool> {
        let link = Arc::clone(link);
        let clock = Arc::clone(&self.route.env.clock);
        let patience = self.route.options.first_sign_of_life;
        Box::pin(async move {
            clock.sleep_until(due).await;
            timeout(&*clock, patience, link.ping())
                .await
                .unwrap_or(false)
        })
    }
}
