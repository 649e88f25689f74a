//! `docs/protocol.md` shows frames byte by byte: these are the bytes that this code writes and reads.

use bytes::{Bytes, BytesMut};
use leasebridge::wire::v1::frame::Kind;
use leasebridge::wire::v1::{self, reply, rollback_reply};
use leasebridge::wire::{BridgeHello, EndpointHello, FrameDecoder, InboxId, encode_frame};
use std::time::Duration;

const DOCUMENT: &str = include_str!("../docs/protocol.md");

/// The bytes of the block called `name`: what stands before the remark on each of its lines.
fn shown(name: &str) -> Vec<u8> {
    let start = format!("```hex {name}\n");
    let (_, block) = DOCUMENT.split_once(&start).expect("the document has it");
    let (block, _) = block.split_once("```").expect("it ends");
    block
        .lines()
        .flat_map(|line| {
            line.split(' ')
                .map_while(|byte| match byte.len() {
                    2 => u8::from_str_radix(byte, 16).ok(),
                    _ => None,
                })
                .collect::<Vec<u8>>()
        })
        .collect()
}

fn check(name: &str, kind: Kind) {
    let shown = shown(name);
    let mut written = BytesMut::new();
    encode_frame(
        &v1::Frame {
            kind: Some(kind.clone()),
        },
        &mut written,
    );
    assert_eq!(shown, written, "what is written for `{name}`");
    let mut decoder = FrameDecoder::new(8 << 10);
    decoder.push(&shown);
    assert_eq!(decoder.take().unwrap(), Some(kind), "what is read");
    assert!(decoder.finish().is_ok());
}

fn delivery() -> Option<v1::DeliveryId> {
    Some(v1::DeliveryId {
        task: Some(v1::TaskId {
            origin: 0x00c0_ffee_00c0_ffee,
            seq: 42,
        }),
        epoch: 1,
    })
}

#[test]
fn the_hellos_are_as_shown() {
    let (body_bytes_max, heartbeat) = (1 << 20, Duration::from_secs(5));
    let bridge = BridgeHello {
        software: "leasebridge/0.1.0".into(),
        route: "lamps".into(),
        frame_bytes_max: 1_114_112,
        body_bytes_max,
        credentials: Bytes::from_static(b"secret"),
        heartbeat,
        tells_received: true,
    };
    check("bridge-hello", bridge.to_kind());
    assert!(BridgeHello::from_kind(bridge.to_kind()).is_ok());
    let endpoint = EndpointHello {
        software: "lamp-shop/1".into(),
        frame_bytes_max: 1_114_112,
        body_bytes_max,
        in_flight_max: 64,
        inbox_id: InboxId(std::array::from_fn(|at| u8::try_from(at).unwrap())),
        heartbeat,
        tells_received: true,
    };
    check("endpoint-hello", endpoint.to_kind());
    assert!(EndpointHello::from_kind(endpoint.to_kind()).is_ok());
}

#[test]
fn a_command_and_its_end_are_as_shown() {
    let command = v1::Command {
        delivery: delivery(),
        send: 1,
        route: "lamps".into(),
        body: Bytes::from_static(b"on"),
        key: "order-17".into(),
        ..Default::default()
    };
    check("command", Kind::Command(command));
    let reply = v1::Reply {
        delivery: delivery(),
        send: 1,
        outcome: Some(reply::Outcome::Done(v1::Done::default())),
    };
    check("reply", Kind::Reply(reply));
    let range = v1::SettledRange {
        origin: 0x00c0_ffee_00c0_ffee,
        first: 42,
        last: 42,
    };
    let ranges = vec![range];
    check("settled", Kind::Settled(v1::Settled { ranges }));
}

#[test]
fn a_rollback_and_the_heartbeats_are_as_shown() {
    let rollback = v1::Rollback {
        delivery: delivery(),
        send: 1,
    };
    check("rollback", Kind::Rollback(rollback));
    let reply = v1::RollbackReply {
        delivery: delivery(),
        send: 1,
        state: rollback_reply::State::Unknown.into(),
        result: Bytes::new(),
    };
    check("rollback-reply", Kind::RollbackReply(reply));
    check(
        "heartbeat",
        Kind::Heartbeat(v1::Heartbeat {
            sequence: 1,
            received_bytes: 122,
        }),
    );
    let ack = v1::HeartbeatAck {
        sequence: 1,
        received_bytes: 91,
    };
    check("heartbeat-ack", Kind::HeartbeatAck(ack));
}
