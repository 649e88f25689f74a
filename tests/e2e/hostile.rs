//! Peers that take and don't give. Each of these once cost the processes gigabytes, or everybody else the service.

use bytes::Bytes;
use tokio::task::JoinSet;
use tonic::Code;

use crate::harness::endpoint::Endpoint;
use crate::harness::executed::Counter;
use crate::harness::hostile::{connect, each_alone, many_files, read, request, send, silent};
use crate::harness::house::House;
use crate::harness::process::Process;
use crate::harness::until;

const ENQUEUE: &str = "/leasebridge.v1.Ingest/Enqueue";
const ENQUEUE_BATCH: &str = "/leasebridge.v1.Ingest/EnqueueBatch";
const LIST_POISON: &str = "/leasebridge.v1.Admin/ListPoison";
const EXECUTE_COMMAND: &str = "/leasebridge.v1.Endpoint/ExecuteCommand";

/// What hostile peers may make a process hold above what it needs without them.
const MEMORY_MAX: u64 = 256 << 20;

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(future)
}

/// What a process has needed at most since `idle` was read.
#[track_caller]
fn assert_modest(process: &Process, idle: u64) {
    let peak = process.peak_memory();
    let more = peak.saturating_sub(idle);
    println!("{} MiB above the idle {} MiB", more >> 20, idle >> 20);
    assert!(more <= MEMORY_MAX, "{peak} bytes, {idle} when idle");
}

/// Commands are taken and executed, and operators are answered.
#[track_caller]
fn assert_serves(house: &House) {
    let mut executed = Counter::new(house.path("executed.tsv"));
    let before = executed.count();
    let file = house.numbers(20);
    house.enqueue(&file, &[]).end().with(0);
    until("they are executed", || executed.count() >= before + 20);
    house.cli(&["poison", "list"]).with(0);
}

/// 260 silent connections to the receiver's gRPC port blocked both of its transports, and 1,030 idle ones took ingest
/// and admin from everybody.
#[test]
fn silent_connections_take_no_place_from_anybody() {
    many_files();
    let house = House::new();
    let mut receiver = house.receiver();
    receiver.until_it_says("the receiver is ready");
    let mut bridge = house.ready_bridge();
    let _idle = [
        silent(house.grpc, 260),
        silent(house.socket, 260),
        silent(house.listen, 1_030),
    ];
    assert_serves(&house);
    bridge.kill();
    // Links that are made in the middle of it, too.
    let _more = [silent(house.grpc, 260), silent(house.socket, 260)];
    bridge = house.ready_bridge();
    let _others = silent(house.listen, 1_030);
    until("both links are up", || {
        let route = house.route();
        route["socket"]["connected"] == true && route["grpc"]["connected"] == true
    });
    assert_serves(&house);
    assert!(receiver.runs() && bridge.runs());
}

/// 80 half-sent requests of 17 MiB cost 1.2 GiB, for as long as they liked.
#[test]
fn half_sent_requests_share_one_budget_and_others_get_through() {
    let house = House::new();
    let _receiver = house.receiver();
    let bridge = house.ready_bridge();
    assert_serves(&house);
    let idle = bridge.memory();
    block_on(async {
        let half = Bytes::from(vec![0x0a; 9 << 20]);
        let requests = (0..80).map(|_| request(ENQUEUE_BATCH, 17 << 20, half.clone(), false));
        let mut sent = each_alone(house.listen, requests.collect());
        // Room was made: most of them are given up by now.
        for _ in 0..60 {
            sent.join_next()
                .await
                .expect("some are left")
                .expect("no panic");
        }
        tokio::task::block_in_place(|| assert_serves(&house));
        assert!(!sent.is_empty());
    });
    assert_modest(&bridge, idle);
}

/// Two connections with as many streams as they liked cost 4.8 GB.
#[test]
fn two_connections_have_few_streams() {
    let house = House::new();
    let _receiver = house.receiver();
    let bridge = house.ready_bridge();
    assert_serves(&house);
    let idle = bridge.memory();
    block_on(async {
        let half = Bytes::from(vec![0x0a; 4 << 20]);
        let mut sent = JoinSet::new();
        for _ in 0..2 {
            let channel = connect(house.listen).await;
            for _ in 0..100 {
                let (mut channel, half) = (channel.clone(), half.clone());
                sent.spawn(async move {
                    let request = request(ENQUEUE_BATCH, 17 << 20, half, false);
                    let _ = send(&mut channel, request).await;
                });
            }
        }
        for _ in 0..20 {
            sent.join_next()
                .await
                .expect("some are left")
                .expect("no panic");
        }
        tokio::task::block_in_place(|| assert_serves(&house));
    });
    assert_modest(&bridge, idle);
}

/// One batch of nine million empty commands cost 983 MB.
#[test]
fn nine_million_empty_commands_are_counted_before_they_are_made() {
    let house = House::new();
    let bridge = house.ready_bridge();
    let idle = bridge.memory();
    block_on(async {
        let commands = Bytes::from([0x0a, 0x00].repeat(9_000_000));
        let headers = Bytes::from([0x1a, 0x00].repeat(8_000_000));
        for (path, content) in [(ENQUEUE_BATCH, commands), (ENQUEUE, headers)] {
            let mut channel = connect(house.listen).await;
            let all = request(path, content.len(), content, true);
            let answer = send(&mut channel, all).await.expect("an answer");
            let status = tonic::Status::from_header_map(answer.headers()).expect("a status");
            assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
            assert!(status.message().contains("000000 "), "{status:?}");
        }
    });
    assert_modest(&bridge, idle);
    assert_eq!(house.route()["ready"], 0);
}

/// 120 requests of five bytes, whose answers nobody read, cost 4.0 GB.
#[test]
fn answers_that_nobody_reads_make_room() {
    let house = House::new();
    let endpoint = Endpoint::start(&house);
    let bridge = house.ready_bridge();
    let text: String = (0..20)
        .map(|number| format!("refuse {number} {}\n", "x".repeat(1_000_000)))
        .collect();
    let file = house.write("large.txt", text.as_bytes());
    house.enqueue(&file, &[]).end().with(0);
    until("all are in poison", || house.route()["poison"] == 20);
    drop(endpoint);
    let idle = bridge.memory();
    block_on(async {
        let mut unread = Vec::new();
        // `with_body`.
        let ask = Bytes::from_static(&[0x20, 0x01]);
        for _ in 0..6 {
            let mut channel = connect(house.listen).await;
            for _ in 0..20 {
                let list = request(LIST_POISON, ask.len(), ask.clone(), true);
                unread.push(send(&mut channel, list).await);
            }
        }
        tokio::task::block_in_place(|| {
            house.cli(&["poison", "list"]).with(0);
        });
        let answered = unread.iter().filter(|answer| answer.is_ok()).count();
        assert!(answered > 0, "{unread:?}");
    });
    assert_modest(&bridge, idle);
}

/// A first frame of 15 MB over gRPC cost 1.4 GB before any secret was checked; the document says 8 KiB.
#[test]
fn a_first_frame_is_small_over_grpc_too() {
    let secret = "credentials = \"a secret\"";
    let house = House::with("", secret, secret);
    let mut receiver = house.receiver();
    receiver.until_it_says("the receiver is ready");
    let idle = receiver.memory();
    block_on(async {
        let frame = Bytes::from(vec![0x0a; 15 << 20]);
        let requests = (0..90).map(|_| request(EXECUTE_COMMAND, frame.len(), frame.clone(), false));
        let mut sent = JoinSet::new();
        for request in requests {
            let port = house.grpc;
            sent.spawn(async move {
                let mut channel = connect(port).await;
                // Refused, it may be cut off before anything can be read.
                if let Ok(answer) = send(&mut channel, request).await {
                    read(answer.into_body()).await;
                }
            });
        }
        while let Some(ended) = sent.join_next().await {
            ended.expect("no panic");
        }
    });
    assert_modest(&receiver, idle);
    let _bridge = house.ready_bridge();
    assert_serves(&house);
}
