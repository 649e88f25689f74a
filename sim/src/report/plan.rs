//! A plan in a few lines: who is there, how much of what happens, and each fault.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::words;
use crate::plan::{Behaviour, FaultSpec, OpKind, Plan};

/// A plan in a few lines for people: hosts, operations, faults.
pub fn summary(plan: &Plan) -> String {
    let world = format!("{:?}", plan.speed).to_lowercase();
    let mut text = format!(
        "{} seed {}: {world} world, tick {}, {} of workload and faults, then at most {} to finish\n",
        plan.scenario, plan.seed, plan.tick, plan.duration, plan.liveness.budget,
    );
    let topology = &plan.topology;
    let hosts = topology.producers.iter().chain(&topology.bridges);
    let hosts = hosts.map(|host| host.0.to_string());
    let endpoints = topology.endpoints.iter().map(|endpoint| {
        format!(
            "{} ({})",
            endpoint.host,
            format!("{:?} inbox", endpoint.inbox).to_lowercase()
        )
    });
    let hosts: Vec<_> = hosts.chain(endpoints).collect();
    let _ = writeln!(text, "hosts: {}", hosts.join(", "));
    let routes: Vec<_> = topology
        .routes
        .iter()
        .map(|route| format!("{} to {}", route.name, route.endpoint))
        .collect();
    let _ = writeln!(text, "routes: {}", routes.join(", "));
    let _ = writeln!(text, "{} operations: {}", plan.ops.len(), counted(plan));
    let _ = writeln!(text, "{} faults:", plan.faults.len());
    for spec in &plan.faults {
        let _ = writeln!(text, "{}", fault(spec));
    }
    text
}

/// How many operations there are of which kind; enqueues by what their endpoint does first.
fn counted(plan: &Plan) -> String {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for op in &plan.ops {
        let kind = match &op.kind {
            OpKind::Enqueue {
                behaviour: Behaviour(steps),
                ..
            } => {
                let step = steps.first().map(ToString::to_string).unwrap_or_default();
                step.split(' ').next().unwrap_or_default().to_owned()
            }
            OpKind::RequeueAll => "requeue all".to_owned(),
            OpKind::RequeueJob => "requeue job".to_owned(),
            OpKind::Purge { .. } => "purge".to_owned(),
            OpKind::Pause { .. } => "pause".to_owned(),
            OpKind::MoveRoute { .. } => "move route".to_owned(),
            OpKind::Drain { .. } => "drain".to_owned(),
        };
        *kinds.entry(kind).or_default() += 1;
    }
    let kinds: Vec<_> = kinds
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    kinds.join(", ")
}

/// A fault as data already has its names: they are shown without the syntax.
fn fault(spec: &FaultSpec) -> String {
    let kind = serde_json::to_value(&spec.kind).unwrap_or_default();
    let fields = kind.as_object().into_iter().flatten();
    let mut words: Vec<String> = ["type", "kind"]
        .iter()
        .filter_map(|name| kind.get(name))
        .map(bare)
        .collect();
    let rest = fields.filter(|(name, _)| !matches!(name.as_str(), "type" | "kind"));
    words.extend(rest.map(|(name, value)| format!("{name} {}", bare(value))));
    let (at, id, span) = (words::seconds(spec.at), spec.id, spec.span);
    format!("{at:>12}  {id} for {span}: {}", words.join(", "))
}

fn bare(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), ToOwned::to_owned)
}
