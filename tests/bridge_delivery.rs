//! Delivery from a real queue to real endpoints over real sockets, and what becomes of it when something
//! in between goes wrong.

#[path = "bridge_delivery/leaving.rs"]
mod leaving;
#[path = "bridge_delivery/restarts.rs"]
mod restarts;
#[path = "bridge_delivery/slow.rs"]
mod slow;
mod support;

use std::time::Duration;

use bytes::Bytes;
use leasebridge::bridge::{
    DeliveryEnd, DeliveryEnds, DeliveryNews, OnLostInbox, RESULT_BYTES_MAX, TaskResult,
};
use leasebridge::core::event::TransportKind::{Grpc, Socket};
use leasebridge::core::{Epoch, TaskState};
use leasebridge::env::{Env, timeout};
use leasebridge::observe::BreakerState;
use leasebridge::queue::Failure;
use leasebridge::receiver::HandlerError;
use leasebridge::wire::InboxId;
use leasebridge::wire::v1;
use leasebridge::wire::v1::frame::Kind;
use leasebridge::wire::v1::rollback_reply::State;
use support::proxy::{Cut, Proxy};
use support::raw::RawEndpoint;
use support::rogue::{Manners, Rogue};
use support::{
    Scripted, TestQueue, both, link_status, nowhere, receiver, receiver_with, route, route_status,
    start, until,
};
use tokio::sync::Notify;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn over_the_socket_each_command_is_executed_once_and_announced_as_settled() {
    let queue = TestQueue::open(&["a"]).await;
    let handler = Scripted::eager();
    let endpoint = receiver(handler.clone()).await;
    let bridge = start(&queue, vec![both("a", &endpoint)]);
    let ids = queue.put_many("a", 500).await;
    queue.done("a", 500).await;
    assert!(ids.iter().all(|id| handler.calls(*id) == 1));
    until("all are announced", || {
        route_status(&bridge, "a").counts.announced == 500
    })
    .await;
    let socket = link_status(&bridge, "a", Socket);
    assert_eq!(socket.counts.replies, 500);
    assert_eq!(socket.first_sign_of_life.count(), 500);
    assert_eq!(link_status(&bridge, "a", Grpc).counts.sends, 0);
    assert_eq!(queue.totals("a").granted, 500);
}

#[tokio::test]
async fn over_grpc_alone_each_command_is_executed_once() {
    let queue = TestQueue::open(&["a"]).await;
    let handler = Scripted::eager();
    let endpoint = receiver(handler.clone()).await;
    let grpc = endpoint.grpc_address().unwrap().clone();
    let bridge = start(&queue, vec![route("a").grpc(grpc)]);
    let ids = queue.put_many("a", 500).await;
    queue.done("a", 500).await;
    assert!(ids.iter().all(|id| handler.calls(*id) == 1));
    let grpc = link_status(&bridge, "a", Grpc);
    assert_eq!(grpc.counts.replies, 500);
    assert_eq!(grpc.first_sign_of_life.count(), 500);
}

/// The next end of a delivery that the bridge tells of.
async fn next_end(ends: &mut DeliveryEnds) -> DeliveryEnd {
    let next = timeout(&*Env::real().clock, MINUTE, ends.next()).await;
    match next.expect("it is told of soon") {
        Some(DeliveryNews::End(end)) => end,
        other => panic!("not an end: {other:?}"),
    }
}

#[tokio::test]
async fn a_result_reaches_the_settlement_whole_up_to_the_limit_over_either_transport() {
    for transport in [Socket, Grpc] {
        let queue = TestQueue::open(&["a"]).await;
        // It gives back what it was sent.
        let endpoint = receiver(Scripted::eager()).await;
        let options = match transport {
            Socket => route("a").socket(endpoint.socket_address().clone()),
            Grpc => route("a").grpc(endpoint.grpc_address().unwrap().clone()),
        };
        let bridge = start(&queue, vec![options]);
        let mut ends = bridge.ends();
        for bytes in [0, 3, RESULT_BYTES_MAX] {
            let body = Bytes::from(vec![b'x'; bytes]);
            let id = queue.put("a", body.clone()).await;
            let end = next_end(&mut ends).await;
            assert_eq!((end.delivery.task, end.delivery.epoch), (id, Epoch::FIRST));
            assert_eq!(end.outcome, Ok(TaskResult::Whole(body)));
            assert_eq!((end.sends.count, end.sends.transport), (1, Some(transport)));
            // Settled by then.
            assert_eq!(queue.queue.task_state(id), Ok(None));
        }
        queue.put("a", vec![b'x'; RESULT_BYTES_MAX + 1]).await;
        let long = next_end(&mut ends).await.outcome;
        let Ok(TaskResult::Digest { bytes, hash }) = long else {
            panic!("{long:?}")
        };
        assert_eq!(bytes, RESULT_BYTES_MAX + 1);
        queue.put("a", vec![b'y'; RESULT_BYTES_MAX + 1]).await;
        let other = next_end(&mut ends).await.outcome;
        assert!(
            matches!(other, Ok(TaskResult::Digest { hash: theirs, .. }) if theirs != hash),
            "{other:?}"
        );
    }
}

#[tokio::test]
async fn a_result_that_a_rollback_finds_is_the_deliverys() {
    let queue = TestQueue::open(&["a"]).await;
    let rogue = Rogue::start(Manners::DoneAtRollback, InboxId([1; 16])).await;
    let mut options = route("a").socket(rogue.address.clone());
    options.first_sign_of_life = Duration::from_millis(100);
    let bridge = start(&queue, vec![options]);
    let mut ends = bridge.ends();
    queue.put("a", "x").await;
    let end = next_end(&mut ends).await;
    assert_eq!(end.outcome, Ok(TaskResult::Whole("found".into())));
}

#[tokio::test]
async fn a_no_reaches_the_settlement_in_the_endpoints_words() {
    let queue = TestQueue::open(&["a"]).await;
    let handler = Scripted::new(|_, call| async move {
        match call {
            1 => Err(HandlerError::Unavailable {
                retry_after: Duration::from_millis(7),
                text: "later".into(),
            }),
            2 => Err(HandlerError::Rejected("no".into())),
            _ => Err(HandlerError::Refused("never".into())),
        }
    });
    let endpoint = receiver(handler).await;
    let bridge = start(&queue, vec![both("a", &endpoint)]);
    let mut ends = bridge.ends();
    queue.put("a", "x").await;
    for (epoch, failure) in [
        Failure::Unavailable {
            retry_after: Duration::from_millis(7),
            reason: "later".into(),
        },
        Failure::Rejected("no".into()),
        Failure::Refused("never".into()),
    ]
    .into_iter()
    .enumerate()
    {
        let end = next_end(&mut ends).await;
        assert_eq!(end.delivery.epoch.get() as usize, epoch + 1);
        assert_eq!(end.outcome, Err(failure));
    }
}

#[tokio::test]
async fn a_socket_that_refuses_connections_leaves_the_work_to_grpc() {
    let queue = TestQueue::open(&["a"]).await;
    let handler = Scripted::eager();
    let endpoint = receiver(handler.clone()).await;
    let mut options = both("a", &endpoint);
    options.socket = Some(nowhere().await);
    let bridge = start(&queue, vec![options]);
    queue.put_many("a", 50).await;
    queue.done("a", 50).await;
    assert_eq!(link_status(&bridge, "a", Grpc).counts.sends, 50);
    // Nothing was in doubt: it went out as a first send.
    assert_eq!(route_status(&bridge, "a").counts.fallbacks_in_doubt, 0);
    assert_eq!(handler.all_calls(), 50);
}

#[tokio::test]
async fn a_silent_socket_beside_a_healthy_grpc_costs_its_patience_only_until_the_breaker_opens() {
    let queue = TestQueue::open(&["a"]).await;
    let handler = Scripted::eager();
    let endpoint = receiver(handler.clone()).await;
    let rogue = Rogue::start(Manners::Silent, endpoint.inbox_id()).await;
    let mut options = both("a", &endpoint);
    options.socket = Some(rogue.address.clone());
    options.window = 1;
    let bridge = start(&queue, vec![options]);
    until("the socket is up", || {
        link_status(&bridge, "a", Socket).counts.connects == 1
            && link_status(&bridge, "a", Grpc).counts.connects == 1
    })
    .await;
    queue.put_many("a", 40).await;
    queue.done("a", 40).await;
    assert_eq!(handler.all_calls(), 40);
    let socket = link_status(&bridge, "a", Socket);
    assert_eq!(socket.breaker_opened, 1);
    assert_eq!(
        rogue.commands(),
        3,
        "the breaker's limit, and no probe is due yet"
    );
    assert_eq!(
        (socket.counts.rollbacks, socket.counts.rollbacks_unanswered),
        (3, 3)
    );
    assert_eq!(queue.totals("a").granted, 40, "each in its first lease");
    let counts = route_status(&bridge, "a").counts;
    assert_eq!(
        (counts.fallbacks_in_doubt, counts.fallbacks_not_sent),
        (3, 37)
    );
}

#[tokio::test]
async fn a_socket_that_takes_connections_and_says_nothing_never_comes_up() {
    let queue = TestQueue::open(&["a"]).await;
    let endpoint = receiver(Scripted::eager()).await;
    let rogue = Rogue::start(Manners::Mute, endpoint.inbox_id()).await;
    let mut options = both("a", &endpoint);
    options.socket = Some(rogue.address.clone());
    options.connect = Duration::from_millis(300);
    let bridge = start(&queue, vec![options]);
    queue.put_many("a", 10).await;
    queue.done("a", 10).await;
    until("the exchange of hello has timed out", || {
        link_status(&bridge, "a", Socket).counts.connect_failures > 0
    })
    .await;
    assert_eq!(rogue.commands(), 0);
}

#[tokio::test]
async fn a_socket_cut_inside_a_command_is_in_doubt_and_grpc_delivers_it_once() {
    let queue = TestQueue::open(&["a"]).await;
    let handler = Scripted::eager();
    let endpoint = receiver(handler.clone()).await;
    let target = endpoint.socket_address().clone();
    let proxy = Proxy::start(target, Cut::FromBridge(50_000), 1).await;
    let mut options = both("a", &endpoint);
    options.socket = Some(proxy.address.clone());
    let bridge = start(&queue, vec![options]);
    until("both links are up", || {
        link_status(&bridge, "a", Socket).counts.connects == 1
            && link_status(&bridge, "a", Grpc).counts.connects == 1
    })
    .await;
    let id = queue.put("a", vec![7_u8; 200_000]).await;
    queue.done("a", 1).await;
    assert_eq!(handler.calls(id), 1);
    assert_eq!(route_status(&bridge, "a").counts.fallbacks_in_doubt, 1);
    assert_eq!(queue.totals("a").granted, 1);
    until("the socket is back", || proxy.connections() == 2).await;
}

#[tokio::test]
async fn a_command_whose_answer_is_lost_is_executed_once_through_the_inbox() {
    let queue = TestQueue::open(&["a"]).await;
    // A long result, so that the cut falls into the reply.
    let handler = Scripted::new(|_, _| async { Ok(Bytes::from(vec![1; 100_000])) });
    let endpoint = receiver(handler.clone()).await;
    let target = endpoint.socket_address().clone();
    let proxy = Proxy::start(target, Cut::FromEndpoint(20_000), 1).await;
    let mut options = both("a", &endpoint);
    options.socket = Some(proxy.address.clone());
    let bridge = start(&queue, vec![options]);
    until("both links are up", || {
        link_status(&bridge, "a", Socket).counts.connects == 1
            && link_status(&bridge, "a", Grpc).counts.connects == 1
    })
    .await;
    let id = queue.put("a", "once").await;
    queue.done("a", 1).await;
    assert_eq!(handler.calls(id), 1);
    assert_eq!(link_status(&bridge, "a", Grpc).counts.replies, 1);
}

#[tokio::test]
async fn without_grpc_a_command_in_doubt_comes_back_in_a_new_lease_and_is_executed_once() {
    let queue = TestQueue::open(&["a"]).await;
    let handler = Scripted::new(|_, _| async { Ok(Bytes::from(vec![1; 100_000])) });
    let endpoint = receiver(handler.clone()).await;
    let target = endpoint.socket_address().clone();
    let proxy = Proxy::start(target, Cut::FromEndpoint(20_000), 1).await;
    let bridge = start(&queue, vec![route("a").socket(proxy.address.clone())]);
    let id = queue.put("a", "once").await;
    queue.done("a", 1).await;
    assert_eq!(handler.calls(id), 1);
    assert_eq!(queue.totals("a").in_doubt, 1);
    assert_eq!(route_status(&bridge, "a").counts.in_doubt, 1);
}

#[tokio::test]
async fn a_rejection_is_tried_again_and_a_panic_is_a_rejection() {
    let queue = TestQueue::open(&["a"]).await;
    let handler = Scripted::new(|command, call| async move {
        match (&command.body[..], call) {
            (b"rejected", 1) => Err(HandlerError::Rejected("not yet".into())),
            (b"panics", 1) => panic!("as told"),
            _ => Ok(Bytes::new()),
        }
    });
    let endpoint = receiver(handler.clone()).await;
    let bridge = start(&queue, vec![both("a", &endpoint)]);
    let rejected = queue.put("a", "rejected").await;
    let panics = queue.put("a", "panics").await;
    queue.done("a", 2).await;
    assert_eq!((handler.calls(rejected), handler.calls(panics)), (2, 2));
    assert_eq!(queue.totals("a").rejected, 2);
    let grpc = link_status(&bridge, "a", Grpc).counts;
    assert_eq!(grpc.sends, 0, "a definite answer is not taken elsewhere");
    let counts = link_status(&bridge, "a", Socket).counts;
    assert_eq!(counts.rollbacks, 0, "what was answered needs no rollback");
}

#[tokio::test]
async fn a_refusal_goes_to_poison_at_once_and_unavailability_costs_nothing() {
    let queue = TestQueue::open_with(&["a"], |options| options.max_retries = 0).await;
    let handler = Scripted::new(|command, call| async move {
        match (&command.body[..], call) {
            (b"refused", _) => Err(HandlerError::Refused("never".into())),
            (_, 1..=3) => Err(HandlerError::Unavailable {
                retry_after: Duration::from_millis(20),
                text: "busy".into(),
            }),
            _ => Ok(Bytes::new()),
        }
    });
    let endpoint = receiver(handler.clone()).await;
    let _bridge = start(&queue, vec![both("a", &endpoint)]);
    let refused = queue.put("a", "refused").await;
    let busy = queue.put("a", "busy").await;
    queue.done("a", 1).await;
    assert_eq!((handler.calls(refused), handler.calls(busy)), (1, 4));
    assert_eq!(queue.totals("a").unavailable, 3);
    assert_eq!(queue.counts("a").poison, 1);
    assert_eq!(queue.errors_of(refused).await, ["never"]);
}

#[tokio::test]
async fn with_both_transports_down_tasks_wait_as_ready_and_nothing_is_spent() {
    let queue = TestQueue::open(&["a"]).await;
    let (socket, grpc) = (nowhere().await, nowhere().await);
    let ids = queue.put_many("a", 20).await;
    let options = route("a").socket(socket.clone()).grpc(grpc.clone());
    let bridge = start(&queue, vec![options]);
    until("both were tried a few times", || {
        link_status(&bridge, "a", Socket).counts.connect_failures >= 3
            && link_status(&bridge, "a", Grpc).counts.connect_failures >= 3
    })
    .await;
    assert_eq!(queue.counts("a").ready, 20);
    assert_eq!(queue.totals("a").granted, 0);
    let handler = Scripted::eager();
    let _endpoint = receiver_with(handler.clone(), |options| {
        options.socket = socket;
        options.grpc = Some(grpc);
    })
    .await;
    queue.done("a", 20).await;
    assert!(ids.iter().all(|id| handler.calls(*id) == 1));
}

#[tokio::test]
async fn an_endpoint_that_goes_away_under_load_spends_nothing_of_what_waits() {
    let queue = TestQueue::open(&["a"]).await;
    let handler = Scripted::eager();
    let endpoint = receiver(handler.clone()).await;
    let (socket, grpc) = (
        endpoint.socket_address().clone(),
        endpoint.grpc_address().unwrap().clone(),
    );
    let bridge = start(&queue, vec![both("a", &endpoint)]);
    queue.put_many("a", 10).await;
    queue.done("a", 10).await;
    drop(endpoint);
    until("no link is up", || !route_status(&bridge, "a").open).await;
    let ids = queue.put_many("a", 100).await;
    until("reconnects were tried", || {
        link_status(&bridge, "a", Socket).counts.connect_failures >= 2
    })
    .await;
    assert_eq!(queue.counts("a").ready, 100);
    let _endpoint = receiver_with(handler.clone(), |options| {
        options.socket = socket;
        options.grpc = Some(grpc);
    })
    .await;
    queue.done("a", 110).await;
    assert!(ids.iter().all(|id| handler.calls(*id) == 1));
    assert_eq!(queue.totals("a").in_doubt, 0);
}

#[tokio::test]
async fn a_slow_handler_that_says_it_works_keeps_its_lease() {
    let queue = TestQueue::open_with(&["a"], |options| {
        options.lease = Duration::from_millis(600);
        options.max_hold = MINUTE;
    })
    .await;
    let handler = Scripted::new(|_, _| async {
        Env::real().clock.sleep(Duration::from_millis(2_500)).await;
        Ok(Bytes::new())
    });
    let endpoint = receiver(handler.clone()).await;
    let bridge = start(&queue, vec![both("a", &endpoint)]);
    let id = queue.put("a", "slow").await;
    queue.done("a", 1).await;
    assert_eq!(handler.calls(id), 1);
    assert_eq!(queue.totals("a").granted, 1, "in its first lease");
    assert_eq!(link_status(&bridge, "a", Grpc).counts.sends, 0);
}

#[tokio::test]
async fn a_lease_that_is_lost_cancels_its_send_and_frees_its_place() {
    let queue = TestQueue::open_with(&["a"], |options| {
        options.lease = Duration::from_millis(300);
        options.max_hold = Duration::from_millis(600);
    })
    .await;
    let gate = std::sync::Arc::new(Notify::new());
    let open = gate.clone();
    let handler = Scripted::new(move |_, _| {
        let gate = gate.clone();
        async move {
            gate.notified().await;
            Ok(Bytes::new())
        }
    });
    let endpoint = receiver(handler.clone()).await;
    let bridge = start(&queue, vec![both("a", &endpoint)]);
    let id = queue.put("a", "stuck").await;
    until("the lease was lost", || {
        route_status(&bridge, "a").counts.lost >= 1
    })
    .await;
    until("its send was rolled back", || {
        link_status(&bridge, "a", Socket).counts.rollbacks >= 1
    })
    .await;
    open.notify_one();
    // A later lease joins the execution, or gets its result from the inbox.
    queue.done("a", 1).await;
    assert_eq!(handler.calls(id), 1);
    assert!(queue.totals("a").granted >= 2);
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_gives_back_the_rest() {
    let queue = TestQueue::open(&["a"]).await;
    let gate = std::sync::Arc::new(Notify::new());
    let open = gate.clone();
    let handler = Scripted::new(move |_, _| {
        let gate = gate.clone();
        async move {
            gate.notified().await;
            Ok(Bytes::new())
        }
    });
    let endpoint = receiver(handler.clone()).await;
    let mut options = both("a", &endpoint);
    options.window = 4;
    let bridge = start(&queue, vec![options]);
    queue.put_many("a", 20).await;
    until("the window is full", || handler.all_calls() == 4).await;
    let drain = tokio::spawn(bridge.drain(MINUTE));
    until("the unread are given back", || {
        queue.counts("a").ready == 16
    })
    .await;
    assert_eq!(queue.counts("a").leased, 4);
    for _ in 0..4 {
        open.notify_one();
    }
    assert!(drain.await.unwrap().in_time);
    assert_eq!((queue.totals("a").done, queue.counts("a").ready), (4, 16));
    until("the links are closed", || endpoint.links() == 0).await;
    assert_eq!(handler.all_calls(), 4);
}

#[tokio::test]
async fn a_drain_that_takes_too_long_cuts_off_and_leaves_nothing_leased() {
    let queue = TestQueue::open(&["a"]).await;
    let handler = Scripted::new(|_, _| std::future::pending());
    let endpoint = receiver(handler.clone()).await;
    let bridge = start(&queue, vec![both("a", &endpoint)]);
    let id = queue.put("a", "stuck").await;
    until("it is executing", || handler.all_calls() == 1).await;
    let report = bridge.drain(Duration::from_millis(100)).await;
    assert!(!report.in_time);
    assert_eq!(queue.counts("a").leased, 0);
    assert_eq!(queue.totals("a").in_doubt, 1);
    assert!(queue.errors_of(id).await[0].contains("the bridge stopped"));
}

#[tokio::test]
async fn a_dead_route_delays_no_other() {
    let queue = TestQueue::open(&["dead", "alive"]).await;
    let handler = Scripted::eager();
    let endpoint = receiver(handler.clone()).await;
    let rogue = Rogue::start(Manners::Silent, InboxId([1; 16])).await;
    let mut dead = route("dead").socket(rogue.address.clone());
    // Longer than this test may take: whoever waited for the dead route would be found out.
    dead.first_sign_of_life = MINUTE;
    let bridge = start(&queue, vec![dead, both("alive", &endpoint)]);
    queue.put_many("dead", 50).await;
    until("the dead route has its hands full", || {
        rogue.commands() == 50
    })
    .await;
    queue.put_many("alive", 200).await;
    queue.done("alive", 200).await;
    assert_eq!(route_status(&bridge, "dead").in_flight, 50);
}

#[tokio::test]
async fn a_route_without_answers_stops_leasing_and_a_probe_opens_it_again() {
    let queue = TestQueue::open(&["a"]).await;
    let rogue = Rogue::start(Manners::Silent, InboxId([1; 16])).await;
    let mut options = route("a").socket(rogue.address.clone());
    options.window = 2;
    options.first_sign_of_life = Duration::from_millis(100);
    options.rollback = Duration::from_millis(50);
    let bridge = start(&queue, vec![options]);
    queue.put_many("a", 30).await;
    until("the route's breaker is open", || {
        route_status(&bridge, "a").breaker_opened == 1
    })
    .await;
    until("the rest waits", || {
        let counts = queue.counts("a");
        counts.leased <= 1 && counts.ready + counts.delayed >= 29
    })
    .await;
    assert!(rogue.commands() <= 6, "{} were sent", rogue.commands());
    rogue.behave(Manners::Done);
    queue.done("a", 30).await;
    let breaker = route_status(&bridge, "a").breaker;
    assert_eq!(breaker, BreakerState::Closed { unanswered: 0 });
    assert_eq!(queue.counts("a").poison, 0);
}

#[tokio::test]
async fn answers_nobody_asked_for_are_counted_and_dropped() {
    let queue = TestQueue::open(&["a"]).await;
    let rogue = Rogue::start(Manners::WrongIds, InboxId([1; 16])).await;
    let bridge = start(&queue, vec![route("a").socket(rogue.address.clone())]);
    queue.put_many("a", 5).await;
    queue.done("a", 5).await;
    let counts = link_status(&bridge, "a", Socket).counts;
    assert_eq!((counts.replies, counts.unknown_replies), (5, 10));
}

#[tokio::test]
async fn an_endpoint_that_breaks_the_protocol_loses_its_link_and_no_command() {
    let queue = TestQueue::open(&["a"]).await;
    let rogue = Rogue::start(Manners::Violates, InboxId([1; 16])).await;
    let bridge = start(&queue, vec![route("a").socket(rogue.address.clone())]);
    queue.put("a", "x").await;
    until("the violation is counted", || {
        link_status(&bridge, "a", Socket).counts.violations >= 1
    })
    .await;
    let error = link_status(&bridge, "a", Socket).last_error;
    assert!(error.unwrap().contains("may not send `settled`"));
    rogue.behave(Manners::Done);
    queue.done("a", 1).await;
}

#[tokio::test]
async fn an_endpoint_whose_hello_breaks_a_rule_is_told_which() {
    let queue = TestQueue::open(&["a"]).await;
    let mut endpoint = RawEndpoint::start().await;
    let bridge = start(&queue, vec![route("a").socket(endpoint.address.clone())]);
    let mut link = endpoint.accept().await;
    let mut short = RawEndpoint::hello();
    short.inbox_id.truncate(15);
    link.say(Kind::Hello(short)).await;
    let Some(Kind::Close(close)) = link.heard().await else {
        panic!("it is not told")
    };
    assert!(
        close.reason.contains("`inbox_id` has 15 bytes"),
        "{close:?}"
    );
    assert_eq!(link.heard().await, None, "nothing follows a close");
    // The same in the place of a first frame that is no `Hello`.
    let mut link = endpoint.accept().await;
    link.say(Kind::Settled(v1::Settled::default())).await;
    let Some(Kind::Close(close)) = link.heard().await else {
        panic!("it is not told")
    };
    assert!(close.reason.contains("`settled`"), "{close:?}");
    let mut link = endpoint.accept().await;
    link.say(Kind::Hello(RawEndpoint::hello())).await;
    until("the third one is up", || {
        link_status(&bridge, "a", Socket).counts.connects == 1
    })
    .await;
}

/// Taken back, a send is over: what an endpoint says of it afterwards is not the next one's answer.
#[tokio::test]
async fn a_rollback_goes_over_the_link_of_its_send_and_what_was_taken_back_decides_nothing() {
    let queue = TestQueue::open(&["a"]).await;
    let mut endpoint = RawEndpoint::start().await;
    let mut options = route("a").socket(endpoint.address.clone());
    options.first_sign_of_life = Duration::from_millis(50);
    options.rollback = Duration::from_secs(5);
    let bridge = start(&queue, vec![options]);
    let mut link = endpoint.accept().await;
    // A window of one: what is sent after `first` shows that `first` is out of it.
    let mut hello = RawEndpoint::hello();
    hello.in_flight_max = 1;
    link.say(Kind::Hello(hello)).await;
    queue.put("a", "x").await;
    let Some(Kind::Command(first)) = link.heard().await else {
        panic!("no command")
    };
    let Some(Kind::Rollback(rollback)) = link.heard().await else {
        panic!("no rollback")
    };
    assert_eq!(
        (rollback.delivery, rollback.send),
        (first.delivery, first.send)
    );
    link.say(Kind::RollbackReply(v1::RollbackReply {
        delivery: first.delivery,
        send: first.send,
        state: State::Unknown.into(),
        result: Bytes::new(),
    }))
    .await;
    let done = |command: &v1::Command| {
        Kind::Reply(v1::Reply {
            delivery: command.delivery,
            send: command.send,
            outcome: Some(v1::reply::Outcome::Done(v1::Done::default())),
        })
    };
    link.say(done(&first)).await;
    let Some(Kind::Command(second)) = link.heard().await else {
        panic!("it is sent again")
    };
    assert_eq!(second.delivery.unwrap().epoch, 2);
    link.say(done(&second)).await;
    queue.done("a", 1).await;
    let link = link_status(&bridge, "a", Socket);
    let counts = (link.counts.replies, link.counts.unknown_replies);
    assert_eq!((counts, link.in_flight), ((1, 1), 0));
}

#[tokio::test]
async fn a_body_over_the_endpoints_limit_is_refused_here_for_good() {
    let queue = TestQueue::open(&["a"]).await;
    let handler = Scripted::eager();
    let endpoint = receiver_with(handler.clone(), |options| options.body_bytes_max = 1000).await;
    let bridge = start(&queue, vec![both("a", &endpoint)]);
    let id = queue.put("a", vec![0; 1001]).await;
    queue.put("a", vec![0; 1000]).await;
    queue.done("a", 1).await;
    until("it is in poison", || queue.counts("a").poison == 1).await;
    assert_eq!(handler.calls(id), 0);
    assert!(queue.errors_of(id).await[0].contains("1001 bytes"));
    assert_eq!(link_status(&bridge, "a", Socket).counts.violations, 0);
}

#[tokio::test]
async fn a_task_in_doubt_whose_inbox_was_lost_is_held_if_so_configured() {
    for policy in [OnLostInbox::Hold, OnLostInbox::Redeliver] {
        let queue = TestQueue::open_with(&["a"], |options| {
            options.backoff_min = Duration::from_secs(1);
            options.backoff_max = Duration::from_secs(1);
        })
        .await;
        let stuck = Scripted::new(|_, _| std::future::pending());
        let first = receiver(stuck.clone()).await;
        let address = first.socket_address().clone();
        let mut options = route("a").socket(address.clone());
        options.on_lost_inbox = policy;
        let bridge = start(&queue, vec![options]);
        let id = queue.put("a", "x").await;
        until("it is executing", || stuck.all_calls() == 1).await;
        drop(first);
        until("it is in doubt", || queue.totals("a").in_doubt == 1).await;
        let second = Scripted::eager();
        let _second = receiver_with(second.clone(), |options| options.socket = address).await;
        if policy == OnLostInbox::Redeliver {
            queue.done("a", 1).await;
            assert_eq!(second.calls(id), 1);
            continue;
        }
        until("it is in poison", || queue.counts("a").poison == 1).await;
        assert_eq!(second.calls(id), 0);
        assert_eq!(route_status(&bridge, "a").counts.held, 1);
        // A person says that it was not executed.
        queue.queue.requeue(id).await.unwrap();
        queue.done("a", 1).await;
        assert_eq!(second.calls(id), 1);
    }
}

#[tokio::test]
async fn a_command_past_its_deadline_is_not_sent() {
    let queue = TestQueue::open(&["a"]).await;
    let handler = Scripted::eager();
    let wall = Env::real().clock.wall();
    let options = leasebridge::queue::TaskOptions {
        deadline: Some(leasebridge::env::Wall::from_unix_ms(wall.unix_ms() + 50)),
        ..leasebridge::queue::TaskOptions::route("a")
    };
    let command = leasebridge::queue::Command::new("late");
    let id = queue.queue.enqueue(command, options).await.unwrap().id;
    until("its deadline has passed", || {
        Env::real().clock.wall().unix_ms() > wall.unix_ms() + 60
    })
    .await;
    let endpoint = receiver(handler.clone()).await;
    let _bridge = start(&queue, vec![both("a", &endpoint)]);
    queue.put("a", "fresh").await;
    queue.done("a", 1).await;
    until("it is in poison", || queue.counts("a").poison == 1).await;
    assert_eq!(handler.calls(id), 0);
    let explained = queue.queue.explain(id).await.unwrap().unwrap();
    assert!(matches!(explained.state, TaskState::Poison { .. }));
    assert!(explained.epoch <= Some(Epoch::FIRST));
}

#[tokio::test]
async fn a_bridge_that_is_dropped_leaves_in_doubt_what_it_sent_and_a_new_one_finishes_it() {
    let queue = TestQueue::open(&["a"]).await;
    let gate = std::sync::Arc::new(Notify::new());
    let open = gate.clone();
    let handler = Scripted::new(move |_, _| {
        let gate = gate.clone();
        async move {
            gate.notified().await;
            Ok(Bytes::new())
        }
    });
    let endpoint = receiver(handler.clone()).await;
    let bridge = start(&queue, vec![both("a", &endpoint)]);
    let id = queue.put("a", "x").await;
    until("it is executing", || handler.all_calls() == 1).await;
    drop(bridge);
    until("nothing is leased", || queue.counts("a").leased == 0).await;
    assert_eq!(queue.totals("a").in_doubt, 1);
    let _bridge = start(&queue, vec![both("a", &endpoint)]);
    open.notify_one();
    queue.done("a", 1).await;
    assert_eq!(handler.calls(id), 1);
}

#[tokio::test]
async fn no_more_is_sent_than_the_endpoint_accepts_unanswered() {
    let queue = TestQueue::open(&["a"]).await;
    let running = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let most = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (now, peak) = (running.clone(), most.clone());
    let handler = Scripted::new(move |_, _| {
        let (now, peak) = (now.clone(), peak.clone());
        async move {
            use std::sync::atomic::Ordering::SeqCst;
            peak.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            Env::real().clock.sleep(Duration::from_millis(5)).await;
            now.fetch_sub(1, SeqCst);
            Ok(Bytes::new())
        }
    });
    let endpoint = receiver_with(handler.clone(), |options| options.in_flight_max = 3).await;
    let bridge = start(&queue, vec![both("a", &endpoint)]);
    queue.put_many("a", 60).await;
    queue.done("a", 60).await;
    assert_eq!(most.load(std::sync::atomic::Ordering::SeqCst), 3);
    assert_eq!(link_status(&bridge, "a", Grpc).counts.sends, 0);
    assert_eq!(queue.totals("a").granted, 60);
}

#[tokio::test]
async fn a_send_in_progress_is_followed_when_there_is_no_grpc_to_join_it() {
    let queue = TestQueue::open(&["a"]).await;
    let gate = std::sync::Arc::new(Notify::new());
    let open = gate.clone();
    let handler = Scripted::new(move |_, _| {
        let gate = gate.clone();
        async move {
            gate.notified().await;
            Ok(Bytes::new())
        }
    });
    // It says that it works only long after the bridge has lost patience.
    let endpoint = receiver_with(handler.clone(), |options| {
        options.working_after = Duration::from_millis(1_400);
    })
    .await;
    let mut options = route("a").socket(endpoint.socket_address().clone());
    options.first_sign_of_life = Duration::from_millis(100);
    options.heartbeat = Duration::from_secs(2);
    let bridge = start(&queue, vec![options]);
    let id = queue.put("a", "slow").await;
    until("its rollback was asked for", || {
        link_status(&bridge, "a", Socket).counts.rollbacks == 1
    })
    .await;
    open.notify_one();
    queue.done("a", 1).await;
    assert_eq!(handler.calls(id), 1);
    assert_eq!(queue.totals("a").granted, 1);
    assert_eq!(link_status(&bridge, "a", Socket).counts.replies, 1);
}
