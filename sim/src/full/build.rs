//! From a plan to a simulation with all its hosts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::body::Body;
use super::seat::Seat;
use super::shared::{Shared, has_strangers};
use super::{Work, bridge_host, endpoint_host, producer_host, stranger_host};
use crate::host::SimHost;
use crate::net::Network;
use crate::plan::{HostName, Plan, STRANGER};

/// Connections that may wait to be accepted. turmoil panics beyond: more than all producers and routes
/// together open within a pause of their peer.
const TCP_CAPACITY: usize = 4_096;

/// The simulation, its network, and what its hosts share with the world.
pub(super) fn build(
    plan: &Plan,
    work: Option<Arc<dyn Work>>,
) -> (turmoil::Sim<'static>, Network, Arc<Shared>) {
    let [shortest, longest] = plan.knobs.latency;
    let mut sim = turmoil::Builder::new()
        .rng_seed(plan.seed.child("network").0)
        .epoch(SystemTime::UNIX_EPOCH)
        .tick_duration(plan.tick.as_duration())
        .min_message_latency(shortest.as_duration())
        .max_message_latency(longest.as_duration())
        .tcp_capacity(TCP_CAPACITY)
        // The world ends a run; turmoil's own bound is for runs with clients.
        .simulation_duration(Duration::MAX)
        .build();
    let network = Network::new(plan.seed, plan.knobs.latency);
    let seats = seats(plan, &network);
    let shared = Arc::new(Shared::new(plan, seats, largest_body(plan), work));
    let topology = &plan.topology;
    for name in &topology.producers {
        let (shared, seat) = (Arc::clone(&shared), Arc::clone(shared.seat(name)));
        let process = move || producer_host::run(Arc::clone(&shared), Arc::clone(&seat));
        sim.host(&*name.0, process);
    }
    for name in &topology.bridges {
        let (shared, seat) = (Arc::clone(&shared), Arc::clone(shared.seat(name)));
        let process = move || bridge_host::run(Arc::clone(&shared), Arc::clone(&seat));
        sim.host(&*name.0, process);
    }
    for spec in &topology.endpoints {
        let (shared, seat) = (Arc::clone(&shared), Arc::clone(shared.seat(&spec.host)));
        let (name, spec) = (spec.host.0.clone(), spec.clone());
        let process =
            move || endpoint_host::run(Arc::clone(&shared), Arc::clone(&seat), spec.clone());
        sim.host(&*name, process);
    }
    if has_strangers(plan) {
        let (shared, seat) = (Arc::clone(&shared), Arc::clone(shared.stranger()));
        let process = move || stranger_host::run(Arc::clone(&shared), Arc::clone(&seat));
        sim.host(STRANGER, process);
    }
    if let Some(line) = plan.knobs.line {
        for (bridge, endpoint) in topology.bridges.iter().flat_map(|bridge| {
            let endpoints = topology.endpoints.iter();
            endpoints.map(move |spec| (bridge, &spec.host))
        }) {
            network.lay_line(&sim, bridge, endpoint, line);
        }
    }
    (sim, network, shared)
}

fn seats(plan: &Plan, network: &Network) -> BTreeMap<HostName, Arc<Seat>> {
    let topology = &plan.topology;
    let stranger = HostName::from(STRANGER);
    let endpoints = topology.endpoints.iter().map(|spec| &spec.host);
    let names = topology
        .producers
        .iter()
        .chain(&topology.bridges)
        .chain(endpoints)
        .chain(has_strangers(plan).then_some(&stranger));
    let seat = |name: &HostName| {
        let machine = SimHost::new(&name.0, plan.seed, network);
        (name.clone(), Arc::new(Seat::new(name.clone(), machine)))
    };
    names.map(seat).collect()
}

fn largest_body(plan: &Plan) -> usize {
    let bodies = plan.ops.iter().filter_map(|op| Body::of(plan, op));
    bodies.map(|body| body.len()).max().unwrap_or(0)
}
