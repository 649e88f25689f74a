//! Slow is not dead: what takes longer on its way than any patience is executed once all the same, and nobody is
//! charged with a doubt.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use leasebridge::bridge::{RouteOptions, RunningBridge};
use leasebridge::core::event::TransportKind::{self, Grpc, Socket};
use leasebridge::receiver::RunningReceiver;
use leasebridge::wire::InboxId;

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
