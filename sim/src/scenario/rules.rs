//! The rules every scenario keeps: what makes no sense, and the fault model.
//!
//! Nothing is injected that the design doesn't promise to survive, unless the scenario says which guarantees
//! that lifts:
//!
//! - a disk that lies (a sync that makes nothing durable, bits that flip at rest, a write that lands elsewhere,
//!   a lost directory entry) lifts *nothing lost* and *durable is durable*, and the scenario says so;
//! - errors of reads pass: they are bounded in number;
//! - a fault is refused where the world that runs the scenario has nothing it could strike.

use std::collections::BTreeSet;

use leasebridge::journal::{Geometry, GeometryOptions};

use super::draw::{FAMILIES, IDS_PER_FAMILY, whole_pages};
use super::{Act, DiskWhat, FaultRange, FaultTemplate, Hosts, Scenario, StepKind};
use crate::plan::{Family, HostName, Inbox, Invariant, STRANGER, Speed};

/// A scenario that breaks a rule. Nothing was drawn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct RuleBroken {
    /// The part of the scenario that breaks it.
    pub subject: Subject,
    /// Which rule, and what to do.
    pub what: String,
}

/// The part of a scenario that breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// This key at the top.
    Key(&'static str),
    /// The fault with this index.
    Fault(usize),
}

/// Bytes of a body beside its padding: who made it, and how its endpoint is to behave.
const BODY_BYTES_BESIDE: u32 = 1 << 10;

type Checked = Result<(), RuleBroken>;

/// Checks all of them.
pub(super) fn check(scenario: &Scenario) -> Checked {
    lifts(scenario)?;
    topology(scenario)?;
    workload(scenario)?;
    log(scenario)?;
    for (index, fault) in scenario.faults.iter().enumerate() {
        let broken = |what: String| RuleBroken {
            subject: Subject::Fault(index),
            what,
        };
        places(scenario, fault).map_err(broken)?;
        belongs_to_world(scenario, fault).map_err(broken)?;
        is_survived(scenario, fault).map_err(broken)?;
    }
    for family in FAMILIES {
        let entries = scenario.faults.iter().filter(|f| f.what.family() == family);
        let episodes: u32 = entries.map(|fault| fault.count.max).sum();
        holds(episodes < IDS_PER_FAMILY, "fault", || {
            format!(
                "a run may have up to {episodes} faults of one family; at most 99: lower `count`"
            )
        })?;
    }
    Ok(())
}

fn lifts(scenario: &Scenario) -> Checked {
    let mut lifts = scenario.lifts.iter();
    holds(lifts.all(|lifted| lifted.may_be_lifted()), "lifts", || {
        "no fault excuses an inbox that differs from its reference: leave `inbox_agrees` out"
            .to_owned()
    })
}

fn holds(holds: bool, key: &'static str, what: impl FnOnce() -> String) -> Checked {
    if holds {
        return Ok(());
    }
    Err(RuleBroken {
        subject: Subject::Key(key),
        what: what(),
    })
}

fn topology(scenario: &Scenario) -> Checked {
    let topology = &scenario.topology;
    let endpoints = topology.endpoints.iter().map(|e| &e.host);
    let hosts: Vec<&HostName> = topology
        .producers
        .iter()
        .chain(&topology.bridges)
        .chain(endpoints)
        .collect();
    let mut seen = BTreeSet::new();
    for host in hosts {
        holds(seen.insert(host), "topology", || {
            format!("two hosts are called `{host}`")
        })?;
        let is_role =
            ["bridges", "endpoints", "producers", STRANGER, "world", ""].contains(&&*host.0);
        holds(!is_role, "topology", || {
            format!("no host can be called `{host}`")
        })?;
    }
    let mut names = BTreeSet::new();
    for route in &topology.routes {
        let name = &route.name;
        holds(names.insert(name), "topology", || {
            format!("two routes are called `{name}`")
        })?;
        let leads = topology.endpoints.iter().any(|e| e.host == route.endpoint);
        holds(leads, "topology", || {
            format!(
                "route `{name}` leads to `{}`, which is no endpoint",
                route.endpoint
            )
        })?;
        let drawn = !route.transports.is_empty() && !route.on_lost_inbox.is_empty();
        holds(drawn, "topology", || {
            format!("route `{name}` has nothing to draw its transports or its `on_lost_inbox` from")
        })?;
    }
    let inboxes = topology.endpoints.iter().all(|e| !e.inbox.is_empty());
    let roles = [
        topology.producers.len(),
        topology.bridges.len(),
        names.len(),
    ];
    holds(inboxes && !roles.contains(&0), "topology", || {
        "it needs a producer, a bridge, an endpoint with an inbox, and a route".to_owned()
    })
}

fn workload(scenario: &Scenario) -> Checked {
    let workload = &scenario.workload;
    let weights: u64 = workload
        .behaviours
        .iter()
        .map(|b| u64::from(b.weight))
        .sum();
    holds(weights > 0, "workload", || {
        "the behaviours have no weight: give at least one of them one".to_owned()
    })?;
    let first = workload.behaviours.first().map_or(0, |b| b.weight);
    holds(!scenario.swarm.mix || first > 0, "workload", || {
        "with `swarm.mix` the first behaviour is always on, so it needs a weight".to_owned()
    })?;
    let until = workload.until.unwrap_or(scenario.duration);
    holds(workload.from <= until, "workload", || {
        format!("it ends at {until}, before it begins at {}", workload.from)
    })?;
    let calls_handlers = scenario.speed == Speed::Core
        || scenario
            .topology
            .endpoints
            .iter()
            .any(|endpoint| endpoint.inbox.iter().any(|inbox| *inbox != Inbox::Effect));
    let mut steps = workload.behaviours.iter().flat_map(|mix| &mix.steps);
    let needs_handlers =
        steps.any(|step| !matches!(step.kind, StepKind::Done(_) | StepKind::KillEndpoint));
    holds(calls_handlers || !needs_handlers, "workload", || {
        "an `effect` inbox calls no handler, so that all it can do is `done` and `kill_endpoint`: give an endpoint \
         an `inbox` of another kind"
            .to_owned()
    })?;
    let moves = workload
        .operators
        .iter()
        .any(|operator| operator.act == Act::MoveRoute);
    let routes = scenario.topology.routes.len();
    holds(!moves || routes > 1, "operator", || {
        "`move_route` needs another route to move to".to_owned()
    })?;
    let drains = workload
        .operators
        .iter()
        .any(|o| matches!(o.act, Act::Drain { .. } | Act::RequeueJob));
    holds(!drains || scenario.speed == Speed::Core, "operator", || {
        "`drain` takes tasks out of the queue by its API, which only the core world does: \
         set `speed = \"core\"`"
            .to_owned()
    })
}

/// The smallest segment holds the largest body, or the queue would refuse to open.
fn log(scenario: &Scenario) -> Checked {
    let bytes = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
    let options = GeometryOptions {
        segment_bytes: bytes(whole_pages(scenario.knobs.segment_bytes.min)),
        body_bytes_max: bytes(scenario.workload.padding.max.0).saturating_add(BODY_BYTES_BESIDE),
    };
    let geometry = Geometry::new(options);
    holds(geometry.is_ok(), "knobs", || {
        let why = geometry.err().map(|error| error.to_string());
        format!(
            "`workload.padding` is too large for the log: {}",
            why.unwrap_or_default()
        )
    })
}

/// The hosts of a fault exist, and are such that it can strike them.
fn places(scenario: &Scenario, fault: &FaultRange) -> Result<(), String> {
    let topology = &scenario.topology;
    let name = fault.what.name();
    let is = |hosts: &Hosts, role: &Hosts| match (hosts, role) {
        (Hosts::Named(host), Hosts::Bridges) => topology.bridges.contains(host),
        (Hosts::Named(host), Hosts::Producers) => topology.producers.contains(host),
        (Hosts::Named(host), Hosts::Endpoints) => {
            topology.endpoints.iter().any(|e| e.host == *host)
        }
        (hosts, role) => hosts == role,
    };
    let roles: &[Hosts] = match fault.what.family() {
        Family::Disk if has_inbox_disk(scenario, &fault.what) => {
            &[Hosts::Bridges, Hosts::Endpoints]
        }
        Family::Disk | Family::Points => &[Hosts::Bridges],
        Family::Endpoint => &[Hosts::Endpoints],
        Family::Strangers => &[Hosts::Bridges, Hosts::Endpoints],
        _ => &[Hosts::Bridges, Hosts::Endpoints, Hosts::Producers],
    };
    if fault.on.is_empty() {
        return Err(format!("`{name}` has no host to strike"));
    }
    for hosts in fault.on.iter().chain(&fault.to) {
        if !roles.iter().any(|role| is(hosts, role)) {
            let roles: Vec<String> = roles.iter().map(Hosts::to_string).collect();
            return Err(format!(
                "`{name}` strikes {}, not `{hosts}`",
                roles.join(", ")
            ));
        }
    }
    let is_network = fault.what.family() == Family::Network;
    if is_network == fault.to.is_empty() {
        return Err(format!(
            "`{name}` lies between two hosts only if it is a network fault"
        ));
    }
    if is_network && fault.on.iter().any(|a| fault.to.contains(a)) {
        return Err(format!("`{name}` lies between a host and itself"));
    }
    Ok(())
}

/// An endpoint has a disk of its own in the full world, on which there is no folder of segments.
fn has_inbox_disk(scenario: &Scenario, what: &FaultTemplate) -> bool {
    let by_log = matches!(
        what,
        FaultTemplate::Disk {
            kind: DiskWhat::NoFiles | DiskWhat::FolderReplaced,
            ..
        }
    );
    scenario.speed == Speed::Full && !by_log
}

/// The core world models the network by what becomes of a request, so that it has no pings to swallow, and nobody can
/// connect.
fn belongs_to_world(scenario: &Scenario, fault: &FaultRange) -> Result<(), String> {
    let needs_network = matches!(
        fault.what,
        FaultTemplate::SwallowsPings | FaultTemplate::Stranger { .. }
    );
    let is_between_lives = matches!(
        fault.what,
        FaultTemplate::Disk {
            kind: DiskWhat::MarkHurt(_),
            ..
        }
    );
    if scenario.speed == Speed::Full && is_between_lives {
        return Err(
            "`mark_hurt` happens between the lives of the core world: set `speed = \"core\"`"
                .to_owned(),
        );
    }
    if scenario.speed == Speed::Core && needs_network {
        let name = fault.what.name();
        return Err(format!(
            "`{name}` has nothing to strike in the core world: set `speed = \"full\"`"
        ));
    }
    Ok(())
}

/// What the design doesn't promise to survive lifts a guarantee.
fn is_survived(scenario: &Scenario, fault: &FaultRange) -> Result<(), String> {
    let FaultTemplate::Disk { kind, times, .. } = fault.what else {
        return Ok(());
    };
    if kind == DiskWhat::ReadError && (times.min == 0 || times.max > 100) {
        return Err("errors of reads pass: bound them with `times = 1..100` or less".to_owned());
    }
    let missing = [Invariant::NothingLost, Invariant::DurableIsDurable]
        .into_iter()
        .find(|invariant| !scenario.lifts.contains(invariant));
    if kind.lies() && missing.is_some() {
        let name = kind.name();
        return Err(format!(
            "`{name}` breaks what a disk promises, and the queue with it: \
             say so with `lifts = [\"nothing_lost\", \"durable_is_durable\"]`"
        ));
    }
    Ok(())
}
