//! The search over plans alone: what fails is decided by a closure.

use std::collections::BTreeSet;

use super::*;
use crate::plan::{
    Behaviour, EndpointSpec, FaultId, FaultKind, FaultSpec, HostName, Inbox, Knobs, LivenessSpec,
    Micros, OnLost, OpId, OpKind, OpSpec, PLAN_FORMAT, RouteSpec, Speed, Step, Topology,
    Transports,
};
use crate::seed::Seed;

const PLENTY: Limits = Limits { runs: 10_000 };

/// Two bridges, three endpoints, three routes; an operation every second, a fault every two.
fn plan() -> Plan {
    let endpoints = ["endpoint0", "endpoint1", "endpoint2"];
    let ops = (1..=60).map(|number: u32| OpSpec {
        id: OpId(number),
        at: Micros::from_secs(number.into()),
        bridge: format!("bridge{}", number % 2).as_str().into(),
        kind: OpKind::Enqueue {
            producer: "producer".into(),
            route: format!("route{}", number % 3),
            key: None,
            deadline: None,
            padding: 100,
            behaviour: Behaviour(vec![Step::Reject(Micros(5)), Step::Done(Micros(9))]),
        },
    });
    let faults = (1..=30).map(|number: u32| FaultSpec {
        id: FaultId(number),
        at: Micros::from_secs(u64::from(number) * 2),
        span: Micros::from_secs(8),
        kind: FaultKind::Crash {
            host: format!("bridge{}", number % 2).as_str().into(),
            in_flight: true,
        },
    });
    Plan {
        format: PLAN_FORMAT,
        scenario: "shrink".into(),
        seed: Seed(1),
        speed: Speed::Core,
        tick: Micros::from_millis(10),
        duration: Micros::from_secs(100),
        liveness: LivenessSpec {
            budget: Micros::from_secs(60),
            bridge: "bridge0".into(),
            endpoint: "endpoint0".into(),
            transports: Transports::Both,
        },
        topology: Topology {
            producers: vec!["producer".into(), "idle".into()],
            bridges: vec!["bridge0".into(), "bridge1".into()],
            endpoints: endpoints.map(endpoint).into(),
            routes: (0..3)
                .map(|number| route(number, endpoints[number]))
                .collect(),
        },
        knobs: knobs(),
        lifts: Vec::new(),
        expects: Vec::new(),
        ops: ops.collect(),
        faults: faults.collect(),
    }
}

fn endpoint(host: &str) -> EndpointSpec {
    EndpointSpec {
        host: host.into(),
        inbox: Inbox::Effect,
        handlers: 4,
        in_flight: 1_024,
    }
}

fn route(number: usize, endpoint: &str) -> RouteSpec {
    RouteSpec {
        name: format!("route{number}"),
        endpoint: endpoint.into(),
        transports: Transports::Both,
        on_lost_inbox: OnLost::Redeliver,
    }
}

fn knobs() -> Knobs {
    Knobs {
        lease: Micros::from_secs(30),
        max_hold: Micros::from_secs(300),
        max_retries: 5,
        max_in_doubt: 20,
        backoff: [Micros::from_millis(250), Micros::from_secs(10)],
        segment_bytes: 65_536,
        log_bytes_max: 4 << 20,
        cache_bytes: 1 << 20,
        capacity: 1_000,
        window: 16,
        key_window: Micros::from_secs(3_600),
        heartbeat: Micros::from_secs(5),
        latency: [Micros::from_millis(3), Micros::from_millis(20)],
        schedule: Vec::new(),
        max_age: None,
        line: None,
    }
}

/// A violation of the task of operation `op` at `at`.
fn violation(op: u32, at: Micros) -> Failing {
    Failing {
        violation: Some(Violation {
            invariant: Invariant::NothingLost,
            at,
            task: Some(format!("{op}-00000000000000ff").parse().expect("a name")),
            op: Some(OpId(op)),
            story: String::new(),
            record: 0,
        }),
    }
}

fn ops(plan: &Plan) -> BTreeSet<u32> {
    plan.ops.iter().map(|op| op.id.0).collect()
}

fn faults(plan: &Plan) -> BTreeSet<u32> {
    plan.faults.iter().map(|fault| fault.id.0).collect()
}

/// Shrinks the plan for a bug that needs all of these; the result and how many candidates were run.
fn needing(need_ops: &[u32], need_faults: &[u32], limits: Limits) -> Shrunk {
    let (need_ops, need_faults): (BTreeSet<_>, BTreeSet<_>) = (
        need_ops.iter().copied().collect(),
        need_faults.iter().copied().collect(),
    );
    let failing = violation(
        need_ops.first().copied().unwrap_or(1),
        Micros::from_secs(50),
    );
    let mut run = |candidates: &[Plan]| {
        let fails = |plan: &Plan| {
            ops(plan).is_superset(&need_ops) && faults(plan).is_superset(&need_faults)
        };
        Some(
            candidates
                .iter()
                .map(|plan| fails(plan).then(|| failing.clone()))
                .collect(),
        )
    };
    shrink(plan(), failing.clone(), limits, &mut run)
}

#[test]
fn exactly_what_is_needed_is_left() {
    for (need_ops, need_faults) in [
        (&[7][..], &[][..]),
        (&[8], &[3]),
        (&[3, 40], &[1, 12, 13]),
        (&[1, 2, 3, 4, 49], &[24]),
    ] {
        let small = needing(need_ops, need_faults, PLENTY);
        assert_eq!(ops(&small.plan), need_ops.iter().copied().collect());
        assert_eq!(faults(&small.plan), need_faults.iter().copied().collect());
        assert!(!small.cut_short);
        assert!(small.runs < 300, "{} runs", small.runs);
    }
}

#[test]
fn what_is_left_is_short_calm_and_on_few_hosts() {
    let plan = needing(&[8], &[3], PLENTY).plan;
    assert_eq!(plan.knobs.latency, [Micros::from_millis(1); 2]);
    assert_eq!(plan.faults[0].span, Micros::from_millis(100));
    assert_eq!(plan.duration, Micros::from_secs(10));
    let OpKind::Enqueue {
        padding, behaviour, ..
    } = &plan.ops[0].kind
    else {
        panic!("{plan:?}")
    };
    assert_eq!(
        (*padding, behaviour),
        (0, &Behaviour(vec![Step::Done(Micros(0))]))
    );
    assert_eq!(plan.topology.producers, [HostName::from("producer")]);
    // Operation 8 goes over the core's bridge and not to the core's endpoint.
    let routes: Vec<_> = plan
        .topology
        .routes
        .iter()
        .map(|route| route.name.as_str())
        .collect();
    assert_eq!(routes, ["route0", "route2"]);
}

#[test]
fn a_step_that_ends_differently_is_not_taken() {
    // The bug wants the handler's first answer and the fault's whole length: neither is simplified away.
    let original = plan();
    let mut run = |candidates: &[Plan]| {
        let fails = |plan: &Plan| {
            let op = plan.ops.iter().find(|op| op.id.0 == 8);
            let fault = plan.faults.iter().find(|fault| fault.id.0 == 3);
            op.is_some_and(|op| op.kind == original.ops[7].kind)
                && fault.is_some_and(|fault| *fault == original.faults[2])
        };
        let results = candidates
            .iter()
            .map(|plan| fails(plan).then(|| violation(8, Micros::from_secs(50))));
        Some(results.collect())
    };
    let small = shrink(
        plan(),
        violation(8, Micros::from_secs(50)),
        PLENTY,
        &mut run,
    );
    assert_eq!(small.plan.ops, [original.ops[7].clone()]);
    assert_eq!(small.plan.faults, [original.faults[2].clone()]);
}

#[test]
fn a_behaviour_keeps_its_last_step() {
    let simplest = Behaviour(vec![Step::Done(Micros(0))]);
    let mut run = |candidates: &[Plan]| {
        let fails = |plan: &Plan| {
            plan.ops.iter().any(|op| {
                matches!(&op.kind, OpKind::Enqueue { behaviour, .. } if op.id.0 == 8 && *behaviour != simplest)
            })
        };
        let failing = || violation(8, Micros::from_secs(50));
        let results = candidates.iter().map(|plan| fails(plan).then(failing));
        Some(results.collect())
    };
    let failing = violation(8, Micros::from_secs(50));
    let small = shrink(plan(), failing, PLENTY, &mut run);
    let OpKind::Enqueue { behaviour, .. } = &small.plan.ops[0].kind else {
        panic!("{:?}", small.plan)
    };
    assert_eq!(*behaviour, Behaviour(vec![Step::Done(Micros(9))]));
}

#[test]
fn the_first_cut_needs_few_runs() {
    // The violation's task alone, on its own hosts, in front of its time: one candidate each.
    let mut asked = 0;
    let mut run = |candidates: &[Plan]| {
        asked += candidates.len();
        let fails = |plan: &Plan| ops(plan).contains(&8) && faults(plan).contains(&4);
        Some(
            candidates
                .iter()
                .map(|plan| fails(plan).then(|| violation(8, Micros::from_secs(9))))
                .collect(),
        )
    };
    let limits = Limits { runs: 8 };
    let small = shrink(plan(), violation(8, Micros::from_secs(9)), limits, &mut run);
    assert_eq!(ops(&small.plan), BTreeSet::from([8]));
    assert_eq!(faults(&small.plan), BTreeSet::from([2, 4]));
    assert!(small.cut_short && asked == 8);
}

#[test]
fn limits_and_giving_up_end_the_search_where_it_stands() {
    let small = needing(&[3, 40], &[1, 12, 13], Limits { runs: 20 });
    assert!(small.cut_short);
    assert_eq!(small.runs, 20);
    assert!(ops(&small.plan).is_superset(&BTreeSet::from([3, 40])));
    let small = shrink(plan(), Failing::default(), PLENTY, &mut |_: &[Plan]| None);
    assert!(small.cut_short);
    assert_eq!(small.plan, plan());
}

#[test]
fn a_goal_is_met_by_the_same_class_and_the_same_promise_alone() {
    let outcome = |class: Class, invariant: Option<Invariant>| {
        let mut outcome = crate::run::unjudged(plan(), crate::run::Ran::default());
        outcome.panic = (class == Class::Panic).then(|| "here".to_owned());
        let mut broken = violation(1, Micros(0)).violation.unwrap();
        if let Some(invariant) = invariant {
            broken.invariant = invariant;
            outcome.verdict.violations.push(broken);
        }
        outcome
    };
    let lost = outcome(Class::Safety, Some(Invariant::NothingLost));
    let goal = Goal::of(&lost).unwrap();
    assert!(goal.is_met(&lost));
    assert!(!goal.is_met(&outcome(Class::Safety, Some(Invariant::DoneStaysDone))));
    assert!(!goal.is_met(&outcome(Class::Panic, Some(Invariant::NothingLost))));
    assert_eq!(Goal::of(&outcome(Class::Pass, None)), None);
}
