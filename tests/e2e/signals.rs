//! How the processes end when they are asked to.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::endpoint::Endpoint;
use crate::harness::house::House;
use crate::harness::until;

/// How long a process may take to end once nothing holds it: far longer than it needs.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_busy_bridge_drains_and_the_next_one_does_the_rest() {
    const LINES: u64 = 3_000;
    let house = House::new();
    let receiver = house.receiver();
    let bridge = house.ready_bridge();
    let file = house.numbers(LINES);
    house.enqueue(&file, &[]).end().with(0);
    bridge.signal(Signal::TERM);
    let ended = bridge.end_within(SOON).with(0);
    assert!(ended.stderr.contains("the bridge has ended"), "{ended:#?}");
    let _bridge = house.ready_bridge();
    house.until_idle();
    house.executed().assert_each_number_once(LINES);
    receiver.signal(Signal::INT);
    receiver.end_within(SOON).with(0);
}

#[test]
fn a_drain_waits_no_longer_than_its_timeout() {
    let house = House::with_top("drain_timeout = \"1s\"");
    let endpoint = Endpoint::start(&house);
    let bridge = house.ready_bridge();
    let file = house.write("lines.txt", b"wait 1\nwait 2\n");
    house.enqueue(&file, &[]).end().with(0);
    until("both are being executed", || endpoint.waiting() == 2);
    let asked = Instant::now();
    bridge.signal(Signal::TERM);
    let ended = bridge.end_within(SOON).with(0);
    assert!(
        asked.elapsed() >= Duration::from_secs(1),
        "it waits for them"
    );
    assert!(ended.stderr.contains("it will come again"), "{ended:#?}");
    endpoint.give_leave();
    let _bridge = house.ready_bridge();
    house.until_idle();
    assert_eq!(endpoint.executed(), ["wait 1", "wait 2"]);
}

#[test]
fn a_second_signal_ends_a_drain_at_once() {
    let house = House::with_top("drain_timeout = \"10m\"");
    let endpoint = Endpoint::start(&house);
    let mut bridge = house.ready_bridge();
    let file = house.write("lines.txt", b"wait 1\n");
    house.enqueue(&file, &[]).end().with(0);
    until("it is being executed", || endpoint.waiting() == 1);
    bridge.signal(Signal::TERM);
    bridge.until_it_says("draining");
    assert!(bridge.runs());
    bridge.signal(Signal::TERM);
    bridge.end_within(SOON).with(143);
    endpoint.give_leave();
    let _bridge = house.ready_bridge();
    house.until_idle();
    assert_eq!(endpoint.executed(), ["wait 1"]);
}

#[test]
fn an_interrupted_enqueue_says_how_far_it_came() {
    let house = House::new();
    let _receiver = house.receiver();
    let _bridge = house.ready_bridge();
    let mut enqueue = house.enqueue_pipe(&["--resume"]);
    let mut input = enqueue.stdin();
    std::io::Write::write_all(&mut input, b"1\n2\n3\n").expect("it reads");
    until("all three are there", || {
        house.route()["enqueued_total"] == 3
    });
    // The answer may still be on its way to it; it waits for what is in flight.
    enqueue.signal(Signal::INT);
    let ended = enqueue.end_within(SOON).with(130);
    let account = ended.json();
    assert_eq!(account["ended"], "interrupted", "{account}");
    assert_eq!(account["lines_read"], 3, "{account}");
    drop(input);
    let file = house.write("rest.txt", b"1\n2\n3\n4\n");
    let again = house
        .enqueue(&file, &["--resume", "--source", "stdin"])
        .end()
        .with(0)
        .json();
    assert_eq!(again["already_there"], 3, "{again}");
    assert_eq!(again["accepted"], 1, "{again}");
    house.until_idle();
    house.executed().assert_each_number_once(4);
}
