//! The same frames over gRPC: tonic serves connections of our transport, and each `ExecuteCommand` is
//! one link.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::StreamExt;
use http::HeaderValue;
use http::header::DATE;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};
use tower::util::MapResponse;

use super::listen::Accept;
use crate::env::{BoxStream, Listener};
use crate::receiver::engine::{Engine, Phase};
use crate::receiver::link::{self, Input};
use crate::wire::v1::endpoint_server::{Endpoint, EndpointServer};
use crate::wire::{FrameSource, HELLO_BYTES_MAX, OutboxLimits, frame_bytes_for, outbox, v1};

/// Links per connection: a bridge needs one per route.
const STREAMS_MAX: u32 = 64;

/// hyper would add the wall clock's time to each response; nobody reads it, and it would be the one
/// thing in a simulated run that differs from the last.
const FIXED_DATE: HeaderValue = HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT");

/// Serves gRPC until the receiver drains and the connections have ended.
pub(super) async fn serve(accept: Accept, listener: Box<dyn Listener>) {
    let engine = Arc::clone(&accept.engine);
    let options = &engine.options;
    let frame_bytes_max = frame_bytes_for(options.body_bytes_max) as usize;
    let service = EndpointServer::new(Service(Arc::clone(&engine)))
        .max_decoding_message_size(frame_bytes_max)
        // What the bridge accepts is checked by the outbox, by what the bridge said.
        .max_encoding_message_size(usize::MAX);
    let service = MapResponse::new(
        service,
        |mut response: http::Response<tonic::body::Body>| {
            response.headers_mut().insert(DATE, FIXED_DATE);
            response
        },
    );
    let incoming = futures_util::stream::unfold((accept, listener), |(accept, mut listener)| {
        Box::pin(async move {
            let connection = accept.next(&mut *listener).await?;
            let stream = GrpcStream {
                stream: connection.stream,
                peer: connection.peer,
                _permit: connection.permit,
            };
            Some((Ok::<_, io::Error>(stream), (accept, listener)))
        })
    });
    let mut phase = engine.phase.subscribe();
    let drained = async move {
        // An error means that the engine is gone, which ends it as well.
        let _ = phase.wait_for(|phase| *phase >= Phase::Draining).await;
    };
    let served = tonic::transport::Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(options.heartbeat))
        .http2_keepalive_timeout(Some(options.heartbeat * options.heartbeat_misses))
        .serve_with_incoming_shutdown(service, incoming, drained)
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the gRPC server failed");
    }
}

struct Service(Arc<Engine>);

/// Who is at the far end, for logs.
#[derive(Clone)]
struct Peer(String);

#[tonic::async_trait]
impl Endpoint for Service {
    type ExecuteCommandStream =
        futures_util::stream::Map<FrameSource, fn(v1::Frame) -> Result<v1::Frame, Status>>;

    async fn execute_command(
        &self,
        request: Request<Streaming<v1::Frame>>,
    ) -> Result<Response<Self::ExecuteCommandStream>, Status> {
        let engine = Arc::clone(&self.0);
        if *engine.phase.borrow() != Phase::Running {
            return Err(Status::unavailable("the receiver shuts down"));
        }
        let peer = match request.extensions().get::<Peer>() {
            Some(Peer(peer)) => format!("grpc {peer}"),
            None => "grpc".to_owned(),
        };
        let limits = OutboxLimits::for_peer(HELLO_BYTES_MAX, engine.options.write_deadline);
        let limits = limits.at(&*engine.env.points);
        let (sender, source) = outbox(limits);
        let input = Input::Grpc(request.into_inner());
        tokio::spawn(async move { link::serve(&engine, input, sender, &peer).await });
        Ok(Response::new(source.map(Ok)))
    }
}

/// A connection as tonic wants it.
struct GrpcStream {
    stream: BoxStream,
    peer: String,
    _permit: OwnedSemaphorePermit,
}

impl Connected for GrpcStream {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer(self.peer.clone())
    }
}

impl AsyncRead for GrpcStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for GrpcStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
