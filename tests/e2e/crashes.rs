//! `kill -9` at any moment, of each process and of all: what was accepted is executed, once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::chance::Chance;
use crate::harness::executed::Counter;
use crate::harness::feed::Feed;
use crate::harness::house::House;
use crate::harness::process::Process;
use crate::harness::until;

/// How often the one under test is killed.
const KILLS: u32 = 8;

/// The longest a process lives after its start when it is to be killed early: this covers its own start
/// and the recovery of what its last life left behind.
const EARLY: Duration = Duration::from_millis(300);

/// Picks moments: early in a life, or after some more commands were executed.
struct Reaper {
    chance: Chance,
    counter: Counter,
}

impl Reaper {
    fn new(name: &str, house: &House) -> Self {
        Self {
            chance: Chance::of(name),
            counter: Counter::new(house.path("executed.tsv")),
        }
    }

    /// Waits for a moment of the life that has just begun.
    fn moment(&mut self) {
        if self.chance.below(3) == 0 {
            self.chance.pause(EARLY);
            return;
        }
        let goal = self.counter.count() + 1 + self.chance.below(600);
        until("more is executed", || self.counter.count() >= goal);
    }
}

#[test]
fn a_bridge_that_is_killed_again_and_again_loses_and_doubles_nothing() {
    let house = House::new();
    let _receiver = house.receiver();
    let mut bridge = house.ready_bridge();
    let mut enqueue = house.enqueue_pipe(&["--batch", "64"]);
    let feed = Feed::start(enqueue.stdin(), house.path("executed.tsv"));
    let mut reaper = Reaper::new("bridge", &house);
    for _ in 0..KILLS {
        reaper.moment();
        bridge.kill();
        bridge = house.bridge();
    }
    let last = feed.stop();
    let account = enqueue.end().with(0).json();
    assert_eq!(total(&account), last, "{account}");
    finish(&house, last);
}

#[test]
fn a_receiver_that_is_killed_again_and_again_executes_nothing_twice() {
    let house = House::new();
    let mut receiver = house.receiver();
    let mut bridge = house.ready_bridge();
    let mut enqueue = house.enqueue_pipe(&["--batch", "64"]);
    let feed = Feed::start(enqueue.stdin(), house.path("executed.tsv"));
    let mut reaper = Reaper::new("receiver", &house);
    for _ in 0..KILLS {
        reaper.moment();
        receiver.kill();
        receiver = house.receiver();
    }
    let last = feed.stop();
    let account = enqueue.end().with(0).json();
    assert_eq!(account["accepted"], last, "{account}");
    finish(&house, last);
    assert!(bridge.runs());
}

#[test]
fn an_enqueue_that_is_killed_and_run_again_doubles_nothing() {
    const LINES: u64 = 4_000;
    let house = House::new();
    let _receiver = house.receiver();
    let _bridge = house.ready_bridge();
    let file = house.numbers(LINES);
    let mut reaper = Reaper::new("enqueue", &house);
    let slowly = ["--resume", "--batch", "16", "--window", "2"];
    let mut killed = 0;
    for _ in 0..KILLS {
        let mut enqueue = house.enqueue(&file, &slowly);
        // What an earlier life sent is known already, so each life gets further than the one before.
        let goal = reaper.counter.count() + reaper.chance.below(LINES / u64::from(KILLS));
        until("more is executed or nothing is left to send", || {
            reaper.counter.count() >= goal || !enqueue.runs()
        });
        killed += u32::from(enqueue.runs());
        enqueue.kill();
    }
    assert!(killed >= KILLS / 2, "only {killed} were killed at work");
    let account = house.enqueue(&file, &slowly).end().with(0).json();
    assert_eq!(total(&account), LINES, "{account}");
    assert!(account["already_there"].as_u64() > Some(0), "{account}");
    finish(&house, LINES);
}

#[test]
fn all_three_are_killed_again_and_again() {
    const LINES: u64 = 6_000;
    let house = House::new();
    let file = house.numbers(LINES);
    let mut all = All::start(&house, &file);
    let mut reaper = Reaper::new("all", &house);
    let mut killed_enqueues = 0;
    for round in 0..3 * u64::from(KILLS) {
        let goal = (round * LINES / 40).min(LINES / 2) + reaper.chance.below(200);
        if reaper.chance.below(3) == 0 {
            reaper.chance.pause(EARLY);
        } else {
            until("more is executed", || reaper.counter.count() >= goal);
        }
        match reaper.chance.below(7) {
            0 | 1 => all.kill_bridge(),
            2 | 3 => all.kill_receiver(),
            4 | 5 => killed_enqueues += u32::from(all.kill_enqueue()),
            _ => {
                all.kill_bridge();
                all.kill_receiver();
                killed_enqueues += u32::from(all.kill_enqueue());
            }
        }
    }
    assert!(killed_enqueues > 0, "enqueue was never at work");
    let account = all.enqueue().end().with(0).json();
    assert_eq!(total(&account), LINES, "{account}");
    finish(&house, LINES);
}

/// All three processes at work on one input.
struct All<'a> {
    house: &'a House,
    file: PathBuf,
    receiver: Option<Process>,
    bridge: Option<Process>,
    enqueue: Option<Process>,
}

impl<'a> All<'a> {
    fn start(house: &'a House, file: &Path) -> Self {
        let mut all = Self {
            house,
            file: file.to_owned(),
            receiver: Some(house.receiver()),
            bridge: Some(house.bridge()),
            enqueue: None,
        };
        all.enqueue = Some(all.enqueue());
        all
    }

    fn enqueue(&self) -> Process {
        let slowly = ["--resume", "--batch", "16", "--window", "2"];
        self.house.enqueue(&self.file, &slowly)
    }

    fn kill_bridge(&mut self) {
        self.bridge.take().expect("it was started").kill();
        self.bridge = Some(self.house.bridge());
    }

    fn kill_receiver(&mut self) {
        self.receiver.take().expect("it was started").kill();
        self.receiver = Some(self.house.receiver());
    }

    /// Returns whether it was still at work.
    fn kill_enqueue(&mut self) -> bool {
        let mut enqueue = self.enqueue.take().expect("it was started");
        let at_work = enqueue.runs();
        enqueue.kill();
        self.enqueue = Some(self.enqueue());
        at_work
    }
}

fn total(account: &serde_json::Value) -> u64 {
    ["accepted", "already_there"]
        .map(|field| account[field].as_u64().expect("a number"))
        .iter()
        .sum()
}

/// Waits until all is executed, and checks that it was executed once and nothing healthy is in poison.
fn finish(house: &House, last: u64) {
    let mut counter = Counter::new(house.path("executed.tsv"));
    until("all is executed", || counter.count() >= last);
    house.until_idle();
    house.executed().assert_each_number_once(last);
    let route = house.route();
    assert_eq!(route["poison"], 0, "an outage is nobody's fault: {route}");
}
