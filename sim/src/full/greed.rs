//! What strangers say: bytes made by hand, because no client of ours would say them.

use bytes::{BufMut, Bytes, BytesMut};
use leasebridge::wire::v1::frame::Kind;
use leasebridge::wire::{BridgeHello, HELLO_BYTES_MAX, encode_frame, v1};

use crate::net::{GRPC_PORT, INGEST_PORT};
use crate::plan::Micros;

/// What an HTTP/2 connection begins with, and our settings: none.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// What half a preface is.
const HALF: usize = 12;

/// A window of HTTP/2 is this large before anybody says otherwise: no more of one message may be sent.
const WINDOW_BYTES: usize = 65_535;

/// Streams that a stranger opens on one connection: more than anybody allows.
const STREAMS: u32 = 80;

/// Rollbacks that are sent in one write.
const ROLLBACKS_AT_ONCE: u32 = 64;

/// What a message claims to be long of which only a part comes.
const CLAIMED_BYTES: u32 = 15 << 20;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Half of the first words: of a preface, or of a frame's length.
pub(super) fn half_preface(port: u16) -> Bytes {
    match is_http2(port) {
        true => Bytes::from_static(&PREFACE[..HALF]),
        false => Bytes::from_static(&[0, 0]),
    }
}

/// A message of which so much has come and no more will.
pub(super) fn half_request(port: u16, bytes: usize) -> Bytes {
    let mut out = BytesMut::new();
    if is_http2(port) {
        out.put_slice(PREFACE);
        request(&mut out, 1, path(port), false);
        let mut message = BytesMut::new();
        message.put_u8(0);
        message.put_u32(CLAIMED_BYTES);
        message.put_bytes(0, bytes.min(WINDOW_BYTES - message.len()));
        data(&mut out, 1, &message, false);
    } else {
        out.put_u32(HELLO_BYTES_MAX);
        out.put_bytes(0, bytes.min(HELLO_BYTES_MAX as usize - 1));
    }
    out.freeze()
}

/// A first message as large as one may be; over a socket, one that claims to be larger.
pub(super) fn large_first(port: u16) -> Bytes {
    match is_http2(port) {
        true => half_request(port, usize::MAX),
        false => {
            let mut out = BytesMut::new();
            out.put_u32(CLAIMED_BYTES);
            out.put_bytes(0, WINDOW_BYTES);
            out.freeze()
        }
    }
}

/// Many requests at once, each whole, whose answers nobody will read.
pub(super) fn unread(port: u16) -> Bytes {
    let mut out = BytesMut::new();
    if !is_http2(port) {
        return hello();
    }
    out.put_slice(PREFACE);
    let path = match port {
        INGEST_PORT => "/leasebridge.v1.Admin/ListPoison",
        port => path(port),
    };
    for stream in (1..).step_by(2).take(STREAMS as usize) {
        request(&mut out, stream, path, false);
        data(&mut out, stream, &[0; 5], true);
    }
    out.freeze()
}

/// The first words of a bridge over a socket.
pub(super) fn hello() -> Bytes {
    let hello = BridgeHello {
        software: "stranger".to_owned(),
        route: "stranger".to_owned(),
        frame_bytes_max: 2 << 20,
        body_bytes_max: 1 << 20,
        credentials: Bytes::new(),
        heartbeat: Micros::from_secs(5).as_duration(),
        tells_received: false,
    };
    let mut out = BytesMut::new();
    frame(&mut out, hello.to_kind());
    out.freeze()
}

/// Rollbacks of sends that never were; `from` is the number of the first.
pub(super) fn rollbacks(origin: u64, from: u64) -> (Bytes, u64) {
    let mut out = BytesMut::new();
    let next = from + u64::from(ROLLBACKS_AT_ONCE);
    for seq in from..next {
        let task = v1::TaskId { origin, seq };
        let delivery = v1::DeliveryId {
            task: Some(task),
            epoch: 1,
        };
        let rollback = v1::Rollback {
            delivery: Some(delivery),
            send: 1,
        };
        frame(&mut out, Kind::Rollback(rollback));
    }
    (out.freeze(), next)
}

/// Whether HTTP/2 is spoken at a port.
fn is_http2(port: u16) -> bool {
    matches!(port, GRPC_PORT | INGEST_PORT)
}

fn path(port: u16) -> &'static str {
    match port {
        INGEST_PORT => "/leasebridge.v1.Ingest/Enqueue",
        _ => "/leasebridge.v1.Endpoint/ExecuteCommand",
    }
}

fn frame(out: &mut BytesMut, kind: Kind) {
    encode_frame(&v1::Frame { kind: Some(kind) }, out);
}

/// The headers of a gRPC request, each spelled out, so that no table is needed.
fn request(out: &mut BytesMut, stream: u32, path: &str, ends: bool) {
    let mut block = BytesMut::new();
    // From HPACK's static table: POST over http.
    block.put_slice(&[0x83, 0x86]);
    for (name, value) in [
        (":path", path),
        (":authority", "stranger"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        block.put_u8(0);
        for text in [name, value] {
            block.put_u8(u8::try_from(text.len()).expect("a short text"));
            block.put_slice(text.as_bytes());
        }
    }
    let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
    http2_frame(out, HEADERS, flags, stream, &block);
}

/// What HTTP/2 lets into one frame before anybody says otherwise.
const FRAME_BYTES: usize = 16 << 10;

fn data(out: &mut BytesMut, stream: u32, payload: &[u8], ends: bool) {
    let mut parts = payload.chunks(FRAME_BYTES).peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        let flags = if ends && is_last { END_STREAM } else { 0 };
        http2_frame(out, DATA, flags, stream, part);
    }
}

fn http2_frame(out: &mut BytesMut, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.put_uint(payload.len() as u64, 3);
    out.put_u8(kind);
    out.put_u8(flags);
    out.put_u32(stream);
    out.put_slice(payload);
}
