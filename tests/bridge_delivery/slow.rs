//! Slow is not dead: what takes longer on its way than any patience is executed once all the same, and nobody is
//! charged with a doubt.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use leasebridge::bridge::{RouteOptions, RunningBridge};
use leasebridge::core::event::TransportKind::{self, Grpc, Socket};
use leasebridge::env::Env;
use leasebridge::receiver::RunningReceiver;
use leasebridge::wire::v1;
use leasebridge::wire::v1::frame::Kind;
use leasebridge::wire::{BODY_BYTES_DEFAULT, InboxId};

use crate::support::raw::RawEndpoint;
use crate::support::rogue::{Manners, Rogue};
use crate::support::shaping::ShapingProxy;
use crate::support::{
    Scripted, TestQueue, link_status, receiver, receiver_with, route, route_status, start, until,
};

/// 2.4 Mbit/s: the largest body of the tests takes longer than any patience, that with a link that stands still included.
const BYTES_PER_S: u32 = 300_000;

/// As large as a command may be that the queue takes with what belongs to it.
const LARGE_BYTES: usize = (1 << 20) - 64;

async fn proxied(
    endpoint: &RunningReceiver,
    transport: TransportKind,
) -> (ShapingProxy, RouteOptions) {
    let target = match transport {
        Socket => endpoint.socket_address(),
        Grpc => endpoint.grpc_address().unwrap(),
    };
    let proxy = ShapingProxy::start(target.clone(), BYTES_PER_S, None).await;
    let address = proxy.address.clone();
    let mut options = match transport {
        Socket => route("a").socket(address),
        Grpc => route("a").grpc(address),
    };
    options.grpc_try = options.first_sign_of_life;
    (proxy, options)
}

/// Each of `count` commands was sent once, and nothing was in doubt.
fn sent_once(bridge: &RunningBridge, queue: &TestQueue, transport: TransportKind, count: u64) {
    assert_eq!(link_status(bridge, "a", transport).counts.sends, count);
    assert_eq!(link_status(bridge, "a", transport).counts.connects, 1);
    assert_eq!(route_status(bridge, "a").counts.in_doubt, 0);
    assert_eq!(queue.totals("a").granted, count);
}

/// A body of 1 MiB at 400 kbit/s was never executed and ended in poison: each send was given up after three seconds,
/// while its bytes were still on their way.
#[tokio::test]
async fn a_body_that_is_longer_on_its_way_than_any_patience_is_executed_once() {
    for transport in [Socket, Grpc] {
        let queue = TestQueue::open(&["a"]).await;
        let handler = Scripted::eager();
        // Nobody beats meanwhile: how far the body has come is told because it has come, and not with something else.
        let seldom = Duration::from_secs(30);
        let endpoint = receiver_with(handler.clone(), |options| options.heartbeat = seldom).await;
        let (proxy, mut options) = proxied(&endpoint, transport).await;
        options.heartbeat = seldom;
        let bridge = start(&queue, vec![options]);
        let id = queue.put("a", vec![b'x'; LARGE_BYTES]).await;
        queue.done("a", 1).await;
        assert_eq!(handler.calls(id), 1);
        sent_once(&bridge, &queue, transport, 1);
        assert!(proxy.up_bytes() < LARGE_BYTES as u64 * 11 / 10);
    }
}

/// 300 bodies of 100 KB at 2 Mbit/s took 341 s, 8047 sends and 78 MB for 30, and one that was executed ended in poison.
#[tokio::test]
async fn many_that_wait_behind_each_other_on_a_slow_line_are_each_sent_once() {
    const COMMANDS: usize = 60;
    const BODY_BYTES: usize = 20_000;
    for transport in [Socket, Grpc] {
        let queue = TestQueue::open(&["a"]).await;
        let handler = Scripted::eager();
        let endpoint = receiver(handler.clone()).await;
        let (proxy, options) = proxied(&endpoint, transport).await;
        let bridge = start(&queue, vec![options]);
        for number in 0..COMMANDS {
            queue.put("a", vec![number as u8; BODY_BYTES]).await;
        }
        queue.done("a", COMMANDS as u64).await;
        assert_eq!(handler.all_calls(), COMMANDS);
        sent_once(&bridge, &queue, transport, COMMANDS as u64);
        let payload = (COMMANDS * BODY_BYTES) as u64;
        assert!(proxy.up_bytes() < payload * 11 / 10, "{}", proxy.up_bytes());
    }
}

/// The way back is as slow: an answer whose bytes arrive is a sign of life before it is whole, to whoever waits for it
/// and to the link.
#[tokio::test]
async fn a_result_that_is_longer_on_its_way_than_any_patience_is_waited_for() {
    async fn answered_over(transport: TransportKind) {
        let queue = TestQueue::open(&["a"]).await;
        let result = Bytes::from(vec![b'r'; BODY_BYTES_DEFAULT as usize]);
        let handler = Scripted::new(move |_, _| {
            let result = result.clone();
            async move { Ok(result) }
        });
        // Whatever else is sent waits behind the answer.
        let endpoint = receiver(handler.clone()).await;
        let (proxy, mut options) = proxied(&endpoint, transport).await;
        // Less than half of what the answer takes, and more than a busy machine stands still.
        let patience = Duration::from_millis(1_500);
        options.first_sign_of_life = patience;
        options.grpc_try = patience;
        options.heartbeat = patience / options.heartbeat_misses;
        let bridge = start(&queue, vec![options]);
        let id = queue.put("a", "small").await;
        queue.done("a", 1).await;
        assert_eq!(handler.calls(id), 1);
        assert!(proxy.down_bytes() >= BODY_BYTES_DEFAULT.into());
        sent_once(&bridge, &queue, transport, 1);
        let counts = link_status(&bridge, "a", transport).counts;
        assert_eq!((counts.replies, counts.rollbacks), (1, 0));
    }
    tokio::join!(answered_over(Socket), answered_over(Grpc));
}

/// What has left an endpoint that doesn't tell what it has received is known from the transport, which takes little
/// ahead of the line.
#[tokio::test]
async fn an_endpoint_that_tells_nothing_of_its_progress_is_waited_for_as_long_as_the_line_takes() {
    let queue = TestQueue::open(&["a"]).await;
    let rogue = Rogue::start(Manners::Done, InboxId([1; 16])).await;
    let proxy = ShapingProxy::start(rogue.address.clone(), BYTES_PER_S, Some(16 << 10)).await;
    let mut options = route("a").socket(proxy.address.clone());
    // This endpoint beats only when it is asked to, which waits behind the body.
    options.heartbeat = Duration::from_secs(2);
    // Less than half of what the body takes, and more than a busy machine stands still.
    options.first_sign_of_life = Duration::from_millis(1_500);
    let bridge = start(&queue, vec![options]);
    queue.put("a", vec![b'x'; LARGE_BYTES]).await;
    queue.done("a", 1).await;
    assert_eq!(rogue.commands(), 1);
    sent_once(&bridge, &queue, Socket, 1);
}

/// Bytes behind a command excuse nothing: one that has arrived and of which nothing is heard is asked back in time,
/// whatever else the line carries. The question overtakes what the line has not taken yet.
#[tokio::test]
async fn a_silent_command_is_asked_back_though_the_line_is_busy_behind_it() {
    let queue = TestQueue::open(&["a"]).await;
    let handler = Scripted::new(|command, _| async move {
        match command.body.len() {
            1 => pending().await,
            _ => Ok(command.body),
        }
    });
    let endpoint = receiver_with(Arc::clone(&handler), |options| {
        options.working_after = Duration::from_millis(1_500);
    })
    .await;
    let (_proxy, options) = proxied(&endpoint, Socket).await;
    let bridge = start(&queue, vec![options]);
    queue.put("a", "s").await;
    for _ in 0..4 {
        queue.put("a", vec![b'x'; LARGE_BYTES]).await;
    }
    until("the silent one is asked back", || {
        link_status(&bridge, "a", Socket).counts.rollbacks == 1
    })
    .await;
    let done = queue.totals("a").done;
    assert!(
        done < 2,
        "the others were still on their way, and {done} done"
    );
}

/// A command that has waited most of its lease away behind others, and would arrive after its end, is not sent at all:
/// the queue has it back, unsent, and leases it anew. No other transport carries it sooner.
#[tokio::test]
async fn what_would_arrive_after_its_lease_is_leased_anew_and_goes_over_no_other_transport() {
    const HOLD: Duration = Duration::from_secs(16);
    let queue = TestQueue::open_with(&["a"], |options| {
        options.lease = Duration::from_secs(8);
        options.max_hold = HOLD;
    })
    .await;
    let mut endpoint = RawEndpoint::start().await;
    let handler = Scripted::eager();
    let other = receiver(handler.clone()).await;
    let mut options = route("a")
        .socket(endpoint.address.clone())
        .grpc(other.grpc_address().unwrap().clone());
    options.heartbeat = Duration::from_secs(60);
    options.first_sign_of_life = Duration::from_secs(60);
    let bridge = start(&queue, vec![options]);
    let mut link = endpoint.accept().await;
    let mut hello = RawEndpoint::hello();
    (hello.tells_received, hello.in_flight_max) = (true, 1);
    link.say(Kind::Hello(hello)).await;
    until("the socket is the first way", || {
        link_status(&bridge, "a", Socket).counts.connects == 1
    })
    .await;
    queue.put("a", vec![b'1'; 24_000]).await;
    let first = link.command().await;
    queue.put("a", vec![b'2'; 100_000]).await;
    until("both are leased", || queue.counts("a").leased == 2).await;
    let told = |received_bytes| {
        Kind::HeartbeatAck(v1::HeartbeatAck {
            sequence: 0,
            received_bytes,
        })
    };
    // 24 KB in more than a quarter of the longest lease: at that the second takes longer than a lease.
    link.say(told(1)).await;
    Env::real()
        .clock
        .sleep(HOLD / 4 + Duration::from_millis(100))
        .await;
    link.say(told(u64::MAX)).await;
    link.say(done(&first)).await;
    let second = link.command().await;
    assert_eq!((second.body[0], second.send), (b'2', 1));
    assert_eq!(second.delivery.unwrap().epoch, 2, "it was leased anew");
    link.say(done(&second)).await;
    queue.done("a", 2).await;
    let counts = route_status(&bridge, "a").counts;
    assert_eq!((counts.not_sent, counts.in_doubt), (1, 0));
    assert_eq!(link_status(&bridge, "a", Socket).counts.sends, 2);
    assert_eq!(link_status(&bridge, "a", Grpc).counts.sends, 0);
    assert_eq!(handler.all_calls(), 0);
}

fn done(command: &v1::Command) -> Kind {
    Kind::Reply(v1::Reply {
        delivery: command.delivery,
        send: command.send,
        outcome: Some(v1::reply::Outcome::Done(v1::Done::default())),
    })
}
