//! The example of `leasebridge --help`.

use crate::harness::endpoint::Endpoint;
use crate::harness::house::House;
use crate::harness::until;

const LINES: u64 = 5_000;

#[test]
fn every_line_is_executed_once_and_accounted_for() {
    let house = House::new();
    let mut receiver = house.receiver();
    let mut bridge = house.ready_bridge();
    let file = house.numbers(LINES);
    let ended = house.enqueue(&file, &[]).end().with(0);
    let account = ended.json();
    assert_eq!(account["accepted"], LINES, "{account}");
    assert_eq!(account["ended"], "complete", "{account}");
    assert_eq!(account["settled_through"], LINES, "{account}");
    assert!(ended.stderr.contains("accepted"), "{ended:#?}");
    house.until_idle();
    house.executed().assert_each_number_once(LINES);
    let route = house.route();
    assert_eq!(route["done_total"], LINES, "{route}");
    assert_eq!(route["poison"], 0, "{route}");
    assert!(receiver.runs() && bridge.runs());
}

#[test]
fn each_run_is_new_and_one_that_resumes_adds_what_is_missing() {
    let house = House::new();
    let _receiver = house.receiver();
    let _bridge = house.ready_bridge();
    let file = house.numbers(100);
    let enqueue = |more: &[&str]| house.enqueue(&file, more).end().with(0).json();
    let first = enqueue(&["--resume"]);
    assert_eq!(first["accepted"], 100, "{first}");
    let again = enqueue(&["--resume"]);
    assert_eq!(again["accepted"], 0, "{again}");
    assert_eq!(again["already_there"], 100, "{again}");
    house.until_idle();
    house.executed().assert_each_number_once(100);
    for (run, more) in [["--resume", "--source=another"].as_slice(), &[], &[]]
        .iter()
        .enumerate()
    {
        let other = enqueue(more);
        assert_eq!(other["accepted"], 100, "{other}");
        house.until_idle();
        let executed = house.executed();
        executed.assert_nothing_twice();
        assert_eq!(executed.commands.len(), 100 * (run + 2));
    }
}

/// Told *accepted*, never run: each way in which the first command of a key comes to nothing.
#[test]
fn a_key_of_what_never_runs_is_told_and_not_counted_as_done() {
    let house = House::new();
    let endpoint = Endpoint::start(&house);
    let _bridge = house.ready_bridge();
    let file = house.write(
        "lines.ndjson",
        b"{\"body\":\"refuse\",\"key\":\"order-17\"}\n",
    );
    house.enqueue(&file, &[]).end().with(0);
    until("it is in poison", || house.route()["poison"] == 1);
    let again = house.enqueue(&file, &[]).end().with(3);
    assert!(again.stderr.contains("in poison"), "{again:#?}");
    assert_eq!(again.json()["never_run"], 1, "{again:#?}");
    house.cli(&["poison", "purge", "--all", "--yes"]).with(0);
    // It was never in doubt: its key went with it, and what comes under it now is another command.
    let again = house.enqueue(&file, &[]).end().with(0);
    assert_eq!(again.json()["accepted"], 1, "{again:#?}");
    until("that one is in poison", || house.route()["poison"] == 1);
    assert_eq!(endpoint.executed().len(), 0);
}

#[test]
fn lines_that_come_before_the_receiver_wait_for_it() {
    let house = House::new();
    let _bridge = house.ready_bridge();
    let file = house.numbers(500);
    house.enqueue(&file, &[]).end().with(0);
    let _receiver = house.receiver();
    house.until_idle();
    house.executed().assert_each_number_once(500);
}
