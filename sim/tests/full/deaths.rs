//! Processes that die, and start again.

use leasebridge_sim::history::What;
use leasebridge_sim::plan::{FaultKind, Micros};

use crate::support::{BRIDGE, count, fault, plan, run_once_each, story};

fn openings(ran: &leasebridge_sim::run::Ran) -> usize {
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
