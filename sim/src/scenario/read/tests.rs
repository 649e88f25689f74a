//! What people are told about a scenario that is wrong, and what may be left out of one that is right.

use std::path::Path;

use super::scenario;
use crate::plan::Micros;
use crate::scenario::{Between, Bytes, FaultTemplate, Hosts, Scenario, Shift};

fn read(text: &str) -> Scenario {
    scenario(Path::new("scenarios/mine.toml"), text).unwrap_or_else(|error| panic!("{error}"))
}

/// The message for a scenario with these lines behind its summary.
fn complaint(lines: &str) -> String {
    let text = format!("summary = \"a test\"\n{lines}\n");
    let error = scenario(Path::new("scenarios/mine.toml"), &text).expect_err(&text);
    error.to_string()
}

#[test]
fn a_summary_is_all_that_a_scenario_needs() {
    let read = read("summary = \"a test\"");
    assert_eq!(read, Scenario::new("mine", "a test"));
}

#[test]
fn ranges_are_written_in_several_ways() {
    let text = r#"
        summary = "a test"
        [workload]
        commands = [10, 20]
        padding = "0B..4KiB"
        [knobs]
        lease = ["1s", "2s"]
        capacity = 17
        window = "1..64"
        [[fault]]
        kind = "jump"
        host = ["bridges", "endpoint"]
        by = "-5s..250ms"
    "#;
    let read = read(text);
    assert_eq!(read.workload.commands, Between::new(10, 20));
    assert_eq!(read.workload.padding, Between::new(Bytes(0), Bytes::kib(4)));
    let lease = Between::new(Micros::from_secs(1), Micros::from_secs(2));
    assert_eq!(read.knobs.lease, lease);
    assert_eq!(read.knobs.capacity, Between::only(17));
    assert_eq!(read.knobs.window, Between::new(1, 64));
    let jump = &read.faults[0];
    let by = Between::new(Shift(-5_000), Shift(250));
    assert_eq!(jump.what, FaultTemplate::Jump(by));
    assert_eq!(jump.on, [Hosts::Bridges, Hosts::Named("endpoint".into())]);
}

#[test]
fn unknown_names_are_refused_with_the_nearest_valid_one() {
    let fault = |lines: &str| complaint(&format!("[[fault]]\nkind = \"partition\"\n{lines}"));
    let complaints = [
        complaint("duratoin = \"30s\""),
        complaint("[workload]\ncomands = 30"),
        complaint("[knobs]\nlaese = \"3s\""),
        complaint("[[fault]]\nkind = \"partitoin\""),
        complaint("[[fault]]\nkind = \"meteorite\""),
        complaint("[[fault]]\nknid = \"crash\""),
        complaint("[[fault]]\ncount = 3"),
        fault("every = \"3s\""),
        fault("ways = \"a_to_c\""),
        fault("between = [\"bridge\", \"endpiont\"]"),
        complaint("[[fault]]\nkind = \"crash\"\nhost = \"brigde\""),
        complaint("[[workload.behaviour]]\nsteps = [\"dnoe 5ms\"]"),
        complaint("[[operator]]\nact = \"requeue\""),
        complaint("lifts = [\"nothing_lots\"]"),
        complaint("[topology]\n[[topology.endpoint]]\nname = \"e\"\ninbox = \"efect\""),
        complaint("[topology]\n[[topology.route]]\nname = \"r\"\nendpoint = \"endpont\""),
        complaint("speed = \"ful\""),
    ];
    insta::assert_snapshot!(complaints.join("\n\n"));
}

#[test]
fn values_out_of_bounds_or_without_a_unit_say_what_is_allowed() {
    let complaints = [
        complaint("tick = \"3s\""),
        complaint("duration = 60"),
        complaint("duration = \"3 parsecs\""),
        complaint("[workload]\nkeys = \"120%\""),
        complaint("[workload]\nkeys = 0.2"),
        complaint("[workload]\npadding = 64"),
        complaint("[workload]\ncommands = \"30..10\""),
        complaint("[workload]\ncommands = [1, 2, 3]"),
        complaint("[workload]\ncommands = -3"),
        complaint("[workload]\nfrom = \"2h\""),
        complaint("[knobs]\nmax_retries = 70000"),
        complaint("[knobs]\nschedule = []"),
        complaint("[knobs]\nschedule = [\"1s\", \"2h\"]"),
        complaint("[[workload.behaviour]]\nsteps = [\"done 5\"]"),
        complaint("[[workload.behaviour]]\nsteps = [\"1..900x reject 1ms\"]"),
        complaint("[[fault]]\nkind = \"crash\"\nat = \"2m\""),
        complaint("[swarm]\nmix = \"yes\""),
        complaint("[topology]\nbridges = 0"),
        complaint("workload = 3"),
        complaint("summary = \"twice\""),
        complaint("[knobs\nlease = \"3s\""),
    ];
    insta::assert_snapshot!(complaints.join("\n\n"));
}

#[test]
fn what_the_design_does_not_survive_wants_a_word() {
    let core = |lines: &str| complaint(&format!("speed = \"core\"\n{lines}"));
    let complaints = [
        core("[[fault]]\nkind = \"sync_lies\""),
        core(
            "lifts = [\"nothing_lost\"]\n[[fault]]\nkind = \"crash\"\n[[fault]]\nkind = \"bit_flip\"",
        ),
        core("[[fault]]\nkind = \"read_error\"\ntimes = 0"),
        core("[[fault]]\nkind = \"swallows_pings\""),
        complaint("[[operator]]\nact = \"drain\""),
        complaint("[[operator]]\nact = \"move_route\""),
        complaint("[[workload.behaviour]]\nsteps = [\"reject 5ms\"]"),
        complaint("[[fault]]\nkind = \"no_files\"\nhost = \"endpoints\""),
        core("[[fault]]\nkind = \"stranger\""),
        complaint("[[fault]]\nkind = \"mark_hurt\""),
        complaint("[[fault]]\nkind = \"rejects\"\nhost = \"bridge\""),
        complaint("[[fault]]\nkind = \"hold\"\nbetween = [\"bridges\", \"bridges\"]"),
        complaint(
            "[[fault]]\nkind = \"crash\"\ncount = 60\n[[fault]]\nkind = \"pause\"\ncount = 60",
        ),
        complaint("[[workload.behaviour]]\nweight = 0\nsteps = [\"silent\"]"),
        complaint("[topology]\nendpoint = [{ name = \"e\" }, { name = \"e\" }]"),
        complaint("[knobs]\nsegment_bytes = \"20KiB\"\n[workload]\npadding = \"8KiB\""),
        complaint("[topology]\nendpoint = [{ name = \"bridges\" }]"),
    ];
    insta::assert_snapshot!(complaints.join("\n\n"));
}

#[test]
fn a_file_that_is_not_there_is_said_to_be() {
    let error = Scenario::load(Path::new("scenarios/none.toml")).unwrap_err();
    assert!(
        error.to_string().starts_with("scenarios/none.toml: "),
        "{error}"
    );
}
