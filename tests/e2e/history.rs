//! `--history`: what real processes tell of themselves is whole whatever kills them, and in an order by which
//! they can be judged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use leasebridge_sim::history::{Record, TaskName, What, read};
use rustix::process::Signal;

use crate::harness::executed::Counter;
use crate::harness::house::House;
use crate::harness::process::Process;
use crate::harness::until;

/// How often everything is killed.
const LIVES: u32 = 4;

const LINES: u64 = 2_000;

fn start(house: &House, name: &str, args: &[&str]) -> Process {
    let mut command = house.command(args);
    command
        .arg("--history")
        .arg(house.path(&format!("{name}.jsonl")));
    house.start(name, command)
}

fn receiver(house: &House) -> Process {
    let out = house.path("executed.tsv");
    start(
        house,
        "receiver",
        &["receiver", "--out", out.to_str().expect("a plain path")],
    )
}

fn enqueue(house: &House, file: &Path) -> Process {
    let file = file.to_str().expect("a plain path");
    start(
        house,
        "enqueue",
        &[
            "enqueue", "--resume", "--batch", "16", "--window", "2", file,
        ],
    )
}

fn told(house: &House, name: &str) -> Vec<Record> {
    let path = house.path(&format!("{name}.jsonl"));
    let file = File::open(&path).expect("it was written");
    let (header, records, cut) = read(BufReader::new(file)).expect("every line is a record");
    assert_eq!(header.source, name);
    assert!(!cut, "the last life of `{name}` ended in order");
    assert!(records.is_sorted_by_key(|record| record.at), "{name}");
    records
}

#[test]
fn histories_of_killed_processes_are_whole_and_agree_with_each_other() {
    let house = House::new();
    let file = house.numbers(LINES);
    let mut counter = Counter::new(house.path("executed.tsv"));
    for _ in 0..LIVES {
        let (mut receiver, mut bridge) = (receiver(&house), start(&house, "run", &["run"]));
        // Each life is one that its history knows of, however soon the rest is done.
        receiver.until_it_says("the receiver is ready");
        bridge.until_it_says("the bridge is ready");
        let goal = (counter.count() + LINES / 16).min(LINES);
        let enqueue = enqueue(&house, &file);
        until("more is executed", || counter.count() >= goal);
        bridge.kill();
        receiver.kill();
        enqueue.kill();
    }
    let receiver = receiver(&house);
    let bridge = start(&house, "run", &["run"]);
    enqueue(&house, &file).end().with(0);
    until("all is executed", || counter.count() >= LINES);
    house.until_idle();
    bridge.signal(Signal::TERM);
    bridge.end().with(0);
    receiver.signal(Signal::TERM);
    receiver.end().with(0);

    let executed = check_endpoint(&told(&house, "receiver"));
    assert_eq!(executed.len() as u64, LINES);
    check_bridge(&told(&house, "run"), &executed);
    check_producer(&told(&house, "enqueue"), &executed);
}

/// Every execution has a beginning and one end. Returns when each task was executed.
fn check_endpoint(records: &[Record]) -> BTreeMap<TaskName, u64> {
    let mut begun = BTreeSet::new();
    let mut executed = BTreeMap::new();
    let mut lives = 0;
    for record in records {
        match &record.what {
            What::Up { boot, .. } => {
                lives += 1;
                assert_eq!(*boot, lives);
            }
            What::Executing { task, .. } => drop(begun.insert(*task)),
            What::Executed { task, result, .. } => {
                assert!(begun.contains(task), "{task} ended before it began");
                assert_eq!(result, "done");
                let before = executed.insert(*task, record.at);
                assert_eq!(before, None, "{task} was executed twice");
            }
            other => panic!("an endpoint tells no {other:?}"),
        }
    }
    assert_eq!(lives, LIVES + 1);
    executed
}

/// What is told as done was told as executed before, and the end is told whole.
fn check_bridge(records: &[Record], executed: &BTreeMap<TaskName, u64>) {
    let mut lives = 0;
    let mut done = 0;
    for record in records {
        match &record.what {
            What::Opened { boot, .. } => {
                lives += 1;
                assert_eq!(*boot, lives);
            }
            What::Fed { kind, task, .. } if kind == "done" => {
                let task = task.as_ref().expect("a task is done");
                let at = executed.get(task);
                assert!(
                    at.is_some_and(|at| *at <= record.at),
                    "{task} is done at {}, executed at {at:?}",
                    record.at
                );
                done += 1;
            }
            What::Found { task, .. } => panic!("{task} was left"),
            _ => {}
        }
    }
    assert_eq!(lives, LIVES + 1);
    assert!(done > 0);
    let last = records.last().map(|record| &record.what);
    assert_eq!(last, Some(&What::Closed {}));
}

/// Every line was offered and in the end accepted, as a task that was executed.
fn check_producer(records: &[Record], executed: &BTreeMap<TaskName, u64>) {
    let (mut offered, mut accepted) = (BTreeSet::new(), BTreeMap::new());
    for record in records {
        match &record.what {
            What::Offered { op, .. } => drop(offered.insert(*op)),
            What::Accepted { op, task, .. } => {
                assert!(offered.contains(op), "{op} was answered before it was sent");
                assert!(executed.contains_key(task), "{task} was not executed");
                let before = accepted.insert(*op, *task);
                assert!(before.is_none_or(|before| before == *task), "{op}: {task}");
            }
            What::Unknown { op, .. } => assert!(offered.contains(op)),
            What::Declined { op, why } => assert_eq!(why, "full", "{op}"),
            other => panic!("a producer tells no {other:?}"),
        }
    }
    assert_eq!(accepted.len() as u64, LINES);
}

#[test]
fn a_file_that_is_no_history_of_the_command_is_left_alone() {
    let house = House::new();
    let path = house.write("run.jsonl", b"something of mine\n");
    let ended = start(&house, "run", &["run"]).end().with(1);
    assert!(ended.stderr.contains("is no history"), "{}", ended.stderr);
    let kept = std::fs::read(path).expect("it is still there");
    assert_eq!(kept, b"something of mine\n");
}
