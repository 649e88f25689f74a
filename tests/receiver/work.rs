//! Commands and what becomes of them, over both transports and with a memory that ends with the process.

use std::sync::Arc;
use std::time::Duration;

use leasebridge::wire::v1;
use leasebridge::wire::v1::frame::Kind;
use leasebridge::wire::v1::reply::Outcome;
use leasebridge::wire::v1::rollback_reply::State;

use crate::client::{Client, command, delivery, done};
use crate::{eventually, options, start};

#[tokio::test]
async fn each_kind_of_outcome_comes_back_over_either_transport() {
    let (receiver, _) = start(options()).await;
    let clients = [
        Client::socket(&receiver).await,
        Client::grpc(&receiver).await,
    ];
    for (mut client, first) in clients.into_iter().zip([0, 10]) {
        assert_eq!(client.ask(first, 1, 1, "hi").await, done("hi"));
        let rejected = Outcome::Rejected(v1::Rejected { error: "no".into() });
        assert_eq!(client.ask(first + 1, 1, 1, "reject").await, rejected);
        let refused = Outcome::Refused(v1::Refused {
            error: "never".into(),
        });
        assert_eq!(client.ask(first + 2, 1, 1, "refuse").await, refused);
        let unavailable = Outcome::Unavailable(v1::Unavailable {
            retry_after_ms: 2_000,
            error: "later".into(),
        });
        assert_eq!(client.ask(first + 3, 1, 1, "busy").await, unavailable);
    }
    let stats = receiver.stats();
    assert_eq!((stats.executed, stats.not_executed), (2, 6));
    let status = receiver.status();
    assert_eq!(status.stats, stats);
    assert_eq!(status.handler_time.count(), 8);
    assert_eq!(status.commit_time.count(), 0, "nothing is remembered");
    assert_eq!((status.running, status.unanswered), (0, 0));
    assert!(status.inbox.tasks > 0);
}

#[tokio::test]
async fn a_panic_in_a_handler_is_a_rejection_and_the_receiver_lives() {
    let (receiver, worker) = start(options()).await;
    let mut client = Client::socket(&receiver).await;
    let Outcome::Rejected(rejected) = client.ask(1, 1, 1, "panic").await else {
        panic!("not rejected")
    };
    assert!(rejected.error.contains("the handler's own fault"));
    assert_eq!(client.ask(1, 2, 1, "hi").await, done("hi"));
    assert_eq!(receiver.stats().panics, 1);
    assert_eq!(worker.executions(1), 2);
}

#[tokio::test]
async fn a_duplicate_of_a_done_is_answered_over_the_other_transport() {
    let (receiver, worker) = start(options()).await;
    let mut socket = Client::socket(&receiver).await;
    let mut grpc = Client::grpc(&receiver).await;
    assert_eq!(socket.ask(1, 1, 1, "hi").await, done("hi"));
    assert_eq!(grpc.ask(1, 1, 2, "hi").await, done("hi"));
    assert_eq!(grpc.ask(1, 2, 1, "other").await, done("hi"));
    let stale = Outcome::Stale(v1::Stale { current_epoch: 2 });
    assert_eq!(socket.ask(1, 1, 3, "hi").await, stale);
    assert_eq!(worker.executions(1), 1);
    let stats = receiver.stats();
    assert_eq!((stats.executed, stats.duplicates, stats.stale), (1, 2, 1));
}

#[tokio::test]
async fn a_send_over_grpc_joins_the_execution_that_the_socket_started() {
    let (receiver, worker) = start(options()).await;
    let mut socket = Client::socket(&receiver).await;
    let mut grpc = Client::grpc(&receiver).await;
    socket.send(command(1, 1, 1, "wait")).await;
    worker.wait_until_started(1).await;
    assert_eq!(socket.rollback(1, 1, 1).await, State::InProgress);
    grpc.send(command(1, 1, 2, "wait")).await;
    eventually("it joined", || receiver.stats().joined == 1).await;
    worker.open_gate();
    assert_eq!(grpc.reply().await, (1, 1, 2, done("waited")));
    assert_eq!(socket.reply().await, (1, 1, 1, done("waited")));
    assert_eq!(socket.rollback(1, 1, 1).await, State::AlreadyDone);
    assert_eq!(worker.executions(1), 1);
}

#[tokio::test]
async fn an_execution_outlives_its_link() {
    let (receiver, worker) = start(options()).await;
    let mut socket = Client::socket(&receiver).await;
    socket.send(command(1, 1, 1, "wait")).await;
    worker.wait_until_started(1).await;
    drop(socket);
    eventually("the link is gone", || receiver.links() == 0).await;
    worker.open_gate();
    eventually("it was executed", || receiver.stats().executed == 1).await;
    let mut grpc = Client::grpc(&receiver).await;
    assert_eq!(grpc.ask(1, 1, 2, "wait").await, done("waited"));
    assert_eq!(worker.executions(1), 1);
}

#[tokio::test]
async fn a_rollback_before_arrival_stops_the_send_and_a_later_send_runs() {
    let (receiver, worker) = start(options()).await;
    let mut socket = Client::socket(&receiver).await;
    assert_eq!(socket.rollback(1, 1, 1).await, State::Unknown);
    socket.send(command(1, 1, 1, "hi")).await;
    let late = v1::RollbackReply {
        delivery: Some(delivery(1, 1)),
        send: 1,
        state: State::RolledBack.into(),
        result: Default::default(),
    };
    assert_eq!(socket.next().await, Some(Kind::RollbackReply(late)));
    assert_eq!(worker.executions(1), 0);
    assert_eq!(socket.ask(1, 1, 2, "hi").await, done("hi"));
    assert_eq!(worker.executions(1), 1);
}

#[tokio::test]
async fn a_rollback_of_what_waits_for_a_handler_takes_it_back() {
    let mut options = options();
    options.handlers_max = 1;
    let (receiver, worker) = start(options).await;
    let mut socket = Client::socket(&receiver).await;
    socket.send(command(1, 1, 1, "wait")).await;
    worker.wait_until_started(1).await;
    socket.send(command(2, 1, 1, "hi")).await;
    assert_eq!(socket.rollback(2, 1, 1).await, State::RolledBack);
    socket.send(command(3, 1, 1, "hi")).await;
    worker.open_gate();
    assert_eq!(socket.reply().await, (1, 1, 1, done("waited")));
    assert_eq!(socket.reply().await, (3, 1, 1, done("hi")));
    assert_eq!(worker.executions(2), 0);
}

/// A receiver that was dropped went on with what waited for a handler: another one started over the same
/// memory executed it again.
#[tokio::test]
async fn what_waits_for_a_handler_never_runs_once_the_receiver_is_dropped() {
    let mut options = options();
    options.handlers_max = 1;
    let (receiver, worker) = start(options).await;
    let mut socket = Client::socket(&receiver).await;
    socket.send(command(1, 1, 1, "wait")).await;
    worker.wait_until_started(1).await;
    socket.send(command(2, 1, 1, "hi")).await;
    eventually("both have come", || receiver.stats().commands == 2).await;
    drop(receiver);
    worker.open_gate();
    eventually("all of it has ended", || Arc::strong_count(&worker) == 1).await;
    assert_eq!((worker.executions(1), worker.executions(2)), (1, 0));
}

#[tokio::test]
async fn a_settled_task_is_not_executed() {
    let (receiver, worker) = start(options()).await;
    let mut socket = Client::socket(&receiver).await;
    socket.settle(1, 5).await;
    let stale = Outcome::Stale(v1::Stale { current_epoch: 1 });
    assert_eq!(socket.ask(3, 1, 1, "hi").await, stale);
    assert_eq!(socket.ask(6, 1, 1, "hi").await, done("hi"));
    assert_eq!(worker.executions(3), 0);
    let mut backwards = Client::socket(&receiver).await;
    backwards.settle(5, 1).await;
    backwards.close_reason().await;
}

#[tokio::test]
async fn a_long_execution_gives_signs_of_life_again_and_again() {
    let mut options = options();
    options.working_after = Duration::from_millis(50);
    options.heartbeat = Duration::from_millis(200);
    options.heartbeat_misses = 100;
    let (receiver, worker) = start(options).await;
    for (mut client, seq) in [
        (Client::socket(&receiver).await, 1),
        (Client::grpc(&receiver).await, 2),
    ] {
        client.send(command(seq, 1, 1, "wait")).await;
        for _ in 0..3 {
            let working = v1::Working {
                delivery: Some(delivery(seq, 1)),
                send: 1,
                received_bytes: 0,
            };
            assert_eq!(client.next().await, Some(Kind::Working(working)));
        }
        worker.open_gate();
        assert_eq!(client.reply().await, (seq, 1, 1, done("waited")));
    }
}

#[tokio::test]
async fn what_a_link_was_not_granted_is_unavailable_and_not_executed() {
    let mut options = options();
    options.in_flight_max = 1;
    let (receiver, worker) = start(options).await;
    let mut socket = Client::socket(&receiver).await;
    socket.send(command(1, 1, 1, "wait")).await;
    let refused = socket.ask(2, 1, 1, "hi").await;
    assert!(matches!(refused, Outcome::Unavailable(_)), "{refused:?}");
    worker.open_gate();
    assert_eq!(socket.reply().await, (1, 1, 1, done("waited")));
    assert_eq!(socket.ask(2, 2, 1, "hi").await, done("hi"));
    assert_eq!(worker.executions(2), 1);
}

#[tokio::test]
async fn what_finds_no_free_handler_in_time_is_unavailable_and_not_executed() {
    let mut options = options();
    options.handlers_max = 1;
    options.handler_wait_max = Duration::from_millis(50);
    let (receiver, worker) = start(options).await;
    let mut socket = Client::socket(&receiver).await;
    socket.send(command(1, 1, 1, "wait")).await;
    worker.wait_until_started(1).await;
    let refused = socket.ask(2, 1, 1, "hi").await;
    assert!(matches!(refused, Outcome::Unavailable(_)), "{refused:?}");
    worker.open_gate();
    assert_eq!(socket.reply().await, (1, 1, 1, done("waited")));
    assert_eq!(socket.ask(2, 2, 1, "hi").await, done("hi"));
    assert_eq!(worker.executions(2), 1);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_for_good() {
    let mut options = options();
    options.body_bytes_max = 4;
    let (receiver, worker) = start(options).await;
    let mut socket = Client::socket(&receiver).await;
    let refused = socket.ask(1, 1, 1, "12345").await;
    assert!(matches!(refused, Outcome::Refused(_)), "{refused:?}");
    assert_eq!(socket.ask(2, 1, 1, "1234").await, done("1234"));
    assert_eq!(worker.executions(1), 0);
}

#[tokio::test]
async fn a_result_the_bridge_accepts_no_frame_for_is_left_out_of_a_done() {
    let (receiver, _) = start(options()).await;
    let mut socket = Client::socket(&receiver).await;
    assert_eq!(socket.ask(1, 1, 1, "large").await, done(""));
    assert_eq!(receiver.stats().results_dropped, 1);
}

#[tokio::test]
async fn a_shutdown_tells_the_bridges_and_finishes_what_runs() {
    let (receiver, worker) = start(options()).await;
    let mut socket = Client::socket(&receiver).await;
    let mut grpc = Client::grpc(&receiver).await;
    socket.send(command(1, 1, 1, "wait")).await;
    worker.wait_until_started(1).await;
    let shutdown = tokio::spawn(receiver.shutdown(Duration::from_secs(10)));
    assert!(matches!(socket.next().await, Some(Kind::Drain(_))));
    assert!(matches!(grpc.next().await, Some(Kind::Drain(_))));
    let refused = socket.ask(2, 1, 1, "hi").await;
    assert!(matches!(refused, Outcome::Unavailable(_)), "{refused:?}");
    worker.open_gate();
    assert_eq!(socket.reply().await, (1, 1, 1, done("waited")));
    assert_eq!(socket.next().await, None);
    assert_eq!(grpc.next().await, None);
    drop((socket, grpc));
    assert_eq!(shutdown.await.unwrap().unfinished, 0);
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_ever() {
    let (receiver, worker) = start(options()).await;
    let mut socket = Client::socket(&receiver).await;
    socket.send(command(1, 1, 1, "wait")).await;
    worker.wait_until_started(1).await;
    let report = receiver.shutdown(Duration::from_millis(50)).await;
    assert_eq!(report.unfinished, 1);
}
