//! Processes that die or end, and start again.

use leasebridge_sim::full;
use leasebridge_sim::history::What;
use leasebridge_sim::plan::{
    DiskFault, EndpointSpec, FaultKind, HostName, Inbox, Micros, NetFault, OnLost, RouteSpec, Step,
    Transports, Ways,
};
use leasebridge_sim::run::Ran;

use crate::support::{
    BRIDGE, ENDPOINT, PRODUCER, count, done_at_most_once, enqueue, fault, plan, run, run_once_each,
    story,
};

fn openings(ran: &Ran) -> usize {
    count(ran, |what| matches!(what, What::Opened { .. }))
}

#[test]
fn everything_is_executed_once_through_crashes_of_the_bridge() {
    for seed in 1..=4 {
        let mut plan = plan(seed, 200, Micros::from_secs(20));
        let (host, in_flight) = (BRIDGE.into(), seed % 2 == 0);
        let kind = FaultKind::Crash { host, in_flight };
        plan.faults = vec![fault(1, Micros::from_secs(5), Micros::from_secs(2), kind)];
        let ran = run_once_each(&plan);
        assert_eq!(openings(&ran), 2, "{}", story(&ran));
    }
}

#[test]
fn everything_is_executed_once_through_power_cuts_of_the_bridge() {
    for seed in 1..=4 {
        let mut plan = plan(seed, 200, Micros::from_secs(20));
        let (host, in_flight) = (BRIDGE.into(), seed % 2 == 0);
        let kind = FaultKind::PowerCut { host, in_flight };
        plan.faults = vec![fault(1, Micros::from_secs(5), Micros::from_secs(2), kind)];
        let ran = run_once_each(&plan);
        assert_eq!(openings(&ran), 2, "{}", story(&ran));
    }
}

#[test]
fn a_failed_sync_ends_the_bridges_process_and_the_next_one_goes_on() {
    for (seed, disk) in [(1, DiskFault::SyncError), (2, DiskFault::TornWrite)] {
        let mut plan = plan(seed, 100, Micros::from_secs(20));
        let kind = FaultKind::Disk {
            host: BRIDGE.into(),
            fault: disk,
            one_in: 1,
            times: 1,
        };
        plan.faults = vec![fault(1, Micros::from_secs(5), Micros::from_secs(2), kind)];
        let ran = run_once_each(&plan);
        let failed = |what: &What| matches!(what, What::JournalFailed { .. });
        assert_eq!(
            (count(&ran, failed), openings(&ran)),
            (1, 2),
            "{}",
            story(&ran)
        );
        assert_eq!(ran.struck.values().sum::<u64>(), 1);
    }
}

#[test]
fn a_producer_that_dies_leaves_nothing_out() {
    for seed in 1..=3 {
        let mut plan = plan(seed, 200, Micros::from_secs(10));
        let kind = FaultKind::Crash {
            host: PRODUCER.into(),
            in_flight: true,
        };
        plan.faults = vec![fault(1, Micros::from_secs(4), Micros::from_secs(2), kind)];
        run_once_each(&plan);
    }
}

#[test]
fn a_rolling_restart_in_order_costs_nothing() {
    let mut plan = plan(1, 200, Micros::from_secs(20));
    plan.topology.endpoints[0].inbox = Inbox::File;
    let drain = |host: &str| FaultKind::Drain { host: host.into() };
    plan.faults = vec![
        fault(
            1,
            Micros::from_secs(4),
            Micros::from_secs(2),
            drain(ENDPOINT),
        ),
        fault(
            2,
            Micros::from_secs(10),
            Micros::from_secs(2),
            drain(BRIDGE),
        ),
    ];
    let ran = run_once_each(&plan);
    let closed = |what: &What| matches!(what, What::Closed {});
    assert_eq!(
        (count(&ran, closed), openings(&ran)),
        (1, 2),
        "{}",
        story(&ran)
    );
    assert_eq!(count(&ran, |what| matches!(what, What::Died { .. })), 0);
}

#[test]
fn an_endpoint_outside_of_the_core_may_stay_dead() {
    let mut plan = plan(1, 60, Micros::from_secs(10));
    let dead = HostName::from("dead");
    plan.topology.endpoints.push(EndpointSpec {
        host: dead.clone(),
        inbox: Inbox::Memory,
        handlers: 4,
        in_flight: 1_024,
    });
    plan.topology.routes.push(RouteSpec {
        name: "nowhere".into(),
        endpoint: dead.clone(),
        transports: Transports::Both,
        on_lost_inbox: OnLost::Redeliver,
    });
    for op in plan.ops.iter_mut().step_by(3) {
        if let leasebridge_sim::plan::OpKind::Enqueue { route, .. } = &mut op.kind {
            *route = "nowhere".into();
        }
    }
    let (host, in_flight) = (dead, false);
    let kind = FaultKind::PowerCut { host, in_flight };
    plan.faults = vec![fault(1, Micros(0), Micros::from_secs(3_600), kind)];
    let ran = crate::support::run(&plan);
    let done = |what: &What| matches!(what, What::Found { state, .. } if state == "done");
    assert_eq!(
        (
            count(&ran, done),
            count(&ran, |what| matches!(what, What::Found { .. }))
        ),
        (40, 60)
    );
}

#[test]
fn a_core_that_can_not_work_is_told_of_in_words() {
    let mut plan = plan(1, 5, Micros::from_secs(2));
    plan.ops.iter_mut().for_each(|op| {
        op.kind = crate::support::enqueue(Some(op.id.0), vec![leasebridge_sim::plan::Step::Silent]);
    });
    plan.liveness.budget = Micros::from_secs(10);
    let ran = full::run(&plan);
    let reasons = ran.records.iter().find_map(|record| match &record.what {
        What::Pending { reasons } => Some(reasons.clone()),
        _ => None,
    });
    let reasons = reasons.expect("it says what is pending");
    assert_eq!(reasons.len(), 5, "{reasons:?}");
    let held = |reason: &String| reason.starts_with("lease ") && reason.contains(" held ");
    assert!(reasons.iter().all(held), "{reasons:?}");
}

#[test]
fn a_panic_ends_the_run_and_is_told() {
    let mut plan = plan(1, 5, Micros::from_secs(2));
    // A name that no point has is the simulator's own panic, between two steps.
    let kind = FaultKind::Point {
        host: BRIDGE.into(),
        point: "no such point".into(),
        one_in: 1,
    };
    plan.faults = vec![fault(1, Micros::from_secs(1), Micros::from_secs(1), kind)];
    let ran = full::run(&plan);
    let panic = ran.panic.expect("a panic");
    assert!(panic.contains("no such point"), "{panic}");
}

#[test]
fn a_panic_in_a_process_ends_the_run_and_is_told() {
    let mut plan = plan(1, 5, Micros::from_secs(2));
    // Too small for any log: the bridge's process finds it out.
    plan.knobs.segment_bytes = 4_096;
    let ran = full::run(&plan);
    let panic = ran.panic.expect("a panic");
    assert!(panic.contains("the plan's knobs"), "{panic}");
    assert!(
        ran.simulated < Micros::from_secs(1),
        "it ended at once: {}",
        ran.simulated
    );
}

#[test]
fn what_many_short_lives_could_not_tell_their_endpoint_is_told_in_the_end() {
    for seed in 1..=3 {
        let mut plan = plan(seed, 400, Micros::from_secs(40));
        plan.knobs.window = 128;
        for (number, op) in (0..).zip(&mut plan.ops) {
            op.kind = enqueue(Some(number), vec![Step::Done(Micros::from_millis(800))]);
        }
        let (a, b) = (BRIDGE.into(), ENDPOINT.into());
        let ways = Ways::AToB;
        let partition = NetFault::Partition { ways };
        let network = FaultKind::Network {
            a,
            b,
            fault: partition,
        };
        let crash = FaultKind::Crash {
            host: BRIDGE.into(),
            in_flight: false,
        };
        // Answers come for a while, nothing gets through the other way, and then the bridge is dead.
        for life in 0..6 {
            let at = Micros::from_secs(4 + 5 * u64::from(life));
            let dies = at.plus(Micros::from_millis(900));
            let span = Micros::from_secs(2);
            plan.faults
                .push(fault(2 * life + 1, at, span, network.clone()));
            plan.faults.push(fault(
                2 * life + 2,
                dies,
                Micros::from_millis(200),
                crash.clone(),
            ));
        }
        let ran = run(&plan);
        assert_eq!(openings(&ran), 8, "{}", story(&ran));
        let mut gauges = ran.records.iter().filter_map(|record| match &record.what {
            What::Gauge { name, value, limit } if name == "inbox_entries" => Some((*value, *limit)),
            _ => None,
        });
        assert_eq!(gauges.next(), Some((0, 0)), "{}", story(&ran));
        done_at_most_once(&ran);
    }
}
