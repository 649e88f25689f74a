//! The same plan in two fresh processes is the same run.

use std::process::Command;

use leasebridge_sim::history::{Header, write};
use leasebridge_sim::plan::{FaultKind, Micros, NetFault, Plan, Ways};

use crate::support::{BRIDGE, ENDPOINT, fault, plan, run};

/// Set in a child process: it runs the plan of this seed and prints its history.
const CHILD: &str = "LEASEBRIDGE_SIM_PRINT_HISTORY_OF";

/// A partition, and a power cut of the bridge while it is in the middle of something.
fn troubled(seed: u64) -> Plan {
    let mut plan = plan(seed, 100, Micros::from_secs(15));
    let partition = FaultKind::Network {
        a: BRIDGE.into(),
        b: ENDPOINT.into(),
        fault: NetFault::Partition { ways: Ways::Both },
    };
    let cut = FaultKind::PowerCut {
        host: BRIDGE.into(),
        in_flight: true,
    };
    plan.faults = vec![
        fault(1, Micros::from_secs(2), Micros::from_secs(3), partition),
        fault(2, Micros::from_secs(7), Micros::from_secs(2), cut),
    ];
    plan
}

/// The history of a process of its own: tokio numbers tasks per process, and a second simulation in the same
/// one may drop them in another order.
fn history_in_a_child(seed: u64) -> String {
    let this = std::env::current_exe().expect("a test knows its executable");
    let output = Command::new(this)
        .args([
            "--exact",
            "same_again::prints_its_history_in_a_child",
            "--nocapture",
        ])
        .env(CHILD, seed.to_string())
        .output()
        .expect("the test starts");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    let lines = text.lines().filter(|line| line.starts_with('{'));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn prints_its_history_in_a_child() {
    let Ok(seed) = std::env::var(CHILD) else {
        return;
    };
    let ran = run(&troubled(seed.parse().expect("a seed")));
    let header = Header {
        history: leasebridge_sim::history::HISTORY_FORMAT,
        source: "sim".into(),
        host: None,
    };
    println!();
    write(std::io::stdout(), &header, &ran.records).expect("stdout takes it");
}

#[test]
fn two_processes_with_the_same_plan_see_the_same_history() {
    let first = history_in_a_child(7);
    assert!(first.lines().count() > 300, "{first}");
    assert_eq!(first, history_in_a_child(7));
    assert_ne!(first, history_in_a_child(8));
}
