//! Connections to the bridge that take and don't give, in a process of their own: a third say nothing, a third send a
//! request a byte at a time, a third ask and never read. Who is thrown out comes again after a while.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use clap::Args;
use leasebridge::env::Address;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::cli::bench::{BenchError, helper};
use crate::cli::descriptors;

/// How long who was thrown out stays away; so that the crowd itself costs little.
const AWAY: Duration = Duration::from_secs(20);

/// From one byte of a slow request to the next.
const DRIP: Duration = Duration::from_secs(2);

/// How long who never reads stays before he goes to look whether he was thrown out.
const STAYS: Duration = Duration::from_secs(30);

/// From one connection to the next at first: all of them are there within a few seconds.
const ARRIVALS: Duration = Duration::from_micros(500);

/// Requests whose answers one connection doesn't read.
const UNREAD: u32 = 8;

/// What a slow request says to be its length.
const CLAIMED_BYTES: u32 = 1 << 20;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// What the crowd is told.
#[derive(Debug, Args)]
pub(in crate::cli::bench) struct CrowdArgs {
    #[arg(long)]
    to: Address,
    #[arg(long)]
    connections: u32,
}

/// How one of them behaves.
#[derive(Clone, Copy)]
enum Manners {
    Silent,
    Slow,
    NeverReads,
}

/// Comes, says so, and stays until it is told to end.
pub(in crate::cli::bench) async fn run(args: CrowdArgs) -> Result<(), BenchError> {
    descriptors::raise();
    let Address::Tcp { host, port } = args.to else {
        return Err(BenchError::Helper("a crowd comes over TCP".into()));
    };
    let to: (&'static str, u16) = (String::leak(host), port);
    let mut crowd = JoinSet::new();
    for number in 0..args.connections {
        let manners = match number % 3 {
            0 => Manners::Silent,
            1 => Manners::Slow,
            _ => Manners::NeverReads,
        };
        crowd.spawn(async move {
            // Spread out from the beginning, so that they don't come again all at once.
            tokio::time::sleep(ARRIVALS * number).await;
            loop {
                // Whoever isn't let in tries again as well.
                let _thrown_out = manners.stay(to).await;
                tokio::time::sleep(AWAY).await;
            }
        });
    }
    tokio::time::sleep(ARRIVALS * args.connections).await;
    helper::ready("ready");
    helper::told_to_end().await?;
    println!("{}", json!({ "connections": crowd.len() }));
    Ok(())
}

impl Manners {
    /// One stay, until it is ended.
    async fn stay(self, to: (&str, u16)) -> std::io::Result<()> {
        let mut connection = TcpStream::connect(to).await?;
        match self {
            Self::Silent => {
                let mut byte = [0];
                while connection.read(&mut byte).await? > 0 {}
                Ok(())
            }
            Self::Slow => {
                let mut begun = opening();
                request(&mut begun, 1, "/leasebridge.v1.Ingest/EnqueueBatch");
                let mut head = BytesMut::new();
                head.put_u8(0);
                head.put_u32(CLAIMED_BYTES);
                frame(&mut begun, DATA, 0, 1, &head);
                connection.write_all(&begun).await?;
                let mut byte = BytesMut::new();
                frame(&mut byte, DATA, 0, 1, b"\n");
                loop {
                    tokio::time::sleep(DRIP).await;
                    connection.write_all(&byte).await?;
                }
            }
            Self::NeverReads => {
                let mut asked = opening();
                for number in 0..UNREAD {
                    let stream = 2 * number + 1;
                    request(&mut asked, stream, "/leasebridge.v1.Admin/Status");
                    frame(&mut asked, DATA, END_STREAM, stream, &[0; 5]);
                }
                connection.write_all(&asked).await?;
                tokio::time::sleep(STAYS).await;
                Ok(())
            }
        }
    }
}

/// What a client says first.
fn opening() -> BytesMut {
    let mut bytes = BytesMut::from(PREFACE);
    frame(&mut bytes, SETTINGS, 0, 0, &[]);
    bytes
}

/// The head of a gRPC request, its fields as literals.
fn request(bytes: &mut BytesMut, stream: u32, path: &str) {
    /// `:method: POST` and `:scheme: http` of HPACK's static table.
    const POST_HTTP: [u8; 2] = [0x83, 0x86];
    /// The static table's names of `:path` and `:authority`.
    const PATH: u8 = 4;
    const AUTHORITY: u8 = 1;
    let mut fields = BytesMut::from(&POST_HTTP[..]);
    for (name, value) in [(PATH, path), (AUTHORITY, "crowd")] {
        fields.put_u8(name);
        text(&mut fields, value);
    }
    for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")] {
        fields.put_u8(0);
        text(&mut fields, name);
        text(&mut fields, value);
    }
    frame(bytes, HEADERS, END_HEADERS, stream, &fields);
}

/// A short text as HPACK writes it.
fn text(fields: &mut BytesMut, value: &str) {
    fields.put_u8(u8::try_from(value.len()).expect("a short text"));
    fields.put_slice(value.as_bytes());
}

fn frame(bytes: &mut BytesMut, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("a short frame");
    bytes.put_uint(length.into(), 3);
    bytes.put_u8(kind);
    bytes.put_u8(flags);
    bytes.put_u32(stream);
    bytes.put_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_as_http2_has_it() {
        let mut bytes = BytesMut::new();
        frame(&mut bytes, DATA, END_STREAM, 3, b"ab");
        let wanted: &[u8] = &[0, 0, 2, 0, 1, 0, 0, 0, 3, b'a', b'b'];
        assert_eq!(&bytes[..], wanted);
    }
}
