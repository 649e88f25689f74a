//! What happens to whole links: partitions, holds, latency, and a transport that is kept dead.

use std::collections::BTreeSet;
use std::time::Duration;

use leasebridge_sim::net::{Dead, GRPC_PORT, SOCKET_PORT};
use leasebridge_sim::plan::{FaultId, FaultSpec, HostName, Micros, NetFault, Transports, Ways};

use crate::world::{BEGIN, PORT, World, ask, between, connect, probe, secs, try_new};

#[test]
fn a_partition_leaves_old_connections_dead_and_hinders_new_ones_until_it_ends() {
    for ways in [Ways::Both, Ways::AToB, Ways::BToA] {
        let mut hindered = BTreeSet::new();
        for seed in 1..=6 {
            let [old, new, old_after, new_after] = probe(seed, PORT, NetFault::Partition { ways });
            assert_eq!([old, old_after], ["silent", "silent"], "{ways:?}");
            assert_eq!(new_after, "echo", "{ways:?}");
            hindered.insert(new);
        }
        let both = BTreeSet::from(["hangs".to_owned(), "unreachable".to_owned()]);
        assert_eq!(hindered, both, "{ways:?}");
    }
}

#[test]
fn held_messages_arrive_when_the_hold_ends() {
    let seen = probe(1, PORT, NetFault::Hold);
    assert_eq!(seen, ["silent", "hangs", "echo", "echo"]);
}

#[test]
fn latency_rises_while_the_fault_is_on_and_falls_back() {
    let mut world = World::new(1);
    world.script(|env, log| async move {
        let mut stream = connect(&env, PORT).await.unwrap();
        for at in [0, 2, 12] {
            let now = env.clock.now();
            env.clock
                .sleep(secs(at).saturating_sub(now.since_start()))
                .await;
            let start = env.clock.now();
            assert_eq!(ask(&env, &mut *stream).await, "echo");
            let took = env.clock.now().saturating_since(start).as_millis();
            let line = if took >= 400 { "slow" } else { "quick" };
            log.lock().unwrap().push(line.to_owned());
            assert!(took >= 400 || took <= 20, "{took}");
        }
    });
    world.until(BEGIN);
    let id = world.begin(between(NetFault::Latency {
        min: Micros::from_millis(200),
        max: Micros::from_millis(250),
    }));
    world.until(secs(10));
    world.end(id);
    world.until(secs(14));
    assert_eq!(world.lines(), ["quick", "slow", "quick"]);
    assert!(world.struck()[&id] > 0);
}

#[test]
fn the_end_of_one_partition_does_not_end_another_of_the_same_link() {
    let mut world = World::new(1);
    world.script(|env, log| async move {
        for at in [1, 5, 9] {
            let now = env.clock.now();
            env.clock
                .sleep(secs(at).saturating_sub(now.since_start()))
                .await;
            let seen = try_new(&env, PORT).await;
            log.lock().unwrap().push(seen);
        }
    });
    let fault = |id| FaultSpec {
        id: FaultId(id),
        at: Micros(0),
        span: Micros(0),
        kind: between(NetFault::Partition { ways: Ways::Both }),
    };
    assert!(world.network.begin(&world.sim, &fault(1)));
    assert!(world.network.begin(&world.sim, &fault(2)));
    world.until(secs(4));
    assert!(world.network.end(&world.sim, FaultId(1)));
    world.until(secs(8));
    assert!(world.network.end(&world.sim, FaultId(2)));
    assert!(!world.network.end(&world.sim, FaultId(2)));
    world.until(secs(12));
    let lines = world.lines();
    assert_ne!(lines[0], "echo");
    assert_ne!(lines[1], "echo");
    assert_eq!(lines[2], "echo");
}

#[test]
fn a_link_is_healed_for_one_transport_while_the_other_stays_dead() {
    for (transports, dead, expected) in [
        (Transports::Socket, Dead::Silent, ["echo", "hangs"]),
        (Transports::Grpc, Dead::Refused, ["refused", "echo"]),
        (Transports::Both, Dead::Silent, ["echo", "echo"]),
    ] {
        let mut world = World::new(1);
        world.script(|env, log| async move {
            env.clock.sleep(Duration::from_secs(5)).await;
            for port in [SOCKET_PORT, GRPC_PORT] {
                let seen = try_new(&env, port).await;
                log.lock().unwrap().push(seen);
            }
        });
        let id = world.begin(between(NetFault::Partition { ways: Ways::Both }));
        world.until(secs(3));
        let (a, b) = (HostName::from("a"), HostName::from("b"));
        let healed = world
            .network
            .heal_between(&world.sim, &b, &a, transports, dead);
        assert_eq!(healed, [id]);
        world.until(secs(10));
        assert_eq!(world.lines(), expected, "{transports:?}");
    }
}

#[test]
fn an_open_connection_of_a_transport_that_dies_falls_silent_and_revives() {
    let mut world = World::new(1);
    world.script(|env, log| async move {
        let mut stream = connect(&env, GRPC_PORT).await.unwrap();
        for at in [1, 5, 9] {
            let now = env.clock.now();
            env.clock
                .sleep(secs(at).saturating_sub(now.since_start()))
                .await;
            let seen = ask(&env, &mut *stream).await;
            log.lock().unwrap().push(seen);
        }
    });
    let (a, b) = (HostName::from("a"), HostName::from("b"));
    world.until(secs(3));
    assert_eq!(world.network.open_connections(&a), 1);
    assert_eq!(world.network.open_connections(&b), 1);
    world.network.keep_dead(&a, &b, GRPC_PORT, Dead::Silent);
    world.until(secs(8));
    world.network.revive(&a, &b, GRPC_PORT);
    world.until(secs(12));
    assert_eq!(world.lines(), ["echo", "silent", "echo"]);
}
