//! No trouble, and trouble between the hosts.

use leasebridge_sim::history::What;
use leasebridge_sim::plan::{FaultKind, Micros, NetFault, PeerFault, Step, Transports, Ways};

use crate::support::{BRIDGE, ENDPOINT, count, enqueue, fault, plan, run, run_once_each, story};

#[test]
fn everything_is_executed_once_and_the_run_ends_early() {
    for seed in 1..=3 {
        let plan = plan(seed, 200, Micros::from_secs(20));
        let ran = run_once_each(&plan);
        assert!(ran.simulated < Micros::from_secs(40), "{}", ran.simulated);
        let found = count(
            &ran,
            |what| matches!(what, What::Found { state, .. } if state == "done"),
        );
        assert_eq!(found, 200, "{}", story(&ran));
        let told = |kind: &str| {
            count(
                &ran,
                |what| matches!(what, What::Fed { kind: fed, .. } if fed == kind),
            )
        };
        let told = (told("enqueued"), told("granted"), told("done"));
        assert_eq!(told, (200, 200, 200));
    }
}

#[test]
fn everything_is_executed_once_through_a_partition() {
    for (seed, ways) in [(1, Ways::Both), (2, Ways::AToB), (3, Ways::BToA)] {
        let mut plan = plan(seed, 200, Micros::from_secs(20));
        let kind = FaultKind::Network {
            a: BRIDGE.into(),
            b: ENDPOINT.into(),
            fault: NetFault::Partition { ways },
        };
        plan.faults = vec![fault(1, Micros::from_secs(5), Micros::from_secs(8), kind)];
        let ran = run_once_each(&plan);
        assert_eq!(count(&ran, |what| matches!(what, What::Healed { .. })), 1);
        assert!(ran.struck.values().sum::<u64>() > 0, "{}", story(&ran));
    }
}

#[test]
fn a_socket_that_takes_no_command_is_passed_by_over_grpc() {
    let mut plan = plan(1, 60, Micros::from_secs(20));
    let kind = FaultKind::Endpoint {
        host: ENDPOINT.into(),
        fault: PeerFault::BeatsButDoesNotWork,
    };
    plan.faults = vec![fault(1, Micros(0), Micros::from_secs(3_600), kind)];
    plan.liveness.transports = Transports::Grpc;
    let ran = run_once_each(&plan);
    let second = |what: &What| matches!(what, What::Fed { end: Some(end), .. } if end.sends > 1);
    assert!(count(&ran, second) > 0, "{}", story(&ran));
    assert!(ran.struck.values().sum::<u64>() > 0, "{}", story(&ran));
}

#[test]
fn what_an_endpoint_refuses_is_in_poison_and_an_operator_brings_it_back() {
    let mut plan = plan(1, 30, Micros::from_secs(10));
    plan.ops[3].kind = enqueue(
        Some(3),
        vec![Step::Refuse(Micros(0)), Step::Done(Micros(0))],
    );
    plan.ops[5].kind = enqueue(Some(5), vec![Step::Panic, Step::Done(Micros(0))]);
    let mut requeue = plan.ops[29].clone();
    (requeue.id, requeue.at) = (leasebridge_sim::plan::OpId(30), Micros::from_secs(10));
    requeue.kind = leasebridge_sim::plan::OpKind::RequeueAll;
    plan.ops.push(requeue);
    plan.duration = Micros::from_secs(12);
    let ran = run(&plan);
    let requeued = |what: &What| matches!(what, What::Operated { act, .. } if act == "requeue");
    assert_eq!(count(&ran, requeued), 1, "{}", story(&ran));
    let done = |what: &What| matches!(what, What::Executed { result, .. } if result == "done");
    assert_eq!(count(&ran, done), 30, "{}", story(&ran));
}
