//! Two hosts that use nothing but their `Env`, in a turmoil simulation.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use leasebridge::env::{Address, Clock, Env, Mono};
use leasebridge_sim::clock::DriftPpm;
use leasebridge_sim::disk::{Fault, FaultRule, OpKind, OpNumber};
use leasebridge_sim::host::{SimHost, WALL_START};
use leasebridge_sim::net::Network;
use leasebridge_sim::plan::Micros;
use leasebridge_sim::seed::Seed;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PORT: u16 = 7420;

type Log = Arc<Mutex<Vec<String>>>;

fn simulation(seed: u64) -> turmoil::Sim<'static> {
    turmoil::Builder::new()
        .rng_seed(seed)
        .epoch(SystemTime::UNIX_EPOCH)
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(40))
        .simulation_duration(Duration::from_secs(60))
        .build()
}

fn network(seed: u64) -> Network {
    Network::new(
        Seed(seed),
        [Micros::from_millis(1), Micros::from_millis(40)],
    )
}

/// Answers each byte after a nap of as many milliseconds, and writes it to its disk first.
async fn serve(env: Env, log: Log) -> turmoil::Result {
    let file = env.disk.open(Path::new("/echo"), true).await?;
    let mut listener = env.transport.bind(&Address::tcp("0.0.0.0", PORT)).await?;
    let (mut stream, peer) = listener.accept().await?;
    let mut said = vec![format!("peer {}", peer.split(':').next().unwrap_or(""))];
    while let Ok(byte) = stream.read_u8().await {
        env.clock.sleep(Duration::from_millis(byte.into())).await;
        let at = file.size().await?;
        file.write_at(at, &[byte]).await?;
        file.sync().await?;
        said.push(format!("{byte} at {:?}", env.clock.now()));
        stream.write_u8(byte).await?;
    }
    log.lock().unwrap().append(&mut said);
    std::future::pending().await
}

async fn ask(env: Env, log: Log) -> turmoil::Result {
    let server = Address::tcp("server", PORT);
    let mut stream = env.transport.connect(&server).await?;
    for _ in 0..10 {
        let byte = u8::try_from(env.entropy.below(100))?;
        stream.write_u8(byte).await?;
        assert_eq!(stream.read_u8().await?, byte);
        let line = format!(
            "{byte} back at {:?}, {:?}",
            env.clock.now(),
            env.clock.wall()
        );
        log.lock().unwrap().push(line);
    }
    drop(stream);
    env.clock.sleep(Duration::from_secs(1)).await;
    Ok(())
}

/// Everything the two hosts saw, and what is durable at the end.
fn conversation(seed: u64) -> (Vec<String>, Vec<u8>) {
    let log = Log::default();
    let mut sim = simulation(seed);
    let network = network(seed);
    let server = Arc::new(SimHost::new("server", Seed(seed), &network));
    server.clock().set_drift(DriftPpm(100_000));
    let (min, max) = (Duration::from_millis(1), Duration::from_millis(20));
    let slow = FaultRule::new(Fault::Slow { min, max }).on(OpKind::Sync);
    server.disk().add_fault(slow);
    let (host, server_log) = (Arc::clone(&server), Arc::clone(&log));
    sim.host("server", move || {
        serve(host.boot(), Arc::clone(&server_log))
    });
    let client = SimHost::new("client", Seed(seed), &network);
    sim.client("client", ask(client.boot(), Arc::clone(&log)));
    sim.run().unwrap();
    let lines = std::mem::take(&mut *log.lock().unwrap());
    (
        lines,
        server.disk().durable_bytes(Path::new("/echo")).unwrap(),
    )
}

#[test]
fn two_hosts_talk_and_sleep_the_same_way_for_the_same_seed() {
    let (lines, durable) = conversation(7);
    assert_eq!(durable.len(), 10);
    assert_eq!(lines.len(), 21);
    assert!(lines.contains(&"peer client".to_owned()), "{lines:?}");
    assert_eq!((lines, durable), conversation(7));
    let others: BTreeSet<_> = (0..5).map(conversation).collect();
    assert_eq!(others.len(), 5, "different seeds differ");
}

#[test]
fn clocks_survive_a_restart_of_their_host_and_drift_apart() {
    let mut sim = simulation(1);
    let host = Arc::new(SimHost::new("a", Seed(1), &network(1)));
    host.clock().set_drift(DriftPpm(-500_000));
    let readings: Arc<Mutex<Vec<Mono>>> = Arc::default();
    let (machine, seen) = (Arc::clone(&host), Arc::clone(&readings));
    sim.host("a", move || {
        let (env, seen) = (machine.boot(), Arc::clone(&seen));
        async move {
            loop {
                seen.lock().unwrap().push(env.clock.now());
                env.clock.sleep(Duration::from_millis(100)).await;
            }
        }
    });
    let run = |sim: &mut turmoil::Sim<'_>, millis: u32| {
        for _ in 0..millis {
            sim.step().unwrap();
        }
    };
    run(&mut sim, 1000);
    sim.crash("a");
    run(&mut sim, 1000);
    sim.bounce("a");
    run(&mut sim, 1000);
    let readings = readings.lock().unwrap();
    assert!(readings.is_sorted(), "{readings:?}");
    // 3 s of true time at half the rate, of which the host was down for a third.
    let last = readings.last().unwrap().as_millis();
    assert!((1350..=1500).contains(&last), "{last}");
    assert_eq!(readings.len(), 10, "{readings:?}");
    assert_eq!(
        host.clock().wall().unix_ms() / 10_000,
        WALL_START.unix_ms() / 10_000
    );
}

#[test]
fn a_crash_point_stops_a_host_and_a_power_cut_brings_it_back() {
    let mut sim = simulation(1);
    let host = Arc::new(SimHost::new("a", Seed(1), &network(1)));
    let boots: Arc<Mutex<Vec<u64>>> = Arc::default();
    let (machine, seen) = (Arc::clone(&host), Arc::clone(&boots));
    sim.host("a", move || {
        let (env, seen) = (machine.boot(), Arc::clone(&seen));
        async move {
            let _lock = env.disk.lock(Path::new("/lock")).await?;
            env.disk.sync_dir(Path::new("/")).await?;
            let (told, hear) = tokio::sync::oneshot::channel();
            let disk = Arc::clone(&env.disk);
            let driver = async move {
                let file = disk.open(Path::new("/log"), true).await.unwrap();
                disk.sync_dir(Path::new("/")).await.unwrap();
                let size = file.size().await.unwrap();
                file.write_at(size, b"x").await.unwrap();
                file.sync().await.unwrap();
                told.send(size).unwrap();
            };
            env.disk.run("log", Box::pin(driver))?;
            let heard = hear.await?;
            seen.lock().unwrap().push(heard);
            std::future::pending().await
        }
    });
    // Lock file, directory, log file, directory, write, sync: the sixth never returns.
    host.disk().crash_at(OpNumber(6));
    while !host.disk().is_dead() {
        sim.step().unwrap();
    }
    sim.crash("a");
    host.disk().power_cut(Seed(1));
    for _ in 0..2 {
        sim.bounce("a");
        sim.step().unwrap();
        sim.step().unwrap();
        sim.crash("a");
        host.disk().power_cut(Seed(2));
    }
    let boots = boots.lock().unwrap();
    assert_eq!(boots.len(), 2, "the first boot was told nothing");
    assert_eq!(
        boots[1],
        boots[0] + 1,
        "what the second was told is durable"
    );
}

#[test]
fn unix_sockets_and_unknown_hosts_are_refused() {
    let mut sim = simulation(1);
    let env = SimHost::new("a", Seed(1), &network(1)).boot();
    sim.client("a", async move {
        let unix = "unix:/run/lb.sock".parse()?;
        let error = env.transport.connect(&unix).await.err().map(|e| e.kind());
        assert_eq!(error, Some(std::io::ErrorKind::Unsupported));
        assert!(env.transport.bind(&unix).await.is_err());
        assert!(env.transport.bind(&"[::1]:1".parse()?).await.is_err());
        assert!(env.transport.connect(&"nobody:1".parse()?).await.is_err());
        let listener = env.transport.bind(&"localhost:0".parse()?).await?;
        assert!(matches!(listener.local_address(), Address::Tcp { port, .. } if port > 0));
        Ok(())
    });
    sim.run().unwrap();
}
