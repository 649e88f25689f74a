//! What people see at their terminals: tasks and keys, a bridge that goes away and comes back, an endpoint that plays
//! one in trouble.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::house::House;
use crate::harness::until;

const SOON: Duration = Duration::from_secs(20);

/// The JSON lines of `text`.
fn lines(text: &str) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).expect("JSON");
    text.lines().map(parse).collect()
}

#[test]
fn enqueue_tells_the_task_and_the_key_of_each_line() {
    let house = House::new();
    let _bridge = house.ready_bridge();
    let text = "{\"body\":\"1\",\"key\":\"order-17\"}\n{\"body\":\"2\"}\n{\"boddy\":\"3\"}\n";
    let file = house.write("lines.ndjson", text.as_bytes());
    let ended = house.enqueue(&file, &[]).end().with(3);
    let told = lines(&ended.stdout);
    assert_eq!(told.len(), 4, "three lines and the account: {ended:#?}");
    assert_eq!(told[0]["key"], "order-17");
    assert_eq!(told[1]["result"], "accepted");
    assert!(told[1]["key"].as_str().is_some_and(|key| !key.is_empty()));
    assert_eq!(told[2]["result"], "refused");
    let task = told[0]["task"].as_str().expect("it was accepted");
    let explained = house.cli(&["explain", task]).with(0);
    assert!(explained.stdout.contains("order-17"), "{explained:#?}");

    let plain = house.command(&["enqueue", file.to_str().expect("UTF-8")]);
    let ended = house.start("enqueue", plain).end().with(3);
    let first = ended.stdout.lines().next().unwrap_or_default();
    assert_eq!(first, format!("{task}  order-17  (already there)"));
    let many = house.numbers(100);
    let plain = house.command(&["enqueue", many.to_str().expect("UTF-8")]);
    let ended = house.start("enqueue", plain).end().with(0);
    assert_eq!(ended.stdout.lines().count(), 11, "{ended:#?}");
    assert!(ended.stdout.contains("--json tells"), "{ended:#?}");
}

#[test]
fn whoever_watches_sees_the_bridge_go_and_come_back() {
    let house = House::new();
    let _receiver = house.receiver();
    let bridge = house.ready_bridge();
    let watch = house.start("watch", house.command(&["watch", "--json"]));
    let every = ["status", "--json", "--watch", "100ms"];
    let status = house.start("status", house.command(&every));
    let line = house.write("line.txt", b"1\n");
    let seen = |process: &crate::harness::process::Process, text: &str, times| {
        process.output().matches(text).count() >= times
    };
    until("the watcher follows", || {
        house.enqueue(&line, &[]).end().with(0);
        seen(&watch, "\"enqueued\"", 1)
    });
    until("the status is shown", || seen(&status, "\"uptime_ms\"", 1));
    bridge.kill();
    until("both miss it", || {
        let missed = |log: String| log.contains("is `leasebridge run` up?");
        missed(watch.log()) && missed(status.log())
    });
    let _bridge = house.ready_bridge();
    until("the watcher is back", || watch.log().contains("is back"));
    let before = watch.output().matches("\"enqueued\"").count();
    let shown = status.output().matches("\"uptime_ms\"").count();
    until("the watcher follows again", || {
        house.enqueue(&line, &[]).end().with(0);
        seen(&watch, "\"enqueued\"", before + 1)
    });
    until("the status is shown again", || {
        seen(&status, "\"uptime_ms\"", shown + 1)
    });
    for process in [watch, status] {
        process.signal(Signal::INT);
        process.end_within(SOON).with(0);
    }
}

#[test]
fn a_watcher_of_nothing_is_told_so() {
    let house = House::new();
    let ended = house.cli(&["watch"]).with(69);
    assert!(ended.stderr.contains("up?"), "{ended:#?}");
}

#[test]
fn a_route_without_a_link_is_not_called_active() {
    let house = House::new();
    let _bridge = house.ready_bridge();
    until("the link is missed", || {
        house.cli(&["status"]).with(0).stdout.contains("no link")
    });
    let one = house.cli(&["status", "--route", "default", "--sort", "poison"]);
    assert!(one.with(0).stdout.contains("default"));
    house.cli(&["status", "--route", "nowhere"]).with(4);
}

#[test]
fn an_endpoint_in_trouble_can_be_played() {
    let house = House::with_top(
        "[queue]\nbackoff = \"exponential\"\nbackoff_min = \"1ms\"\nbackoff_max = \"2ms\"\nmax_retries = 2\n",
    );
    let _bridge = house.ready_bridge();
    let line = house.write("line.txt", b"1\n");
    for (play, count) in [
        ("--refuse", "refused_total"),
        ("--reject=100", "rejected_total"),
    ] {
        let receiver = house.start("receiver", house.command(&["receiver", play]));
        house.enqueue(&line, &[]).end().with(0);
        until(play, || house.route()[count].as_u64() > Some(0));
        receiver.signal(Signal::TERM);
        receiver.end_within(SOON).with(0);
    }
    let out = ["receiver", "--out", "x", "--refuse"];
    let ended = house.cli(&out).with(2);
    assert!(ended.stderr.contains("cannot be used with"), "{ended:#?}");
}
