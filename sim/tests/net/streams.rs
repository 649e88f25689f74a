//! What happens to single connections: loss, resets, silence, hanging connects, slow links, pings.

use std::collections::BTreeSet;
use std::time::Duration;

use leasebridge::env::Env;
use leasebridge_sim::net::GRPC_PORT;
use leasebridge_sim::plan::{FaultId, FaultSpec, Micros, NetFault, Ways};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{BEGIN, Log, PORT, PREFACE, World, between, connect, probe, secs};

#[test]
fn a_stream_that_lost_a_segment_hangs_for_good() {
    let seen = probe(1, PORT, NetFault::Loss { one_in: 1 });
    assert_eq!(seen, ["silent", "hangs", "silent", "echo"]);
}

#[test]
fn connections_accepted_into_silence_stay_so() {
    let seen = probe(1, PORT, NetFault::AcceptThenSilence);
    assert_eq!(seen, ["echo", "silent", "echo", "echo"]);
}

#[test]
fn connects_hang_while_the_fault_is_on() {
    let seen = probe(1, PORT, NetFault::ConnectHangs);
    assert_eq!(seen, ["echo", "hangs", "echo", "echo"]);
}

#[test]
fn a_storm_resets_all_connections_again_and_again() {
    let every = Micros::from_millis(100);
    let mut world = World::new(1);
    world.script(|env, log| async move {
        loop {
            let Ok(mut stream) = connect(&env, PORT).await else {
                return;
            };
            let end = stream.read_u8().await.map_err(|error| error.kind());
            log.lock().unwrap().push(format!("a: {end:?}"));
        }
    });
    world.until(BEGIN);
    let id = world.begin(between(NetFault::ReconnectStorm { every }));
    world.until(secs(2));
    world.end(id);
    world.until(secs(3));
    let resets = world.struck()[&id];
    assert!((9..=10).contains(&resets), "{resets}");
    let lines = world.all_lines();
    let seen = lines
        .iter()
        .filter(|line| *line == "a: Err(ConnectionReset)");
    assert_eq!(seen.count() as u64, resets);
    let seen = lines.iter().filter(|line| *line == "b: ConnectionReset");
    assert_eq!(seen.count() as u64, resets, "both ends see it");
}

#[test]
fn a_reset_comes_after_exactly_so_many_more_bytes() {
    let ends: BTreeSet<String> = (1..=8).map(cut_after_three_bytes).collect();
    // Two ways in which what stands between the ends can end a connection.
    let both = ["a: Err(ConnectionReset)", "a: Err(UnexpectedEof)"];
    assert_eq!(ends, both.map(str::to_owned).into());
}

/// What the writer saw.
fn cut_after_three_bytes(seed: u64) -> String {
    let mut world = World::new(seed);
    world.script(|env, log| async move {
        let mut stream = connect(&env, PORT).await.unwrap();
        env.clock.sleep(secs(2)).await;
        stream.write_all(b"0123456789").await.unwrap();
        let end = stream.read_u8().await.map_err(|error| error.kind());
        log.lock().unwrap().push(format!("a: {end:?}"));
    });
    world.until(BEGIN);
    let id = world.begin(between(NetFault::Reset { after_bytes: 3 }));
    world.until(secs(5));
    let lines = world.all_lines();
    assert!(
        !lines.contains(&"b: 10 bytes".to_owned()),
        "the rest of the frame never came: {lines:?}"
    );
    let ended = ["b: unwritable", "b: ConnectionReset", "b: end"];
    assert!(
        lines.iter().any(|line| ended.contains(&line.as_str())),
        "{lines:?}"
    );
    assert_eq!(world.struck()[&id], 1);
    let seen = lines.into_iter().find(|line| line.starts_with("a: "));
    seen.expect("the writer's read ends")
}

#[test]
fn a_slow_link_passes_so_many_bytes_a_second() {
    let mut world = World::new(1);
    world.script(|env, log| async move {
        let mut stream = connect(&env, PORT).await.unwrap();
        for at in [2, 12] {
            let now = env.clock.now();
            env.clock
                .sleep(secs(at).saturating_sub(now.since_start()))
                .await;
            let start = env.clock.now();
            let (mut reading, mut writing) = tokio::io::split(&mut stream);
            let mut back = [0; 2000];
            let (written, read) =
                tokio::join!(writing.write_all(&[7; 2000]), reading.read_exact(&mut back));
            assert!(written.is_ok() && read.is_ok());
            let took = env.clock.now().saturating_since(start).as_millis();
            log.lock().unwrap().push(format!("a: {took}"));
        }
    });
    world.until(BEGIN);
    let id = world.begin(between(NetFault::SlowLink { bytes_per_s: 1000 }));
    world.until(secs(10));
    world.end(id);
    world.until(secs(14));
    let took: Vec<u64> = world
        .lines()
        .iter()
        .filter_map(|line| line.strip_prefix("a: ")?.parse().ok())
        .collect();
    assert!((1900..=3000).contains(&took[0]), "{took:?}");
    assert!(took[1] <= 30, "{took:?}");
}

const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

/// Pings once and says what comes back: the ping itself, from an echo; or an answer.
async fn ping(env: &Env, stream: &mut leasebridge::env::BoxStream, log: &Log) {
    stream.write_all(&PING).await.unwrap();
    let mut back = [0; 17];
    let reading = stream.read_exact(&mut back);
    let read = leasebridge::env::timeout(&*env.clock, Duration::from_secs(1), reading).await;
    let seen = match read {
        Ok(read) if read.is_ok() && back[4] == 1 && back[9..] == PING[9..] => "answered",
        Ok(_) if back == PING => "echoed",
        Ok(_) => "garbage",
        Err(_) => "silent",
    };
    log.lock().unwrap().push(format!("a: {seen}"));
}

#[test]
fn a_proxy_answers_pings_even_where_nobody_can_be_reached() {
    let mut world = World::new(1);
    world.script(|env, log| async move {
        let mut stream = connect(&env, GRPC_PORT).await.unwrap();
        stream.write_all(PREFACE).await.unwrap();
        for at in [1, 3, 5, 8] {
            let now = env.clock.now();
            env.clock
                .sleep(secs(at).saturating_sub(now.since_start()))
                .await;
            ping(&env, &mut stream, &log).await;
            if at == 3 {
                stream.write_all(&SETTINGS).await.unwrap();
                stream.read_exact(&mut [0; 9]).await.unwrap();
            }
        }
    });
    world.until(secs(2));
    // The proxy has an identity of its own, so that the partition can be begun beside it.
    let proxy = FaultSpec {
        id: FaultId(7),
        at: Micros(0),
        span: Micros(0),
        kind: between(NetFault::SwallowsPings),
    };
    assert!(world.network.begin(&world.sim, &proxy));
    world.until(secs(4));
    world.begin(between(NetFault::Partition { ways: Ways::Both }));
    world.until(secs(7));
    assert!(world.network.end(&world.sim, proxy.id));
    world.until(secs(10));
    assert_eq!(
        world.lines(),
        ["a: echoed", "a: answered", "a: answered", "a: silent"]
    );
    assert_eq!(world.struck()[&proxy.id], 2);
}
