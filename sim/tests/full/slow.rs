//! Slow is not dead: the corners of what lines are promised, from 64 kbit/s to 100 Mbit/s, from 1 KiB to 16 MiB, from 20
//! to 800 ms there and back. Nothing else is wrong in these worlds, for the whole of the run.

use leasebridge_sim::full;
use leasebridge_sim::oracle::{Invariant, Rules, judge};
use leasebridge_sim::plan::{LineSpec, Micros, OpKind, Plan, Step, Transports};

use crate::support::{plan, story};

const KBIT_64: u32 = 8_000;
const MBIT_100: u32 = 12_500_000;
const KIB: u32 = 1 << 10;
const MIB: u32 = 1 << 20;

/// So many commands at once, of so many bytes, over such a line.
fn corner(commands: u32, padding: u32, bytes_per_s: u32, round_trip_ms: u64) -> Plan {
    let mut plan = plan(1, commands, Micros::from_millis(500));
    for op in &mut plan.ops {
        if let OpKind::Enqueue {
            padding: of,
            behaviour,
            ..
        } = &mut op.kind
        {
            *of = padding;
            behaviour.0 = vec![Step::Done(Micros(0))];
        }
    }
    let knobs = &mut plan.knobs;
    knobs.line = Some(LineSpec {
        bytes_per_s,
        delay: Micros::from_millis(round_trip_ms / 2),
    });
    knobs.window = 1_024;
    knobs.max_hold = Micros::from_secs(3_600);
    knobs.segment_bytes = 24 * MIB;
    knobs.log_bytes_max = u64::from(24 * 12 * MIB);
    knobs.cache_bytes = u64::from(64 * MIB);
    // A handler is called in these worlds, and never waited for.
    plan.topology.endpoints[0].handlers = 1_024;
    plan.liveness.budget = Micros::from_secs(3_600);
    plan
}

const EACH: [Transports; 3] = [Transports::Socket, Transports::Grpc, Transports::Both];

/// Runs it over each transport and over both, and has the oracle judge it.
fn goes_well(plan: &Plan) {
    goes_well_over(plan, &EACH);
}

fn goes_well_over(plan: &Plan, transports: &[Transports]) {
    for transports in transports.iter().copied() {
        let mut plan = plan.clone();
        plan.topology.routes[0].transports = transports;
        let ran = full::run(&plan);
        assert_eq!(ran.panic, None, "{}", story(&ran));
        let rules = Rules::of_plan(&plan);
        assert!(rules.line.as_ref().is_some_and(|line| line.covered));
        let verdict = judge(&ran.records, &rules);
        let stories: Vec<_> = verdict
            .violations
            .iter()
            .map(|found| &found.story)
            .collect();
        assert!(
            stories.is_empty(),
            "{transports:?}: {stories:#?}\n{}",
            story(&ran)
        );
        assert!(verdict.checks.contains_key(&Invariant::OutagesAreFree));
        assert!(verdict.checks.contains_key(&Invariant::Bounded));
    }
}

#[test]
fn the_smallest_over_the_slowest_line() {
    for round_trip_ms in [20, 800] {
        goes_well(&corner(200, KIB, KBIT_64, round_trip_ms));
    }
}

#[test]
fn the_largest_over_the_slowest_line() {
    for round_trip_ms in [20, 800] {
        goes_well(&corner(1, 16 * MIB - 4 * KIB, KBIT_64, round_trip_ms));
    }
}

#[test]
fn the_smallest_over_the_fastest_line() {
    // Over a longer one the window of commands doesn't cover what is on it.
    goes_well(&corner(5_000, KIB, MBIT_100, 20));
}

#[test]
fn the_largest_over_the_fastest_line() {
    goes_well(&corner(6, 16 * MIB - 4 * KIB, MBIT_100, 20));
    // As long as what may be on its way covers what is on it, which over gRPC is less.
    let long = corner(6, 16 * MIB - 4 * KIB, MBIT_100 / 3, 800);
    goes_well_over(&long, &[Transports::Socket, Transports::Both]);
}

#[test]
fn those_between_over_a_line_of_two_megabits() {
    for round_trip_ms in [20, 800] {
        goes_well(&corner(100, 100 * KIB, 250_000, round_trip_ms));
    }
}

/// Each command would be there in time if it were alone, and all of them together are not: they are leased and sent as they
/// can arrive, and no lease ends before its command has.
#[test]
fn more_than_arrives_while_a_lease_may_be_held() {
    for padding in [4 * KIB, 64 * KIB] {
        let mut plan = corner(4 * MIB / padding / 2, padding, KBIT_64, 100);
        plan.knobs.max_hold = Micros::from_secs(60);
        goes_well(&plan);
    }
}

/// The transport that dies when the workload stops is no fault of the plan's, and nothing is promised of what is on its way
/// over it. A run was called broken for that.
#[test]
fn nothing_is_promised_of_a_line_over_a_transport_that_dies() {
    let mut plan = corner(1, KIB, KBIT_64, 20);
    let is_judged = |plan: &Plan| Rules::of_plan(plan).line.is_some();
    for (of, core, judged) in [
        (Transports::Both, Transports::Both, true),
        (Transports::Socket, Transports::Both, true),
        (Transports::Socket, Transports::Socket, true),
        (Transports::Socket, Transports::Grpc, false),
        (Transports::Both, Transports::Socket, false),
    ] {
        plan.topology.routes[0].transports = of;
        plan.liveness.transports = core;
        assert_eq!(is_judged(&plan), judged, "{of:?} {core:?}");
    }
}
