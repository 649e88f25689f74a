//! The example of `leasebridge --help`.

use crate::harness::house::House;

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
fn the_same_input_twice_is_enqueued_once_and_another_source_again() {
    let house = House::new();
    let _receiver = house.receiver();
    let _bridge = house.ready_bridge();
    let file = house.numbers(100);
    house.enqueue(&file, &[]).end().with(0);
    let again = house.enqueue(&file, &[]).end().with(0).json();
    assert_eq!(again["accepted"], 0, "{again}");
    assert_eq!(again["already_there"], 100, "{again}");
    house.until_idle();
    house.executed().assert_each_number_once(100);
    let other = house.enqueue(&file, &["--source", "another"]);
    let other = other.end().with(0).json();
    assert_eq!(other["accepted"], 100, "{other}");
    house.until_idle();
    let executed = house.executed();
    executed.assert_nothing_twice();
    assert_eq!(executed.commands.len(), 200);
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
