//! The first cuts: what happens after the violation, and what has nothing to do with its task.

use super::Search;
use crate::plan::{HostName, Micros, OpKind, OpSpec, Plan};

/// Whole seconds that a run goes on behind the last thing that is kept.
const TAIL: Micros = Micros::from_secs(1);

/// Cuts the plan down to the violation's time, its task, its route and their hosts, as far as it still fails.
pub(super) fn to_what_matters(search: &mut Search<'_>) {
    let Some(violation) = search.failing.violation.clone() else {
        return;
    };
    search.accept(|plan| after(plan, violation.at));
    let Some(op) = violation
        .op
        .and_then(|id| search.plan.ops.iter().find(|op| op.id == id))
    else {
        return;
    };
    let op = op.clone();
    let alone = one(&search.plan, &op, |other| other.id == op.id);
    let key = one(&search.plan, &op, |other| {
        other.id == op.id || same_key(other, &op)
    });
    let route = one(&search.plan, &op, |other| {
        route(other).is_none() || route(other) == route(&op)
    });
    let mut candidates = Vec::new();
    for mut ops in [alone, key, route] {
        let everywhere = ops.clone();
        near(&mut ops, &op);
        candidates.extend([ops, everywhere]);
    }
    candidates.retain(|candidate| candidate != &search.plan);
    search.first_of(candidates);
}

/// Takes hosts, routes and producers away that nothing refers to any more.
pub(super) fn what_is_unused(search: &mut Search<'_>) {
    search.accept(|plan| {
        let used = |host: &HostName, plan: &Plan| {
            let by_op = plan.ops.iter().any(|op| hosts(op).contains(&host));
            by_op
                || plan
                    .faults
                    .iter()
                    .any(|fault| fault.kind.hosts().contains(&host))
        };
        let whole = plan.clone();
        let routes = |name: &str| whole.ops.iter().any(|op| route(op) == Some(name));
        let core = &whole.liveness;
        let topology = &mut plan.topology;
        topology.producers.retain(|host| used(host, &whole));
        topology
            .bridges
            .retain(|host| *host == core.bridge || used(host, &whole));
        topology
            .routes
            .retain(|route| route.endpoint == core.endpoint || routes(&route.name));
        let reached = |host: &HostName| topology.routes.iter().any(|route| route.endpoint == *host);
        topology
            .endpoints
            .retain(|endpoint| reached(&endpoint.host) || used(&endpoint.host, &whole));
    });
}

/// Cuts what begins after `at`, and the workload's time with it.
fn after(plan: &mut Plan, at: Micros) {
    plan.ops.retain(|op| op.at <= at);
    plan.faults.retain(|fault| fault.at <= at);
    let end = at.0 - at.0 % TAIL.0 + TAIL.0;
    plan.duration = plan.duration.min(Micros(end));
}

/// The plan with those operations alone that `keep` names.
fn one(plan: &Plan, op: &OpSpec, keep: impl Fn(&OpSpec) -> bool) -> Plan {
    let mut plan = plan.clone();
    plan.ops.retain(|other| other.id == op.id || keep(other));
    plan
}

/// Keeps the faults that touch nothing but the hosts of `op` and of its route.
fn near(plan: &mut Plan, op: &OpSpec) {
    let routes = plan.topology.routes.iter();
    let endpoint = routes
        .clone()
        .find(|of| Some(of.name.as_str()) == route(op))
        .map(|of| &of.endpoint);
    let mut near = hosts(op);
    near.extend(endpoint);
    let near: Vec<_> = near.into_iter().cloned().collect();
    plan.faults.retain(|fault| {
        fault
            .kind
            .hosts()
            .into_iter()
            .all(|host| near.contains(host))
    });
}

/// The hosts that an operation names.
fn hosts(op: &OpSpec) -> Vec<&HostName> {
    match &op.kind {
        OpKind::Enqueue { producer, .. } => vec![&op.bridge, producer],
        _ => vec![&op.bridge],
    }
}

/// The route that an operation is about.
fn route(op: &OpSpec) -> Option<&str> {
    match &op.kind {
        OpKind::Enqueue { route, .. }
        | OpKind::Purge { route }
        | OpKind::Pause { route, .. }
        | OpKind::MoveRoute { route, .. }
        | OpKind::Drain { route, .. } => Some(route),
        OpKind::RequeueAll | OpKind::RequeueJob => None,
    }
}

fn same_key(one: &OpSpec, other: &OpSpec) -> bool {
    match (&one.kind, &other.kind) {
        (
            OpKind::Enqueue { key: Some(one), .. },
            OpKind::Enqueue {
                key: Some(other), ..
            },
        ) => one == other,
        _ => false,
    }
}
