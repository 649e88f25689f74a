//! Logging never fails or blocks the program: stderr may be full, closed, or read by nobody. Each test stands for a
//! way in which a bridge or a receiver looked alive and delivered nothing, once it had something to say.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::endpoint::Endpoint;
use crate::harness::house::House;
use crate::harness::process::Process;
use crate::harness::until;

/// How long a process may take to end once nothing holds it: far longer than it needs.
const SOON: Duration = Duration::from_secs(20);

/// So much is logged that a pipe which nobody reads is full: the kernel gives it 64 KiB.
const TALKATIVE: [&str; 2] = ["--log", "trace"];

/// A device that is always full.
fn full() -> Stdio {
    let file = std::fs::File::options().write(true).open("/dev/full");
    file.expect("every Linux has it").into()
}

/// A bridge and a receiver that log to `log`; both are needed again after the receiver was killed.
fn delivers_whatever_becomes_of_its_logs(log: impl Fn() -> Stdio, close: impl Fn(&mut Process)) {
    let house = House::new();
    let out = house.path("executed.tsv");
    let out = out.to_str().expect("a plain name");
    let receiver = || {
        let mut args = vec!["receiver", "--out", out];
        args.extend(TALKATIVE);
        let mut receiver = house.start_logging_to(log(), &args);
        close(&mut receiver);
        receiver
    };
    let first = receiver();
    let mut bridge = house.start_logging_to(log(), &["run", TALKATIVE[0], TALKATIVE[1]]);
    close(&mut bridge);
    house.until_it_answers();
    let numbers = house.numbers(3_000);
    house.enqueue(&numbers, &[]).end().with(0);
    house.until_idle();
    first.kill();
    let more: String = (3_001..=3_100)
        .map(|number| format!("{number}\n"))
        .collect();
    let more = house.write("more.txt", more.as_bytes());
    house.enqueue(&more, &[]).end().with(0);
    let second = receiver();
    house.until_idle();
    house.executed().assert_each_number_once(3_100);
    assert!(bridge.runs());
    for process in [bridge, second] {
        process.signal(Signal::TERM);
        process.end_within(SOON).with(0);
    }
}

#[test]
fn a_full_stderr_ends_nothing() {
    delivers_whatever_becomes_of_its_logs(full, |_| {});
}

#[test]
fn a_closed_stderr_ends_nothing() {
    delivers_whatever_becomes_of_its_logs(Stdio::piped, |process| drop(process.stderr()));
}

#[test]
fn a_stderr_that_nobody_reads_stops_nothing() {
    delivers_whatever_becomes_of_its_logs(Stdio::piped, |_| {});
}

#[test]
fn a_failure_is_told_by_the_exit_code_where_nobody_can_read_it() {
    let house = House::with_top("lisen = 1");
    for log in [full(), Stdio::piped()] {
        house
            .start_logging_to(log, &["run"])
            .end_within(SOON)
            .with(2);
    }
}

#[test]
fn a_hangup_ends_nothing() {
    let house = House::new();
    let endpoint = Endpoint::start(&house);
    let mut bridge = house.ready_bridge();
    bridge.signal(Signal::HUP);
    bridge.until_it_says("SIGHUP is ignored");
    let line = house.write("line.txt", b"one\n");
    house.enqueue(&line, &[]).end().with(0);
    house.until_idle();
    assert_eq!(endpoint.executed(), ["one"]);
    bridge.signal(Signal::TERM);
    bridge.end_within(SOON).with(0);
}

#[test]
fn what_fails_again_and_again_is_said_once_in_a_while_and_with_the_task() {
    let house = House::new();
    let bridge = house.ready_bridge();
    let receiver = house.start("receiver", house.command(&["receiver", "--refuse"]));
    house.enqueue(&house.numbers(200), &[]).end().with(0);
    until("all are refused", || {
        house.route()["refused_total"].as_u64() == Some(200)
    });
    let log = bridge.log();
    let told: Vec<_> = log
        .lines()
        .filter(|line| line.contains("a command was not delivered"))
        .collect();
    // An interval may have ended meanwhile.
    assert!((1..20).contains(&told.len()), "{log}");
    for part in [
        "route=\"default\"",
        "delivery=",
        "outcome=\"refused\"",
        "unsaid=",
    ] {
        assert!(told[0].contains(part), "{part}: {}", told[0]);
    }
    for process in [receiver, bridge] {
        process.signal(Signal::TERM);
        process.end_within(SOON).with(0);
    }
}
