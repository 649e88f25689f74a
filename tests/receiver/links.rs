//! What links survive, and what they don't: each fault costs its own connection and nothing else.

use std::time::Duration;

use leasebridge::env::Env;
use leasebridge::wire::v1::frame::Kind;
use leasebridge::wire::{LENGTH_BYTES, v1};

use crate::client::{Client, command, delivery, done, hello};
use crate::{eventually, options, patiently, start};

/// A fault on one link; the neighbour goes on. Returns what the faulty one was told.
async fn fault(label: &'static str, bytes: &[u8], greeted: bool) -> String {
    let (receiver, _) = start(options()).await;
    let mut neighbour = Client::socket(&receiver).await;
    let mut faulty = Client::raw(&receiver).await;
    if greeted {
        faulty.greet(&hello()).await;
    }
    faulty.send_bytes(bytes).await;
    let reason = faulty.close_reason().await;
    assert_eq!(receiver.status().bad_frames.get(label), Some(&1));
    assert_eq!(neighbour.ask(1, 1, 1, "hi").await, done("hi"));
    reason
}

#[tokio::test]
async fn garbage_closes_the_connection_with_a_reason() {
    let reason = fault("too_long", b"GET / HTTP/1.1\r\n\r\n", false).await;
    assert!(reason.contains("over the limit"), "{reason}");
    let reason = fault("too_long", &[0x7f, 0, 0, 0, 1, 2, 3], true).await;
    assert!(reason.contains("2130706432 bytes"), "{reason}");
    fault("zero_length", &[0, 0, 0, 0], true).await;
    fault("undecodable", &[0, 0, 0, 3, 0x12, 0xff, 0xff], true).await;
    // Field 15: a kind of frame that a later version may have.
    let reason = fault("unknown_kind", &[0, 0, 0, 2, 0x78, 1], true).await;
    assert!(reason.contains("unknown kind"), "{reason}");
}

#[tokio::test]
async fn a_frame_larger_than_a_hello_needs_is_not_read_before_the_hello() {
    let reason = fault("too_long", &[0, 0, 0x20, 1], false).await;
    assert!(reason.contains("limit of 8192"), "{reason}");
}

#[tokio::test]
async fn a_truncated_frame_is_told_from_a_clean_end() {
    let (receiver, _) = start(options()).await;
    let mut clean = Client::socket(&receiver).await;
    clean.end().await;
    assert_eq!(clean.next().await, None);
    assert_eq!(receiver.status().bad_frames.len(), 0);
    let mut cut = Client::socket(&receiver).await;
    cut.send_bytes(&[0, 0, 0, 9, 1, 2]).await;
    cut.end().await;
    assert_eq!(cut.next().await, None);
    assert_eq!(receiver.status().bad_frames.get("truncated"), Some(&1));
    eventually("both links are gone", || receiver.links() == 0).await;
}

#[tokio::test]
async fn a_bridge_of_another_version_is_told_so_over_either_transport() {
    let (receiver, _) = start(options()).await;
    for mut client in [
        Client::raw(&receiver).await,
        Client::raw_grpc(&receiver).await,
    ] {
        let Kind::Hello(mut other) = hello().to_kind() else {
            panic!("not a hello")
        };
        other.version = 9;
        client.send(Kind::Hello(other)).await;
        let reason = client.close_reason().await;
        assert!(reason.contains("version 9"), "{reason}");
    }
    assert_eq!(receiver.status().bad_frames.get("version"), Some(&2));
    assert_eq!(receiver.stats().links, 0);
}

#[tokio::test]
async fn a_wrong_secret_opens_nothing() {
    let mut options = options();
    options.credentials = "secret".into();
    let (receiver, _) = start(options).await;
    let mut stranger = Client::raw(&receiver).await;
    stranger.send(hello().to_kind()).await;
    assert_eq!(stranger.close_reason().await, "wrong credentials");
    let mut friend = Client::raw(&receiver).await;
    let mut said = hello();
    said.credentials = "secret".into();
    friend.greet(&said).await;
    assert_eq!(friend.ask(1, 1, 1, "hi").await, done("hi"));
}

/// Guesses are counted and kept waiting; who knows the secret gets in, from the same host as well.
#[tokio::test]
async fn guesses_at_a_secret_lock_nobody_out() {
    let mut options = options();
    options.credentials = "secret".into();
    let (receiver, _) = start(options).await;
    let guess = async |mut client: Client| {
        client.send(hello().to_kind()).await;
        client.close_reason().await
    };
    for round in 0..4 {
        let socket = guess(Client::raw(&receiver).await).await;
        let grpc = guess(Client::raw_grpc(&receiver).await).await;
        assert_eq!([&*socket, &*grpc], ["wrong credentials"; 2]);
        assert_eq!(receiver.stats().wrong_secrets, 2 * (round + 1));
    }
    let mut said = hello();
    said.credentials = "secret".into();
    for mut friend in [
        Client::raw(&receiver).await,
        Client::raw_grpc(&receiver).await,
    ] {
        friend.greet(&said).await;
        assert_eq!(friend.ask(1, 1, 1, "hi").await, done("hi"));
    }
}

#[tokio::test]
async fn a_frame_that_only_endpoints_send_is_a_violation() {
    let (receiver, _) = start(options()).await;
    for (mut client, count) in [
        (Client::socket(&receiver).await, 1),
        (Client::grpc(&receiver).await, 2),
    ] {
        let working = v1::Working {
            delivery: Some(delivery(1, 1)),
            send: 1,
            received_bytes: 0,
        };
        client.send(Kind::Working(working)).await;
        let reason = client.close_reason().await;
        assert!(reason.contains("`working`"), "{reason}");
        assert_eq!(receiver.status().bad_frames.get("unexpected"), Some(&count));
    }
}

#[tokio::test]
async fn a_command_without_an_epoch_is_a_violation() {
    let (receiver, _) = start(options()).await;
    let mut client = Client::socket(&receiver).await;
    client.send(command(1, 0, 1, "hi")).await;
    let reason = client.close_reason().await;
    assert!(reason.contains("epoch 0"), "{reason}");
}

#[tokio::test]
async fn a_message_over_the_limit_closes_a_grpc_link_with_a_reason() {
    let mut options = options();
    options.body_bytes_max = 1_000;
    let (receiver, _) = start(options).await;
    let mut neighbour = Client::grpc(&receiver).await;
    let mut client = Client::grpc(&receiver).await;
    let Kind::Command(mut large) = command(1, 1, 1, "") else {
        panic!("not a command")
    };
    large.body = vec![0; 100_000].into();
    client.send(Kind::Command(large)).await;
    let reason = client.close_reason().await;
    assert!(reason.contains("100"), "{reason}");
    assert_eq!(receiver.status().bad_frames.get("message"), Some(&1));
    assert_eq!(neighbour.ask(1, 1, 1, "hi").await, done("hi"));
}

#[tokio::test]
async fn who_says_nothing_is_not_waited_for() {
    let mut options = options();
    options.hello_deadline = Duration::from_millis(50);
    let (receiver, _) = start(options).await;
    let mut silent = Client::raw(&receiver).await;
    let reason = silent.close_reason().await;
    assert!(reason.contains("no hello"), "{reason}");
}

#[tokio::test]
async fn a_silent_link_is_dead_after_three_heartbeats_and_a_speaking_one_is_not() {
    let mut options = options();
    options.heartbeat = Duration::from_millis(200);
    let (receiver, _) = start(options).await;
    let mut silent = Client::socket(&receiver).await;
    let mut silent_grpc = Client::grpc(&receiver).await;
    let mut speaking = Client::socket(&receiver).await;
    let clock = Env::real().clock;
    let until = clock.now() + Duration::from_millis(1_500);
    let mut sequence = 0;
    while clock.now() < until {
        sequence += 1;
        speaking
            .send(Kind::Heartbeat(v1::Heartbeat {
                sequence,
                received_bytes: 0,
            }))
            .await;
        let answer = Kind::HeartbeatAck(v1::HeartbeatAck {
            sequence,
            received_bytes: 0,
        });
        assert_eq!(speaking.next().await, Some(answer));
        clock.sleep(Duration::from_millis(50)).await;
    }
    for client in [&mut silent, &mut silent_grpc] {
        let reason = client.close_reason().await;
        assert!(reason.contains("nothing was heard"), "{reason}");
    }
    assert_eq!(receiver.stats().links_dead, 2);
    assert_eq!(receiver.links(), 1);
}

#[tokio::test]
async fn who_sends_and_never_reads_is_given_up_and_holds_no_more_than_its_share() {
    let mut options = options();
    options.write_deadline = Duration::from_millis(300);
    let (receiver, _) = start(options).await;
    let mut neighbour = Client::socket(&receiver).await;
    let floods = [
        Client::socket(&receiver).await,
        Client::grpc(&receiver).await,
    ];
    for (mut flood, (first, left)) in floods.into_iter().zip([(0, 2), (1_000, 1)]) {
        let body: bytes::Bytes = vec![1; 200_000].into();
        let flooding = tokio::spawn(async move {
            for seq in first..first + 500 {
                let Kind::Command(mut large) = command(seq, 1, 1, "") else {
                    panic!("not a command")
                };
                large.body = body.clone();
                if !flood.try_send(Kind::Command(large)).await {
                    return;
                }
            }
            panic!("all of it was read");
        });
        eventually("it is given up", || receiver.links() == left).await;
        if first == 0 {
            patiently(flooding).await.unwrap();
        } else {
            // A stream of a connection that lives on can't be cut from this side: its sender waits.
            flooding.abort();
        }
        assert_eq!(neighbour.ask(first + 900, 1, 1, "hi").await, done("hi"));
    }
}

#[tokio::test]
async fn heartbeats_are_sent_on_both_transports() {
    let mut options = options();
    options.heartbeat = Duration::from_millis(50);
    let (receiver, _) = start(options).await;
    let mut socket = Client::socket(&receiver).await;
    let mut grpc = Client::grpc(&receiver).await;
    let Client::Socket { reader, .. } = &mut socket else {
        panic!("a socket")
    };
    let beat = v1::Heartbeat {
        sequence: 1,
        received_bytes: 0,
    };
    let first = patiently(reader.next()).await.unwrap();
    assert_eq!(first, Some(Kind::Heartbeat(beat)));
    let Client::Grpc { incoming, .. } = &mut grpc else {
        panic!("gRPC")
    };
    let first = patiently(incoming.message()).await.unwrap().unwrap().kind;
    assert_eq!(first, Some(Kind::Heartbeat(beat)));
}

#[tokio::test]
async fn connections_beyond_the_limit_are_turned_away() {
    let mut options = options();
    options.connections_max = 1;
    let (receiver, _) = start(options).await;
    let mut first = Client::socket(&receiver).await;
    let mut second = Client::raw(&receiver).await;
    assert_eq!(second.next().await, None);
    assert_eq!(receiver.stats().connections_refused, 1);
    first.end().await;
    assert_eq!(first.next().await, None);
    drop(first);
    let mut asked = 0;
    loop {
        // The slot is free once the receiver has seen the end of the first.
        let mut next = Client::raw(&receiver).await;
        next.send(hello().to_kind()).await;
        if next.next().await.is_some() {
            break;
        }
        asked += 1;
        assert!(asked < 1_000, "the slot is never freed");
    }
}

#[tokio::test]
async fn a_first_frame_is_small_over_either_transport() {
    let (receiver, _) = start(options()).await;
    for mut client in [
        Client::raw(&receiver).await,
        Client::raw_grpc(&receiver).await,
    ] {
        let Kind::Hello(mut long) = hello().to_kind() else {
            panic!("not a hello")
        };
        long.credentials = vec![0; 9_000].into();
        client.send(Kind::Hello(long)).await;
        let reason = client.close_reason().await;
        assert!(reason.contains("8192"), "{reason}");
    }
    let mut greeted = Client::grpc(&receiver).await;
    let Kind::Command(mut large) = command(1, 1, 1, "") else {
        panic!("not a command")
    };
    large.body = vec![1; 9_000].into();
    greeted.send(Kind::Command(large)).await;
    let (_, _, _, outcome) = greeted.reply().await;
    assert!(matches!(outcome, v1::reply::Outcome::Done(_)));
}

/// What has arrived in the middle of a frame is told, and is a sign of life.
#[tokio::test]
async fn bytes_that_arrive_are_told_and_keep_a_link_alive_in_the_middle_of_a_frame() {
    let mut options = options();
    options.heartbeat = Duration::from_millis(200);
    let (receiver, _) = start(options).await;
    let mut client = Client::raw(&receiver).await;
    let mut said = hello();
    said.tells_received = true;
    let frame = v1::Frame {
        kind: Some(said.to_kind()),
    };
    let mut sent = (prost::Message::encoded_len(&frame) + LENGTH_BYTES) as u64;
    assert!(client.greet(&said).await.tells_received);
    client.send_bytes(&[0, 1, 0, 0]).await;
    sent += 4;
    let clock = Env::real().clock;
    // Five times as long as it may be silent.
    for _ in 0..30 {
        client.send_bytes(&[0x12]).await;
        sent += 1;
        clock.sleep(Duration::from_millis(100)).await;
    }
    let Client::Socket { reader, .. } = &mut client else {
        panic!("a socket")
    };
    loop {
        match patiently(reader.next()).await.unwrap() {
            Some(Kind::Heartbeat(beat)) if beat.received_bytes == sent => break,
            Some(Kind::Heartbeat(beat)) => assert!(beat.received_bytes < sent, "{beat:?}"),
            other => panic!("{other:?}"),
        }
    }
    let reason = client.close_reason().await;
    assert!(reason.contains("nothing was heard"), "{reason}");
}
