//! What `docs/protocol.md` says of the cases where an endpoint could go either way.

use std::time::Duration;

use bytes::Bytes;
use leasebridge::env::Env;
use leasebridge::wire::v1;
use leasebridge::wire::v1::frame::Kind;
use leasebridge::wire::v1::reply::Outcome;
use leasebridge::wire::v1::rollback_reply::State;

use crate::client::{Client, command, done, hello};
use crate::{eventually, options, start};

/// The inbox's rules decide in their order: that a send was rolled back is the fourth.
#[tokio::test]
async fn a_rolled_back_send_is_told_that_its_task_was_executed_or_that_it_is_stale() {
    let (receiver, worker) = start(options()).await;
    let mut socket = Client::socket(&receiver).await;
    assert_eq!(socket.rollback(1, 1, 1).await, State::Unknown);
    assert_eq!(socket.ask(1, 1, 2, "hi").await, done("hi"));
    assert_eq!(socket.ask(1, 1, 1, "hi").await, done("hi"));
    assert_eq!(socket.rollback(2, 1, 1).await, State::Unknown);
    assert_eq!(socket.ask(2, 2, 1, "hi").await, done("hi"));
    let stale = Outcome::Stale(v1::Stale { current_epoch: 2 });
    assert_eq!(socket.ask(2, 1, 1, "hi").await, stale);
    assert_eq!((worker.executions(1), worker.executions(2)), (1, 1));
}

/// There is no half-closed link: whoever ends his direction hears nothing more, and what he sent is executed all the
/// same, whether it had started or not.
#[tokio::test]
async fn what_was_received_is_executed_although_every_link_it_came_by_has_ended() {
    let mut options = options();
    options.handlers_max = 1;
    let (receiver, worker) = start(options).await;
    let mut socket = Client::socket(&receiver).await;
    let mut grpc = Client::grpc(&receiver).await;
    socket.send(command(1, 1, 1, "wait")).await;
    worker.wait_until_started(1).await;
    socket.send(command(2, 1, 1, "hi")).await;
    grpc.send(command(3, 1, 1, "hi")).await;
    eventually("all have come", || receiver.stats().commands == 3).await;
    socket.end().await;
    assert_eq!(socket.next().await, None, "the end is answered by the end");
    let Client::Grpc {
        mut incoming,
        outgoing,
    } = grpc
    else {
        panic!("not gRPC")
    };
    drop(outgoing);
    // Heartbeats that were on their way, then the end: with OK, as always.
    while let Some(frame) = incoming.message().await.expect("the status is OK") {
        assert!(matches!(frame.kind, Some(Kind::Heartbeat(_))), "{frame:?}");
    }
    eventually("the links are gone", || receiver.links() == 0).await;
    worker.open_gate();
    eventually("all were executed", || receiver.stats().executed == 3).await;
    let mut later = Client::socket(&receiver).await;
    assert_eq!(later.ask(1, 2, 1, "wait").await, done("waited"));
    assert_eq!(later.ask(2, 2, 1, "hi").await, done("hi"));
    assert_eq!(later.ask(3, 2, 1, "hi").await, done("hi"));
    assert_eq!([1, 2, 3].map(|seq| worker.executions(seq)), [1, 1, 1]);
}

#[tokio::test]
async fn a_command_for_another_route_than_its_links_is_the_handlers_to_judge() {
    let (receiver, worker) = start(options()).await;
    let mut socket = Client::socket(&receiver).await;
    let Kind::Command(mut strange) = command(1, 1, 1, "route") else {
        panic!("not a command")
    };
    strange.route = "elsewhere".into();
    socket.send(Kind::Command(strange)).await;
    assert_eq!(socket.reply().await, (1, 1, 1, done("elsewhere")));
    assert_eq!(worker.executions(1), 1);
}

#[tokio::test]
async fn what_is_not_the_bridges_to_set_is_ignored() {
    let (receiver, _) = start(options()).await;
    let mut socket = Client::raw(&receiver).await;
    let Kind::Hello(mut odd) = hello().to_kind() else {
        panic!("not a hello")
    };
    odd.in_flight_max = 1;
    odd.inbox_id = Bytes::from_static(b"short");
    socket.send(Kind::Hello(odd)).await;
    assert!(matches!(socket.next().await, Some(Kind::Hello(_))));
    socket.send(command(1, 1, 1, "hi")).await;
    socket.send(command(2, 1, 1, "hi")).await;
    assert_eq!(socket.reply().await.3, done("hi"));
    assert_eq!(socket.reply().await.3, done("hi"));
}

#[tokio::test]
async fn a_draining_receiver_listens_no_more_and_goes_on_reading() {
    let (receiver, worker) = start(options()).await;
    let mut socket = Client::socket(&receiver).await;
    socket.send(command(1, 1, 1, "wait")).await;
    worker.wait_until_started(1).await;
    let addresses = [receiver.socket_address(), receiver.grpc_address().unwrap()].map(Clone::clone);
    let shutdown = tokio::spawn(receiver.shutdown(Duration::from_secs(10)));
    assert!(matches!(socket.next().await, Some(Kind::Drain(_))));
    let env = Env::real();
    for address in &addresses {
        let mut listens = true;
        while listens {
            // The listener goes with its task, which ends in its own time.
            listens = env.transport.connect(address).await.is_ok();
        }
    }
    let sequence = 7;
    socket
        .send(Kind::Heartbeat(v1::Heartbeat {
            sequence,
            received_bytes: 0,
        }))
        .await;
    let acknowledged = Kind::HeartbeatAck(v1::HeartbeatAck {
        sequence,
        received_bytes: 0,
    });
    assert_eq!(socket.next().await, Some(acknowledged));
    assert_eq!(socket.rollback(1, 1, 1).await, State::InProgress);
    assert_eq!(socket.rollback(2, 1, 1).await, State::Unknown);
    socket.settle(3, 3).await;
    let stale = Outcome::Stale(v1::Stale { current_epoch: 1 });
    assert_eq!(socket.ask(3, 1, 1, "hi").await, stale);
    worker.open_gate();
    assert_eq!(socket.reply().await, (1, 1, 1, done("waited")));
    drop(socket);
    assert_eq!(shutdown.await.unwrap().unfinished, 0);
}
