//! Plans made by hand, and what must hold after any of them.

use std::collections::BTreeMap;

use leasebridge_sim::full;
use leasebridge_sim::history::{self, Record, What};
use leasebridge_sim::plan::{
    Behaviour, EndpointSpec, FaultId, FaultKind, FaultSpec, HostName, Inbox, Knobs, LivenessSpec,
    Micros, OnLost, OpId, OpKind, OpSpec, PLAN_FORMAT, Plan, RouteSpec, Speed, Step, Topology,
    Transports,
};
use leasebridge_sim::run::Ran;
use leasebridge_sim::seed::Seed;

/// The hosts of the smallest world.
pub(crate) const PRODUCER: &str = "producer";
pub(crate) const BRIDGE: &str = "bridge";
pub(crate) const ENDPOINT: &str = "endpoint";
pub(crate) const ROUTE: &str = "orders";

/// Three hosts, and so many commands with keys, evenly over `duration`; no faults.
pub(crate) fn plan(seed: u64, commands: u32, duration: Micros) -> Plan {
    let (bridge, endpoint) = (HostName::from(BRIDGE), HostName::from(ENDPOINT));
    let every = duration.0 / u64::from(commands.max(1));
    let op = |number: u32| OpSpec {
        id: OpId(number),
        at: Micros(every * u64::from(number)),
        bridge: BRIDGE.into(),
        kind: enqueue(Some(number), vec![Step::Done(Micros::from_millis(5))]),
    };
    Plan {
        format: PLAN_FORMAT,
        scenario: "by hand".into(),
        seed: Seed(seed),
        speed: Speed::Full,
        tick: Micros::from_millis(10),
        duration,
        liveness: LivenessSpec {
            budget: Micros::from_secs(120),
            bridge: bridge.clone(),
            endpoint: endpoint.clone(),
            transports: Transports::Both,
        },
        topology: Topology {
            producers: vec![PRODUCER.into()],
            bridges: vec![bridge],
            endpoints: vec![EndpointSpec {
                host: endpoint.clone(),
                inbox: Inbox::Memory,
                handlers: 16,
                in_flight: 1_024,
            }],
            routes: vec![RouteSpec {
                name: ROUTE.into(),
                endpoint,
                transports: Transports::Both,
                on_lost_inbox: OnLost::Redeliver,
            }],
        },
        knobs: Knobs {
            lease: Micros::from_secs(30),
            max_hold: Micros::from_secs(300),
            max_retries: 5,
            max_in_doubt: 20,
            backoff: [Micros::from_millis(250), Micros::from_secs(10)],
            segment_bytes: 65_536,
            log_bytes_max: 4 << 20,
            cache_bytes: 1 << 20,
            capacity: 10_000,
            window: 32,
            key_window: Micros::from_secs(3_600),
            heartbeat: Micros::from_secs(5),
            latency: [Micros::from_millis(1), Micros::from_millis(20)],
            schedule: Vec::new(),
            max_age: None,
            line: None,
        },
        lifts: Vec::new(),
        expects: Vec::new(),
        ops: (0..commands).map(op).collect(),
        faults: Vec::new(),
    }
}

/// An enqueue, with a key if it has a number.
pub(crate) fn enqueue(key: Option<u32>, steps: Vec<Step>) -> OpKind {
    OpKind::Enqueue {
        producer: PRODUCER.into(),
        route: ROUTE.into(),
        key: key.map(|number| format!("key {number}")),
        deadline: None,
        padding: 32,
        behaviour: Behaviour(steps),
    }
}

/// A fault at a time, for a time.
pub(crate) fn fault(id: u32, at: Micros, span: Micros, kind: FaultKind) -> FaultSpec {
    let id = FaultId(id);
    FaultSpec { id, at, span, kind }
}

/// Runs a plan that ends well: without a panic, and with nothing pending.
pub(crate) fn run(plan: &Plan) -> Ran {
    let ran = full::run(plan);
    assert_eq!(ran.panic, None, "{}", story(&ran));
    let pending = ran.records.iter().find_map(|record| match &record.what {
        What::Pending { reasons } => Some(reasons.clone()),
        _ => None,
    });
    assert_eq!(pending, Some(Vec::new()), "{}", story(&ran));
    ran
}

/// Runs it, and checks that each command was accepted and each task executed once and only once.
pub(crate) fn run_once_each(plan: &Plan) -> Ran {
    let ran = run(plan);
    let accepted = by_op(&ran, |what| match what {
        What::Accepted { op, .. } => Some(*op),
        _ => None,
    });
    let done = by_op(&ran, |what| match what {
        What::Executed { op, result, .. } if result == "done" => Some(*op),
        _ => None,
    });
    let once: BTreeMap<OpId, usize> = plan.ops.iter().map(|op| (op.id, 1)).collect();
    assert_eq!(accepted, once, "accepted: {}", story(&ran));
    assert_eq!(done, once, "executed: {}", story(&ran));
    ran
}

fn by_op(ran: &Ran, of: impl Fn(&What) -> Option<OpId>) -> BTreeMap<OpId, usize> {
    let mut counts = BTreeMap::new();
    for op in ran.records.iter().filter_map(|record| of(&record.what)) {
        *counts.entry(op).or_default() += 1;
    }
    counts
}

/// How many records satisfy `is`.
pub(crate) fn count(ran: &Ran, is: impl Fn(&What) -> bool) -> usize {
    ran.records.iter().filter(|record| is(&record.what)).count()
}

/// The run in a few lines: everything that isn't of the many.
pub(crate) fn story(ran: &Ran) -> String {
    let few = |record: &&Record| {
        !matches!(
            record.what,
            What::Fed { .. } | What::Gauge { .. } | What::Counted { .. } | What::Found { .. }
        )
    };
    let last = ran.records.iter().filter(few);
    let lines: Vec<_> = last
        .map(|record| {
            format!(
                "{} {} {:?}",
                history::time(record),
                record.host,
                record.what
            )
        })
        .collect();
    let from = lines.len().saturating_sub(120);
    format!(
        "{} records, panic {:?}\n{}",
        ran.records.len(),
        ran.panic,
        lines[from..].join("\n")
    )
}

/// Checks that no task was executed twice.
pub(crate) fn done_at_most_once(ran: &Ran) {
    let done = by_op(ran, |what| match what {
        What::Executed { op, result, .. } if result == "done" => Some(*op),
        _ => None,
    });
    let twice: Vec<_> = done.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{twice:?}: {}", story(ran));
}
