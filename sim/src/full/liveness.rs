//! The liveness phase: what is healed, what stays, and what is still pending.

use super::seat::HostOrder;
use super::world::World;
use crate::history::What;
use crate::liveness::pending;
use crate::net::Dead;
use crate::plan::{FaultKind, HostName, LivenessSpec};

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
