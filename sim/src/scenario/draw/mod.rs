//! From a scenario and a seed to a plan.
//!
//! Every part has a stream of its own, named after it: `config`, `swarm`, `workload`, `operators`, `schedule`,
//! `liveness`, and one for each entry of the faults, named by family, kind and its number among its like. A
//! plan's parts therefore don't shift when another part of the scenario changes.

mod clash;
mod fault;
mod kind;
mod knobs;
mod workload;

use std::collections::BTreeSet;

#[cfg(test)]
pub(super) use clash::exclude;
pub(super) use fault::{FAMILIES, IDS_PER_FAMILY};
pub(super) use knobs::whole_pages;

use super::Scenario;
use crate::plan::{
    EndpointSpec, HostName, LivenessSpec, OpKind, OpSpec, PLAN_FORMAT, Plan, RouteSpec, Step,
    Topology, Transports,
};
use crate::seed::{Draws, Seed};

/// Draws the whole of it.
pub(super) fn plan(scenario: &Scenario, seed: Seed) -> Plan {
    let mut config = seed.draws("config");
    let mut topology = topology(scenario, seed, &mut config);
    let knobs = knobs::draw(&scenario.knobs, &mut config);
    let ops = workload::draw(scenario, seed);
    spare_a_handler(&mut topology, &ops);
    Plan {
        format: PLAN_FORMAT,
        scenario: scenario.name.clone(),
        seed,
        speed: scenario.speed,
        tick: scenario.tick,
        duration: scenario.duration,
        liveness: liveness(scenario, &topology, &mut seed.draws("liveness")),
        ops,
        faults: fault::draw(scenario, &topology, seed),
        topology,
        knobs,
        lifts: scenario.lifts.clone(),
        expects: scenario.expects.clone(),
    }
}

fn topology(scenario: &Scenario, seed: Seed, draws: &mut Draws) -> Topology {
    let range = &scenario.topology;
    let mut limits = seed.draws("limits");
    let mut endpoint = |endpoint: &super::EndpointRange, draws: &mut Draws| EndpointSpec {
        host: endpoint.host.clone(),
        inbox: *pick(&endpoint.inbox, draws),
        handlers: endpoint.handlers.draw(draws),
        in_flight: endpoint.in_flight.draw(&mut limits),
    };
    let route = |route: &super::RouteRange, draws: &mut Draws| RouteSpec {
        name: route.name.clone(),
        endpoint: route.endpoint.clone(),
        transports: *pick(&route.transports, draws),
        on_lost_inbox: *pick(&route.on_lost_inbox, draws),
    };
    Topology {
        producers: range.producers.clone(),
        bridges: range.bridges.clone(),
        endpoints: range.endpoints.iter().map(|e| endpoint(e, draws)).collect(),
        routes: range.routes.iter().map(|r| route(r, draws)).collect(),
    }
}

/// Leaves each endpoint a handler, and a place on each connection, beside those that silent commands keep for good: with
/// none nothing behind them would ever be executed, and nobody promises that.
fn spare_a_handler(topology: &mut Topology, ops: &[OpSpec]) {
    for endpoint in &mut topology.endpoints {
        let leads_here = |name: &str| {
            let mut routes = topology.routes.iter();
            routes.any(|route| route.name == name && route.endpoint == endpoint.host)
        };
        let silent = ops.iter().filter(|op| match &op.kind {
            OpKind::Enqueue {
                route, behaviour, ..
            } => behaviour.0.contains(&Step::Silent) && leads_here(route),
            _ => false,
        });
        let kept = u32::try_from(silent.count()).unwrap_or(u32::MAX);
        let least = kept.saturating_add(1);
        endpoint.handlers = endpoint.handlers.max(least);
        endpoint.in_flight = endpoint.in_flight.max(least);
    }
}

/// The core of the liveness phase: one bridge, an endpoint, one transport that all routes to it have.
fn liveness(scenario: &Scenario, topology: &Topology, draws: &mut Draws) -> LivenessSpec {
    let range = &scenario.liveness;
    let endpoints: BTreeSet<&HostName> = topology.routes.iter().map(|r| &r.endpoint).collect();
    let endpoints: Vec<&HostName> = endpoints.into_iter().collect();
    let (bridge, endpoint) = (pick(&topology.bridges, draws), *pick(&endpoints, draws));
    let endpoint = range.endpoint.as_ref().unwrap_or(endpoint);
    let of_all = |transport: Transports| {
        let mut routes = topology.routes.iter().filter(|r| r.endpoint == *endpoint);
        routes.all(|r| r.transports == Transports::Both || r.transports == transport)
    };
    let prefers_socket = draws.one_in(2);
    let transports = match (of_all(Transports::Socket), of_all(Transports::Grpc)) {
        (true, true) if prefers_socket => Transports::Socket,
        (true, true) | (false, true) => Transports::Grpc,
        (true, false) => Transports::Socket,
        (false, false) => Transports::Both,
    };
    LivenessSpec {
        budget: range.budget,
        bridge: range.bridge.as_ref().unwrap_or(bridge).clone(),
        endpoint: endpoint.clone(),
        transports: range.transports.unwrap_or(transports),
    }
}

/// One of them.
///
/// # Panics
/// If there is none; [`Scenario::check`] has seen to it.
fn pick<'a, T>(choices: &'a [T], draws: &mut Draws) -> &'a T {
    &choices[draws.index(choices.len())]
}

/// True in so many of a hundred draws.
fn happens(share: super::Percent, draws: &mut Draws) -> bool {
    draws.below(100) < u64::from(share.0)
}
