//! What happens to a whole host: pause, slowness, death at rest and in the middle of a write, clocks.

use std::path::Path;
use std::time::Duration;

use leasebridge::env::Env;
use leasebridge_sim::host::WALL_START;
use leasebridge_sim::plan::{FaultKind, HostName, Micros};
use leasebridge_sim::seed::Seed;
use tokio::io::AsyncWriteExt;

use crate::world::{Log, PORT, World, connect, probe_world, secs};

fn pause(host: &str) -> FaultKind {
    FaultKind::Pause {
        host: HostName::from(host),
    }
}

#[test]
fn a_paused_host_says_nothing_and_goes_on_afterwards() {
    let (world, seen) = probe_world(
        1,
        PORT,
        |world| {
            world.begin(pause("b"));
        },
        |world| world.end(leasebridge_sim::plan::FaultId(1)),
    );
    assert_eq!(seen, ["silent", "hangs", "echo", "echo"]);
    assert!(!world.struck().is_empty());
}

/// Writes a line to its disk every tenth of a second of its clock.
async fn work(env: Env, log: Log) {
    let disk = std::sync::Arc::clone(&env.disk);
    let driver = async move {
        let file = disk.open(Path::new("/log"), true).await.unwrap();
        for number in 0.. {
            env.clock.sleep(Duration::from_millis(100)).await;
            file.write_at(number, b"x").await.unwrap();
            file.sync().await.unwrap();
            log.lock().unwrap().push(format!("{number}"));
        }
    };
    env.disk.run("work", Box::pin(driver)).unwrap();
}

#[test]
fn timers_and_disk_stand_still_while_a_host_is_paused() {
    let mut world = World::new(1);
    world.script(work);
    world.until(secs(1));
    let id = world.begin(pause("a"));
    let done = world.lines().len();
    assert!(done >= 8, "{done}");
    world.until(secs(5));
    assert_eq!(world.lines().len(), done);
    world.end(id);
    world.until(secs(6));
    assert!(world.lines().len() >= done + 8);
    assert!(world.struck()[&id] > 0);
}

#[test]
fn each_timer_and_disk_operation_of_a_slow_host_is_late() {
    let mut world = World::new(1);
    world.script(work);
    let id = world.begin(FaultKind::Slow {
        host: HostName::from("a"),
        delay: Micros::from_millis(300),
    });
    // One turn: a sleep of 100 ms, a write and a sync, each 300 ms late; the first has an open before it.
    world.until(secs(10) + Duration::from_millis(400));
    let slow = world.lines().len();
    assert!((9..=10).contains(&slow), "{slow}");
    world.end(id);
    world.until(secs(12) + Duration::from_millis(400));
    assert!(world.lines().len() >= slow + 17);
}

#[test]
fn a_host_is_caught_in_the_middle_of_a_sync_and_crashed_there() {
    let mut world = World::new(1);
    world.script(work);
    world.until(secs(1));
    world.a.strike_when_busy();
    assert!(!world.a.is_struck(), "nothing is written right now");
    let told = world.lines().len();
    while !world.a.is_struck() {
        world.sim.step().unwrap();
    }
    world.until(secs(2));
    assert_eq!(world.lines().len(), told, "its caller is not told");
    let bytes = |world: &World| world.a.disk().bytes(Path::new("/log")).unwrap().len();
    assert_eq!(bytes(&world), told + 1, "but it has begun");
    world.a.crash(&mut world.sim);
    assert!(!world.a.is_struck());
    assert_eq!(bytes(&world), told + 1, "the machine's cache survives");
    world.a.start(&mut world.sim);
    world.until(secs(3));
    assert!(world.lines().len() > told + 5, "the next process works");
}

#[test]
fn a_host_is_caught_after_a_socket_write_and_loses_power_there() {
    let mut world = World::new(1);
    world.script(|env, log| async move {
        let mut stream = connect(&env, PORT).await.unwrap();
        env.clock.sleep(secs(1)).await;
        stream.write_all(b"hello").await.unwrap();
        env.clock.sleep(Duration::from_millis(1)).await;
        log.lock().unwrap().push("a: went on".to_owned());
    });
    world.a.strike_when_busy();
    while !world.a.is_struck() {
        world.sim.step().unwrap();
    }
    world.a.power_cut(&mut world.sim, Seed(1));
    world.until(secs(5));
    let lines = world.lines();
    assert!(lines.is_empty(), "{lines:?}");
}

#[test]
fn peers_are_told_of_a_crash() {
    let (_, seen) = probe_world(
        1,
        PORT,
        |world| world.b.clone().crash(&mut world.sim),
        |world| world.b.clone().start(&mut world.sim),
    );
    assert_eq!(seen[..2], ["UnexpectedEof", "refused"]);
    assert_eq!(seen[3], "echo");
}

#[test]
fn nobody_is_told_of_a_power_cut() {
    let (_, seen) = probe_world(
        1,
        PORT,
        |world| world.b.clone().power_cut(&mut world.sim, Seed(1)),
        |world| world.b.clone().start(&mut world.sim),
    );
    assert_eq!(seen[..2], ["silent", "hangs"]);
    assert_eq!(seen[3], "echo");
    assert_ne!(seen[2], "echo", "the connection died with the machine");
}

#[test]
fn clocks_drift_while_the_fault_is_on_and_jump_for_good() {
    let mut world = World::new(1);
    world.script(|env, log| async move {
        loop {
            let (now, wall) = (env.clock.now().as_millis(), env.clock.wall().unix_ms());
            let ahead = wall - WALL_START.unix_ms() - now;
            log.lock().unwrap().push(format!("{now} {ahead}"));
            env.clock.sleep(Duration::from_millis(10)).await;
        }
    });
    let host = HostName::from("a");
    let ppm = 100_000;
    let id = world.begin(FaultKind::Drift {
        host: host.clone(),
        ppm,
    });
    world.until(secs(10));
    world.end(id);
    world.begin(FaultKind::Jump { host, ms: 5_000 });
    world.until(secs(20));
    let lines = world.lines();
    let (now, ahead) = lines.last().unwrap().split_once(' ').unwrap();
    let now: u64 = now.parse().unwrap();
    assert!((20_980..=21_010).contains(&now), "{now}");
    assert_eq!(ahead, "5000");
}
