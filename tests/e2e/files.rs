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
    let receiver = house.start("receiver", limited);
    let _bridge = house.ready_bridge();
    let file = house.numbers(20_000);
    house.enqueue(&file, &[]).end().with(0);
    let ended = receiver.end_within(Duration::from_secs(60)).with(74);
    assert!(ended.stderr.contains("File too large"), "{ended:#?}");
    let _receiver = house.receiver();
    until("everything is executed", || {
        house.executed().commands.len() == 20_000
    });
    house.executed().assert_each_number_once(20_000);
}
