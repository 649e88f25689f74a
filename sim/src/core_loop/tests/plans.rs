//! Plans for these tests.

use crate::plan::{
    Behaviour, DiskFault, EndpointSpec, FaultId, FaultKind, FaultSpec, HostName, Inbox, Knobs,
    LivenessSpec, Micros, NetFault, OnLost, OpId, OpKind, OpSpec, PLAN_FORMAT, PeerFault, Plan,
    RouteSpec, Speed, Step, Topology, Transports, Ways,
};
use crate::seed::Seed;

pub(super) const BRIDGE: &str = "bridge";
const ENDPOINT: &str = "endpoint";
const PRODUCER: &str = "producer";
const ROUTES: [&str; 2] = ["orders", "mails"];

/// So many commands over two routes, ten a second, all of them executed in 30 ms.
pub(super) fn plan(commands: u32) -> Plan {
    let route = |name: &&str| RouteSpec {
        name: (*name).to_owned(),
        endpoint: ENDPOINT.into(),
        transports: Transports::Both,
        on_lost_inbox: OnLost::Redeliver,
    };
    Plan {
        format: PLAN_FORMAT,
        scenario: "by hand".into(),
        seed: Seed(17),
        speed: Speed::Core,
        tick: Micros::from_millis(1),
        duration: Micros::from_secs(60),
        liveness: LivenessSpec {
            budget: Micros::from_secs(600),
            bridge: BRIDGE.into(),
            endpoint: ENDPOINT.into(),
            transports: Transports::Both,
        },
        topology: Topology {
            producers: vec![PRODUCER.into()],
            bridges: vec![BRIDGE.into()],
            endpoints: vec![EndpointSpec {
                host: ENDPOINT.into(),
                inbox: Inbox::Effect,
                handlers: 16,
                in_flight: 1_024,
            }],
            routes: ROUTES.iter().map(route).collect(),
        },
        knobs: knobs(),
        lifts: Vec::new(),
        expects: Vec::new(),
        ops: (1..=commands).map(enqueue).collect(),
        faults: Vec::new(),
    }
}

fn knobs() -> Knobs {
    Knobs {
        lease: Micros::from_secs(5),
        max_hold: Micros::from_secs(60),
        max_retries: 5,
        max_in_doubt: 20,
        backoff: [Micros::from_millis(50), Micros::from_secs(2)],
        segment_bytes: 32 << 10,
        log_bytes_max: 2 << 20,
        cache_bytes: 8 << 10,
        capacity: 1_000,
        window: 8,
        key_window: Micros::from_secs(3_600),
        heartbeat: Micros::from_secs(5),
        latency: [Micros::from_millis(1), Micros::from_millis(20)],
        schedule: Vec::new(),
        max_age: None,
        line: None,
    }
}

fn enqueue(number: u32) -> OpSpec {
    OpSpec {
        id: OpId(number),
        at: Micros::from_millis(u64::from(number) * 100),
        bridge: BRIDGE.into(),
        kind: OpKind::Enqueue {
            producer: PRODUCER.into(),
            route: ROUTES[number as usize % 2].to_owned(),
            key: Some(format!("key {number}")),
            deadline: None,
            padding: 40,
            behaviour: Behaviour(vec![Step::Done(Micros::from_millis(30))]),
        },
    }
}

/// Gives the command with this number another behaviour.
pub(super) fn behave(plan: &mut Plan, number: u32, steps: &[Step]) -> OpId {
    for op in plan.ops.iter_mut().filter(|op| op.id.0 == number) {
        if let OpKind::Enqueue { behaviour, .. } = &mut op.kind {
            *behaviour = Behaviour(steps.to_vec());
        }
    }
    OpId(number)
}

/// Gives every command so many bytes more.
pub(super) fn pad(plan: &mut Plan, bytes: u32) {
    for op in &mut plan.ops {
        if let OpKind::Enqueue { padding, .. } = &mut op.kind {
            *padding = bytes;
        }
    }
}

/// An episode: when it begins and how long it lasts in milliseconds.
pub(super) fn fault(id: u32, at_ms: u64, span_ms: u64, kind: FaultKind) -> FaultSpec {
    FaultSpec {
        id: FaultId(id),
        at: Micros::from_millis(at_ms),
        span: Micros::from_millis(span_ms),
        kind,
    }
}

pub(super) fn crash(in_flight: bool) -> FaultKind {
    FaultKind::Crash {
        host: BRIDGE.into(),
        in_flight,
    }
}

pub(super) fn power_cut() -> FaultKind {
    FaultKind::PowerCut {
        host: BRIDGE.into(),
        in_flight: true,
    }
}

pub(super) fn disk(fault: DiskFault, one_in: u32, times: u32) -> FaultKind {
    FaultKind::Disk {
        host: BRIDGE.into(),
        fault,
        one_in,
        times,
    }
}

/// A little of everything that nothing may be lost by: ten faults and so many commands within 60 seconds.
pub(super) fn swarm(seed: u64, commands: u32) -> Plan {
    let mut plan = plan(commands);
    plan.seed = Seed(seed);
    let mut draws = Seed(seed).draws("swarm of the tests");
    for op in &mut plan.ops {
        op.at = Micros::from_millis(draws.below(50_000));
        let steps = match draws.below(12) {
            0 => vec![Step::Reject(Micros::from_millis(5)), Step::Done(Micros(0))],
            1 => vec![Step::Silent, Step::Done(Micros::from_millis(10))],
            2 => vec![
                Step::Unavailable(Micros::from_secs(1)),
                Step::Done(Micros(0)),
            ],
            3 => vec![Step::Refuse(Micros(0))],
            4 => vec![Step::Done(Micros::from_secs(7))],
            _ => vec![Step::Done(Micros::from_millis(draws.below(200)))],
        };
        if let OpKind::Enqueue { behaviour, .. } = &mut op.kind {
            *behaviour = Behaviour(steps);
        }
    }
    plan.ops.sort_by_key(|op| op.at);
    let (bridge, endpoint): (HostName, HostName) = (BRIDGE.into(), ENDPOINT.into());
    let network = |fault| FaultKind::Network {
        a: bridge.clone(),
        b: endpoint.clone(),
        fault,
    };
    let peer = |fault| FaultKind::Endpoint {
        host: endpoint.clone(),
        fault,
    };
    let kinds = [
        crash(true),
        power_cut(),
        crash(false),
        FaultKind::Drain {
            host: bridge.clone(),
        },
        network(NetFault::Partition { ways: Ways::Both }),
        network(NetFault::Hold),
        peer(PeerFault::NeverAnswers),
        disk(DiskFault::SyncError, 3, 1),
        FaultKind::Pause {
            host: bridge.clone(),
        },
        FaultKind::Drift {
            host: bridge.clone(),
            ppm: 200,
        },
    ];
    for (id, kind) in (1..).zip(kinds) {
        let (at, span) = (draws.below(50_000), 500 + draws.below(6_000));
        plan.faults.push(fault(id, at, span, kind));
    }
    plan.faults.sort_by_key(|fault| fault.at);
    plan
}
