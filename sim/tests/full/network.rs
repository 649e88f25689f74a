//! No trouble, and trouble between the hosts.

use leasebridge_sim::history::What;
use leasebridge_sim::plan::{FaultKind, Micros, NetFault, Ways};

use crate::support::{BRIDGE, ENDPOINT, count, fault, plan, run_once_each, story};

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
        assert_eq!(
            (told("enqueued"), told("granted"), told("done")),
            (200, 200, 200)
        );
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
        assert!(count(&ran, |what| matches!(what, What::Healed { .. })) == 1);
    }
}
