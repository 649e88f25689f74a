//! An endpoint as others write them: it takes one command after the other and writes each answer by itself.
//!
//! Ours answers what has gathered with one write, which spares the bridge most of its work. A few lines in
//! another language don't, so that this is what a bridge meets: an inbox that remembers nothing, and for each
//! command a little work, an answer, a write.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures_util::{Stream, StreamExt};
use leasebridge::env::{Address, BoxStream, Env, Listener};
use leasebridge::listening::{Reception, Speech};
use leasebridge::wire::v1::endpoint_server::{Endpoint, EndpointServer};
use leasebridge::wire::v1::{self, frame::Kind};
use leasebridge::wire::{
    BODY_BYTES_DEFAULT, EndpointHello, FrameReader, HEARTBEAT_DEFAULT, InboxId, encode_frame,
    frame_bytes_for,
};
use tokio::io::AsyncWriteExt;
use tonic::{Request, Response, Status, Streaming};

use super::{BenchError, helper};

/// What executing a command takes: what a handler in a scripting language does, and no more.
const WORK: Duration = Duration::from_micros(50);

/// Unanswered commands that it accepts.
const IN_FLIGHT_MAX: u32 = 4096;

/// Connections over gRPC: a bridge needs one.
const CONNECTIONS_MAX: usize = 8;

/// What it says to a frame.
fn answer(kind: Kind) -> Option<Kind> {
    match kind {
        Kind::Hello(_) => Some(
            EndpointHello {
                software: "foreign".into(),
                frame_bytes_max: frame_bytes_for(BODY_BYTES_DEFAULT),
                body_bytes_max: BODY_BYTES_DEFAULT,
                in_flight_max: IN_FLIGHT_MAX,
                inbox_id: InboxId([7; 16]),
                heartbeat: HEARTBEAT_DEFAULT,
                tells_received: false,
            }
            .to_kind(),
        ),
        Kind::Command(v1::Command { delivery, send, .. }) => {
            let start = Instant::now();
            while start.elapsed() < WORK {
                std::hint::spin_loop();
            }
            let done = v1::reply::Outcome::Done(v1::Done::default());
            Some(Kind::Reply(v1::Reply {
                delivery,
                send,
                outcome: Some(done),
            }))
        }
        Kind::Heartbeat(v1::Heartbeat { sequence, .. }) => {
            Some(Kind::HeartbeatAck(v1::HeartbeatAck {
                sequence,
                received_bytes: 0,
            }))
        }
        _ => None,
    }
}

/// Runs until stdin closes; says on stdout where it listens.
pub(super) async fn endpoint() -> Result<(), BenchError> {
    // One thread: on two the writes of several answers would meet.
    tokio::task::spawn_blocking(|| {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build()?;
        runtime.block_on(serve())
    });
    helper::told_to_end().await
}

async fn serve() -> Result<(), BenchError> {
    let env = Env::real();
    let any = Address::tcp("127.0.0.1", 0);
    let sockets = env.transport.bind(&any).await?;
    let grpc = env.transport.bind(&any).await?;
    let (socket, grpc_address) = (sockets.local_address(), grpc.local_address());
    helper::ready(format_args!("{socket} {grpc_address}"));
    let (_ended, served) = tokio::join!(serve_sockets(sockets), serve_grpc(&env, grpc));
    served.map_err(|error| std::io::Error::other(error).into())
}

async fn serve_sockets(mut listener: Box<dyn Listener>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve_socket(stream));
    }
}

async fn serve_socket(stream: BoxStream) -> std::io::Result<()> {
    let (reading, mut writing) = tokio::io::split(stream);
    let mut reader = FrameReader::new(reading, frame_bytes_for(BODY_BYTES_DEFAULT));
    let mut bytes = BytesMut::new();
    while let Ok(Some(kind)) = reader.next().await {
        if let Some(kind) = answer(kind) {
            bytes.clear();
            encode_frame(&v1::Frame { kind: Some(kind) }, &mut bytes);
            writing.write_all(&bytes).await?;
            writing.flush().await?;
        }
    }
    Ok(())
}

async fn serve_grpc(env: &Env, listener: Box<dyn Listener>) -> Result<(), tonic::transport::Error> {
    // Without a guard nothing is ever accepted: no deadline may count.
    let reception = Reception::new(env, CONNECTIONS_MAX, Speech::Other);
    let incoming = reception.connections(listener);
    tonic::transport::Server::builder()
        .serve_with_incoming(EndpointServer::new(ForeignEndpoint), incoming)
        .await
}

struct ForeignEndpoint;

#[tonic::async_trait]
impl Endpoint for ForeignEndpoint {
    type ExecuteCommandStream = AnswersOneByOne;

    async fn execute_command(
        &self,
        request: Request<Streaming<v1::Frame>>,
    ) -> Result<Response<AnswersOneByOne>, Status> {
        let frames = request.into_inner();
        Ok(Response::new(AnswersOneByOne { frames, rests: 0 }))
    }
}

/// Answers that never meet: behind each the stream has nothing for two looks. At the first tonic lets go of what
/// it has, at the second HTTP/2 has its turn and writes it.
struct AnswersOneByOne {
    frames: Streaming<v1::Frame>,
    rests: u32,
}

impl Stream for AnswersOneByOne {
    type Item = Result<v1::Frame, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.rests > 0 {
            self.rests -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            let Some(frame) = ready!(self.frames.poll_next_unpin(cx)?) else {
                return Poll::Ready(None);
            };
            if let Some(kind) = frame.kind.and_then(answer) {
                self.rests = 2;
                return Poll::Ready(Some(Ok(v1::Frame { kind: Some(kind) })));
            }
        }
    }
}
