//! What is wrong is said before anything is touched.

use rustix::process::Signal;

use crate::harness::executed::Counter;
use crate::harness::house::{House, program};
use crate::harness::until;

#[test]
fn a_bad_configuration_is_refused_with_file_line_and_field() {
    let house = House::new();
    for (text, said) in [
        ("[queue]\ncapasity = 3\n", "bad.toml:2:1: queue.capasity"),
        ("[queue]\nlease = 30\n", "bad.toml:2:9: queue.lease"),
        (
            "[routes.lamps]\nsocket = \"nowhere\"\n",
            "bad.toml:2:10: routes.lamps.socket",
        ),
        ("[queue\n", "bad.toml:1:"),
    ] {
        let file = house.write("bad.toml", text.as_bytes());
        for subcommand in ["run", "receiver", "enqueue", "status", "check-config"] {
            let mut command = program();
            command.current_dir(house.path("")).arg("-c").arg(&file);
            command.arg(subcommand);
            let ended = house.start("bad", command).end().with(2);
            assert!(ended.stderr.contains(said), "{subcommand}: {ended:#?}");
        }
    }
    assert!(
        !house.path("leasebridge-data").exists(),
        "nothing was started"
    );
    assert!(!house.path("data").exists(), "nothing was started");
}

#[test]
fn a_second_bridge_on_the_same_folder_is_refused_and_changes_nothing() {
    let house = House::new();
    let mut bridge = house.ready_bridge();
    let file = house.numbers(50);
    house.enqueue(&file, &[]).end().with(0);
    house.cli(&["route", "pause", "default"]).with(0);
    // Held still, so that whatever changes is the second one's doing.
    bridge.signal(Signal::STOP);
    let mut before = house.data_files();
    // What it was writing just then may still arrive.
    until("its files rest", || {
        let earlier = std::mem::replace(&mut before, house.data_files());
        earlier == before
    });
    let ended = house.bridge().end();
    assert!(ended.code.is_some_and(|code| code != 0), "{ended:#?}");
    assert!(
        ended.stderr.contains("in use by another process"),
        "{ended:#?}"
    );
    assert!(
        before == house.data_files(),
        "a file of the journal was changed"
    );
    bridge.signal(Signal::CONT);
    assert!(bridge.runs());
    house.cli(&["route", "resume", "default"]).with(0);
    let _receiver = house.receiver();
    house.until_idle();
    house.executed().assert_each_number_once(50);
}

#[test]
fn a_second_receiver_on_the_same_file_is_refused_and_the_first_goes_on() {
    let house = House::new();
    let mut receiver = house.receiver();
    receiver.until_it_says("the receiver is ready");
    let out = house.path("executed.tsv");
    let mut command = house.command(&[
        "receiver",
        "--socket",
        "127.0.0.1:0",
        "--grpc",
        "127.0.0.1:0",
    ]);
    command.arg("--out").arg(&out);
    let ended = house.start("second", command).end();
    assert!(ended.code.is_some_and(|code| code != 0), "{ended:#?}");
    assert!(ended.stderr.contains("executed.tsv"), "{ended:#?}");
    let _bridge = house.ready_bridge();
    let file = house.numbers(10);
    house.enqueue(&file, &[]).end().with(0);
    let mut counter = Counter::new(out);
    until("all is executed", || counter.count() == 10);
    assert!(receiver.runs());
}

#[test]
fn a_route_that_has_tasks_cannot_vanish_from_the_configuration() {
    let house = House::new();
    let bridge = house.ready_bridge();
    let file = house.numbers(7);
    house.enqueue(&file, &[]).end().with(0);
    bridge.kill();
    let path = house.path("leasebridge.toml");
    let text = std::fs::read_to_string(&path).expect("it was written");
    let renamed = text.replace("[routes.default]", "[routes.lamps]");
    house.write("leasebridge.toml", renamed.as_bytes());
    let ended = house.bridge().end().with(2);
    assert!(ended.stderr.contains("default: 7 waiting"), "{ended:#?}");
    house.write(
        "leasebridge.toml",
        format!("on_missing_route = \"hold\"\n{renamed}").as_bytes(),
    );
    let _bridge = house.ready_bridge();
    house.cli(&["route", "move", "default", "lamps"]).with(0);
    let _receiver = house.receiver();
    let mut counter = Counter::new(house.path("executed.tsv"));
    until("all is executed", || counter.count() == 7);
    house.executed().assert_each_number_once(7);
}
