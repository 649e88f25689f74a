//! The liveness phase: what is healed, what stays, and what is still pending.

use super::life::HostLife;
use super::seat::HostOrder;
use super::world::{Panicked, World};
use crate::history::What;
use crate::liveness::pending;
use crate::net::Dead;
use crate::plan::{FaultKind, HostName, LivenessSpec, Micros};

/// How long a bridge may take to end in order, to start, and to tell its endpoint what it could not before.
const ONCE_MORE: Micros = Micros::from_secs(60);

/// Ends of a bridge from which on it is looked at what they leave behind at its endpoint.
const DEATHS_MANY: usize = 5;

impl World<'_> {
    /// Stops the workload, heals the core and makes every other fault that is on permanent.
    pub(super) fn settle(&mut self) {
        self.shared.stop();
        self.next_fault = self.plan.faults.len();
        self.strike_armed();
        let core = &self.plan.liveness;
        let ids: Vec<_> = self.on.keys().copied().collect();
        for id in ids {
            if is_of_core(&self.on[&id].spec.kind, core) {
                self.end(id);
            } else if let Some(on) = self.on.get_mut(&id) {
                on.until = None;
            }
        }
        let hosts: Vec<_> = self.lives.keys().cloned().collect();
        for host in hosts {
            if host == core.bridge || host == core.endpoint {
                self.boot_now(&host);
            } else {
                self.leave_down(&host);
            }
        }
        // The transport that isn't of the core is dead from now on, in one of the ways a transport can be.
        let silent = self.plan.seed.draws("dead transport").one_in(2);
        let dead = if silent { Dead::Silent } else { Dead::Refused };
        let (bridge, endpoint) = (&core.bridge, &core.endpoint);
        self.network
            .heal_between(&self.sim, bridge, endpoint, core.transports, dead);
        for route in &self.plan.topology.routes {
            let seat = self.shared.seat(&core.bridge);
            seat.order(HostOrder::Resume(route.name.clone()));
        }
        self.record(What::Settling {
            bridge: core.bridge.clone(),
            endpoint: core.endpoint.clone(),
        });
    }

    /// Whether nothing is pending on a bridge that is up, on the routes to an endpoint or on all.
    pub(super) fn is_empty(&self, bridge: &HostName, endpoint: Option<&HostName>) -> bool {
        let Some(node) = self.shared.seat(bridge).node() else {
            return false;
        };
        let status = node.queue().status();
        let mut ours = status
            .routes
            .iter()
            .filter(|route| self.leads_to(&route.route, endpoint));
        ours.all(|route| route.counts.pending() == 0)
    }

    /// Where the bridge had many lives it is stopped in order once more, and started: what no life before could
    /// tell its endpoint it tells now. Says how much the inbox still holds then. Allowed is what is in poison. Nothing is
    /// said where other bridges leave something behind, or where the endpoint may have lost what it was told.
    pub(super) fn live_once_more(&mut self) -> Result<(), Panicked> {
        let core = self.plan.liveness.clone();
        if !self.is_told_everything() || !self.is_empty(&core.bridge, None) {
            return Ok(());
        }
        self.ask_to_end(&core.bridge);
        let deadline = self.now().plus(ONCE_MORE);
        let mut has_ended = false;
        while self.now() < deadline {
            self.advance()?;
            if matches!(self.lives[&core.bridge], HostLife::Down { .. }) {
                has_ended = true;
                self.boot_now(&core.bridge);
            } else if has_ended && self.inbox().is_some_and(|(tasks, poison)| tasks <= poison) {
                break;
            }
        }
        if let Some((value, limit)) = self.inbox() {
            let name = "inbox_entries".into();
            self.record_of(&core.endpoint, What::Gauge { name, value, limit });
        }
        Ok(())
    }

    /// How many tasks the core's inbox held lately, and how many its bridge has in poison, if that is up.
    pub(super) fn inbox(&self) -> Option<(u64, u64)> {
        let core = &self.plan.liveness;
        let node = self.shared.seat(&core.bridge).node()?;
        let tasks = self.shared.seat(&core.endpoint).inbox_tasks();
        Some((tasks, node.queue().counts().poison))
    }

    fn is_told_everything(&self) -> bool {
        let (plan, core) = (self.plan, &self.plan.liveness);
        let topology = &plan.topology;
        let is_alone = topology.bridges.len() == 1 && topology.endpoints.len() == 1;
        let mut deaths = 0;
        let mut faults = plan.faults.iter();
        let keeps_what_it_is_told = faults.all(|fault| match &fault.kind {
            FaultKind::Network { .. } | FaultKind::Point { .. } => true,
            FaultKind::Crash { host, .. }
            | FaultKind::PowerCut { host, .. }
            | FaultKind::Drain { host } => {
                deaths += 1;
                *host == core.bridge
            }
            _ => false,
        });
        is_alone && keeps_what_it_is_told && deaths >= DEATHS_MANY
    }

    /// What is pending on the core, in words.
    pub(super) fn reasons(&self) -> Vec<String> {
        let core = &self.plan.liveness;
        let Some(node) = self.shared.seat(&core.bridge).node() else {
            return vec![format!("bridge `{}` is not up", core.bridge)];
        };
        let concerns = |route: &str| self.leads_to(route, Some(&core.endpoint));
        let mut reasons = pending(node.queue(), &concerns, Some(&node.status().bridge));
        if reasons.is_empty() {
            reasons.push("it emptied itself too late, or not for long enough".to_owned());
        }
        reasons
    }

    fn leads_to(&self, route: &str, endpoint: Option<&HostName>) -> bool {
        let routes = &self.plan.topology.routes;
        let spec = routes.iter().find(|spec| spec.name == route);
        match (endpoint, spec) {
            (None, _) => true,
            (Some(endpoint), Some(spec)) => spec.endpoint == *endpoint,
            (Some(_), None) => false,
        }
    }
}

/// Whether a fault keeps the core from working.
fn is_of_core(kind: &FaultKind, core: &LivenessSpec) -> bool {
    let mut hosts = kind.hosts().into_iter();
    hosts.all(|host| *host == core.bridge || *host == core.endpoint)
}
