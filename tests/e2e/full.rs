//! No room: producers are told, wait, and go on when there is room again.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::house::House;
use crate::harness::until;

/// A log that is full after a few megabytes.
const SMALL_LOG: &str = "[journal]\nsegment_size = \"2MiB\"\nmax_size = \"16MiB\"\n";

/// Bytes of each body; with [`LINES`] of them far more than fits.
const BODY_BYTES: usize = 60_000;
const LINES: u64 = 500;

/// A file of large lines, each the number it stands for behind many zeros.
fn large_lines(house: &House) -> PathBuf {
    let text: String = (1..=LINES)
        .map(|number| format!("{number:0BODY_BYTES$}\n"))
        .collect();
    house.write("large.txt", text.as_bytes())
}

/// Fills the log of a bridge that has no receiver, then starts one: everything comes through.
fn fills_up_and_drains(house: &House) {
    let mut bridge = house.ready_bridge();
    let file = large_lines(house);
    let mut enqueue = house.enqueue(&file, &[]);
    until("the log is full", || {
        house.status()["journal"]["full"] == true
    });
    let waiting = house.route()["ready"].as_u64().expect("a number");
    assert!(waiting > 0 && waiting < LINES, "{waiting}");
    assert!(enqueue.runs(), "it waits for room");
    let _receiver = house.receiver();
    let account = enqueue.end().with(0).json();
    assert_eq!(account["accepted"], LINES, "{account}");
    house.until_idle();
    house.executed().assert_each_number_once(LINES);
    assert_eq!(house.status()["journal"]["full"], false);
    assert!(bridge.runs());
}

#[test]
fn a_log_that_has_used_up_its_share_makes_producers_wait() {
    let house = House::with("", "max_body = \"64KiB\"", SMALL_LOG);
    fills_up_and_drains(&house);
}

#[test]
fn a_queue_at_its_capacity_makes_producers_wait() {
    const LINES: u64 = 2_000;
    let house = House::with_top("[queue]\ncapacity = 100\n");
    let _bridge = house.ready_bridge();
    let file = house.numbers(LINES);
    let mut enqueue = house.enqueue(&file, &[]);
    until("the queue is full", || house.route()["ready"] == 100);
    assert!(enqueue.runs(), "it waits for room");
    let _receiver = house.receiver();
    let account = enqueue.end().with(0).json();
    assert_eq!(account["accepted"], LINES, "{account}");
    house.until_idle();
    house.executed().assert_each_number_once(LINES);
}

#[test]
fn a_full_disk_makes_producers_wait_and_loses_nothing() {
    let house = House::with(
        "",
        "max_body = \"64KiB\"",
        "[journal]\nsegment_size = \"2MiB\"\n",
    );
    let data = house.path("data");
    std::fs::create_dir(&data).expect("a folder of our own");
    let Some(_disk) = SmallDisk::mount(&data, 16) else {
        println!("skipped: no small file system can be mounted here, that takes root");
        return;
    };
    fills_up_and_drains(&house);
}

/// The log may be larger than the disk: what a route may fill goes by the disk.
#[test]
fn a_dead_route_on_a_small_disk_leaves_the_others_room() {
    let dead = "[routes.dead]\nsocket = \"127.0.0.1:1\"\nmax_body = \"64KiB\"\n";
    // The segments that are kept in reserve are the smaller part of that disk.
    let journal = "[journal]\nsegment_size = \"2MiB\"\n";
    let house = House::with("", "max_body = \"64KiB\"", &format!("{dead}{journal}"));
    let data = house.path("data");
    std::fs::create_dir(&data).expect("a folder of our own");
    let Some(_disk) = SmallDisk::mount(&data, 64) else {
        println!("skipped: no small file system can be mounted here, that takes root");
        return;
    };
    let mut bridge = house.ready_bridge();
    let file = large_lines(&house);
    let mut dead = house.enqueue(&file, &["--route", "dead"]);
    dead.until_it_says("this goes on by itself");
    let _receiver = house.receiver();
    let account = house.enqueue(&file, &[]).end().with(0).json();
    assert_eq!(account["accepted"], LINES, "{account}");
    house.until_idle();
    house.executed().assert_each_number_once(LINES);
    assert!(dead.runs(), "it waits for its own endpoint");
    assert!(bridge.runs());
}

/// A file system of a few MiB; it is taken away when it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, mib: u32) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={mib}M"), "tmpfs"])
            .arg(at);
        succeeds(mount).then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let mut unmount = Command::new("umount");
        // Lazily: the bridge that uses it is killed in the same moment.
        unmount.arg("--lazy").arg(&self.0);
        succeeds(unmount);
    }
}

fn succeeds(mut command: Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// An idle flood took the last descriptor, and the journal ended with "making 000007.seg: Too many open files".
#[test]
fn a_process_without_descriptors_goes_on_when_it_has_some_again() {
    let house = House::with(
        "",
        "max_body = \"64KiB\"",
        "[journal]\nsegment_size = \"2MiB\"\nmax_size = \"128MiB\"\n",
    );
    let mut bridge = house.ready_bridge();
    let mut enqueue = house.enqueue_pipe(&["--batch", "256"]);
    let mut lines = enqueue.stdin();
    let mut line = move |number: u64| {
        writeln!(lines, "{number:0BODY_BYTES$}").expect("it reads");
        lines.flush().expect("it reads");
    };
    for number in 1..=16 {
        line(number);
    }
    until("the first are accepted", || house.route()["ready"] == 16);
    // Nothing more can be opened from here on, and nobody accepted.
    let before = bridge.limit_files(Some(bridge.open_files()));
    let writing = std::thread::spawn(move || (17..=LINES).for_each(&mut line));
    bridge.until_it_says("no file can be opened for another segment");
    assert!(bridge.runs(), "the journal goes on");
    bridge.limit_files(before);
    writing.join().expect("no panic");
    let account = enqueue.end().with(0).json();
    assert_eq!(account["accepted"], LINES, "{account}");
    bridge.until_it_says("files can be opened again for the journal");
    let _receiver = house.receiver();
    house.until_idle();
    house.executed().assert_each_number_once(LINES);
    assert!(bridge.runs());
    let status = house.status();
    assert_eq!(status["open_files_max"].as_u64(), before, "{status}");
    let connections = status["listener"]["connections_max"].as_u64();
    assert!(connections >= Some(8), "{status}");
}
