//! The same frames over gRPC: tonic serves connections of our transport, and each `ExecuteCommand` is
//! one link.

use std::io;
use std::sync::Arc;

use futures_util::StreamExt;
use tonic::{Request, Response, Status, Streaming};
use tower::util::MapResponse;

use super::listen::Accept;
use crate::env::Listener;
use crate::receiver::engine::{Engine, Phase};
use crate::receiver::link::{self, Input};
use crate::wire::v1::endpoint_server::{Endpoint, EndpointServer};
use crate::wire::with_fixed_date;
use crate::wire::{
    AcceptedConnection, FrameSource, HELLO_BYTES_MAX, OutboxLimits, Peer, frame_bytes_for, outbox,
    v1,
};

/// Links per connection: a bridge needs one per route.
const STREAMS_MAX: u32 = 64;

/// Serves gRPC until the receiver drains and the connections have ended.
pub(super) async fn serve(accept: Accept, listener: Box<dyn Listener>) {
    let engine = Arc::clone(&accept.engine);
    let options = &engine.options;
    let frame_bytes_max = frame_bytes_for(options.body_bytes_max) as usize;
    let service = EndpointServer::new(Service(Arc::clone(&engine)))
        .max_decoding_message_size(frame_bytes_max)
        // What the bridge accepts is checked by the outbox, by what the bridge said.
        .max_encoding_message_size(usize::MAX);
    let service = MapResponse::new(service, with_fixed_date);
    let incoming = futures_util::stream::unfold((accept, listener), |(accept, mut listener)| {
        Box::pin(async move {
            let connection = accept.next(&mut *listener).await?;
            let accepted =
                AcceptedConnection::new(connection.stream, connection.peer, connection.permit);
            Some((Ok::<_, io::Error>(accepted), (accept, listener)))
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
        .http2_keepalive_timeout(Some(
            options.heartbeat.saturating_mul(options.heartbeat_misses),
        ))
        .serve_with_incoming_shutdown(service, incoming, drained)
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the gRPC server failed");
    }
}

struct Service(Arc<Engine>);

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
