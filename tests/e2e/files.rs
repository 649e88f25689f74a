//! The files that the program makes: who may read them, when they go, and what is done where they can't grow.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::house::House;
use crate::harness::until;

const SOON: Duration = Duration::from_secs(20);

fn mode(path: &Path) -> u32 {
    let found = std::fs::metadata(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    found.permissions().mode() & 0o777
}

#[test]
fn what_commands_say_is_for_their_owner_alone() {
    let house = House::new();
    let _receiver = house.receiver();
    let _bridge = house.ready_bridge();
    let line = house.write("line.txt", b"secret\n");
    house.enqueue(&line, &[]).end().with(0);
    house.until_idle();
    assert_eq!(mode(&house.path("data")), 0o700);
    for (path, _) in house.data_files() {
        assert_eq!(mode(&path), 0o600, "{path:?}");
    }
    assert_eq!(mode(&house.path("executed.tsv")), 0o600);
}

#[test]
fn a_socket_file_goes_with_its_listener_and_is_taken_from_the_dead_alone() {
    let house = House::new();
    let path = house.path("receiver.sock");
    let address = format!("unix:{}", path.display());
    let start = || {
        let mut receiver = house.start(
            "receiver",
            house.command(&["receiver", "--socket", &address]),
        );
        receiver.until_it_says("the receiver is ready");
        receiver
    };
    // Left behind by one that was killed.
    start().kill();
    assert!(path.exists());
    let second = start();
    second.signal(Signal::TERM);
    second.end_within(SOON).with(0);
    assert!(!path.exists(), "it goes at the exit");

    // Somebody listens there, and is too busy to accept.
    let busy = UnixListener::bind(&path).expect("a folder of our own");
    let other = house.command(&["receiver", "--socket", &address]);
    let refused = house.start("receiver", other).end_within(SOON).with(1);
    assert!(refused.stderr.contains("in use"), "{refused:#?}");
    assert!(path.exists(), "it is somebody else's");
    drop(busy);
}

/// `ulimit -f` stands for every limit that the kernel sets to a file's size: without a handler its signal kills.
#[test]
fn files_that_may_not_grow_are_a_full_disk() {
    let house = House::with(
        "",
        "max_body = \"64KiB\"",
        "[journal]\nsegment_size = \"2MiB\"\n",
    );
    // Room for the configuration, the log and its first segments, none for the inbox of a receiver.
    let out = house.path("executed.tsv");
    let mut limited = std::process::Command::new("sh");
    let program = env!("CARGO_BIN_EXE_leasebridge");
    let config = house.path("leasebridge.toml");
    let script = format!(
        "ulimit -f 64; exec {program} --config {} receiver --out {}",
        config.display(),
        out.display()
    );
    limited.arg("-c").arg(script);
    let mut receiver = house.start("receiver", limited);
    let _bridge = house.ready_bridge();
    let file = house.numbers(20_000);
    house.enqueue(&file, &[]).end().with(0);
    receiver.until_it_says("File too large");
    assert!(receiver.runs(), "it waits for room");
    receiver.kill();
    let _receiver = house.receiver();
    until("everything is executed", || {
        house.executed().commands.len() == 20_000
    });
    house.executed().assert_each_number_once(20_000);
}

/// Does something to the files of a running bridge.
type Meddle = fn(&House);

/// The folder is deleted, its file system unmounted, somebody tidies it up: what goes on being written is found by nobody.
#[test]
fn a_bridge_whose_folder_went_away_promises_nothing_more() {
    let meddling: [(&str, Meddle); 4] = [
        ("the folder", |house| {
            std::fs::remove_dir_all(house.path("data")).expect("it is there");
        }),
        ("its place", |house| {
            std::fs::rename(house.path("data"), house.path("elsewhere")).expect("it is there");
            std::fs::create_dir(house.path("data")).expect("it is free");
        }),
        ("the lock", |house| {
            std::fs::remove_file(house.path("data/lock")).expect("it is there");
        }),
        ("the mark", |house| {
            std::fs::remove_file(house.path("data/mark")).expect("it is there");
        }),
    ];
    for (what, meddle) in meddling {
        let house = House::new();
        let bridge = house.ready_bridge();
        let line = house.write("line.txt", b"one\n");
        house.enqueue(&line, &[]).end().with(0);
        meddle(&house);
        let line = house.write("line.txt", b"two\n");
        let promised = house.enqueue(&line, &["--patience", "1s"]).end();
        assert_ne!(promised.code, Some(0), "{what}: {promised:#?}");
        let ended = bridge.end_within(SOON).with(74);
        // Whoever comes first says so: a batch, or a spare segment for the next one.
        let said = ["not where it was", "No such file or directory"];
        assert!(
            said.iter().any(|words| ended.stderr.contains(words)),
            "{what}: {ended:#?}"
        );
    }
}

#[test]
fn a_receiver_whose_file_was_rotated_away_answers_nothing_more() {
    let house = House::new();
    let receiver = house.receiver();
    let _bridge = house.ready_bridge();
    let line = house.write("line.txt", b"one\n");
    house.enqueue(&line, &[]).end().with(0);
    house.until_idle();
    std::fs::rename(house.path("executed.tsv"), house.path("executed.1")).expect("it is there");
    house.enqueue(&line, &[]).end().with(0);
    let ended = receiver.end_within(SOON).with(74);
    assert!(ended.stderr.contains("renamed"), "{ended:#?}");
}

/// A file system that is not mounted leaves an empty folder, or none.
#[test]
fn an_empty_log_is_not_begun_where_there_has_been_one() {
    let house = House::new();
    let lost = house.path("lost");
    let bridge = house.ready_bridge();
    bridge.signal(Signal::TERM);
    bridge.end_within(SOON).with(0);
    std::fs::rename(house.path("data"), &lost).expect("nobody has it");
    for is_there in [false, true] {
        if is_there {
            std::fs::create_dir(house.path("data")).expect("it is free");
        }
        let refused = house.bridge().end_within(SOON).with(74);
        assert!(refused.stderr.contains("mounted?"), "{refused:#?}");
        assert_eq!(house.path("data").exists(), is_there, "nothing was changed");
    }
    let look = house.cli(&["journal", "verify"]).with(4);
    assert!(look.stderr.contains("no journal in"), "{look:#?}");
    assert!(house.data_files().is_empty(), "nothing was changed");
    // Back, it goes on; and a new one begins for whoever says so.
    std::fs::remove_dir(house.path("data")).expect("it is empty");
    std::fs::rename(&lost, house.path("data")).expect("it is free");
    house.ready_bridge().kill();
    std::fs::remove_dir_all(house.path("data")).expect("nobody has it");
    let mut bridge = house.start("run", house.command(&["run", "--new"]));
    bridge.until_it_says("the bridge is ready");
}

#[test]
fn a_log_that_must_exist_is_not_begun() {
    let house = House::with("", "", "[journal]\nrequire_existing = true\n");
    let refused = house.bridge().end_within(SOON).with(74);
    assert!(
        refused.stderr.contains("`require_existing`"),
        "{refused:#?}"
    );
    let mut bridge = house.start("run", house.command(&["run", "--new"]));
    bridge.until_it_says("the bridge is ready");
    bridge.kill();
    house.ready_bridge();
}
