//! The same frames over gRPC: tonic serves connections of our transport, and each `ExecuteCommand` is
//! one link.

use std::sync::Arc;

use futures_util::StreamExt;
use tonic::{Request, Response, Status, Streaming};
use tower::util::MapResponse;

use crate::env::Listener;
use crate::listening::{Guest, MessageRule, RequestRule, Rules, Visitor};
use crate::receiver::engine::{Engine, Phase};
use crate::receiver::link::{self, Input};
use crate::wire::dated;
use crate::wire::v1::endpoint_server::{Endpoint, EndpointServer};
use crate::wire::weigh::FRAME;
use crate::wire::{
    FrameSource, HELLO_BYTES_MAX, OutboxLimits, ReceivedCount, frame_bytes_for, outbox, v1,
};

/// Links per connection: a bridge needs one per route.
const STREAMS_MAX: u32 = 64;

/// The path of the one method.
const EXECUTE_COMMAND: &str = "/leasebridge.v1.Endpoint/ExecuteCommand";

/// Serves gRPC until the receiver drains and the connections have ended.
pub(super) async fn serve(engine: Arc<Engine>, listener: Box<dyn Listener>) {
    let options = &engine.options;
    let frame_bytes_max = frame_bytes_for(options.body_bytes_max) as usize;
    let service = EndpointServer::new(Service(Arc::clone(&engine)))
        .max_decoding_message_size(frame_bytes_max)
        // What the bridge accepts is checked by the outbox, by what the bridge said.
        .max_encoding_message_size(usize::MAX);
    let service = MapResponse::new(service, dated(Arc::clone(&engine.env.clock)));
    let mut phase = engine.phase.subscribe();
    let drained = async move {
        // An error means that the engine is gone, which ends it as well.
        let _ = phase.wait_for(|phase| *phase >= Phase::Draining).await;
    };
    let [_, reception] = &engine.receptions;
    let served = reception
        .server(rules(frame_bytes_max))
        .max_concurrent_streams(STREAMS_MAX)
        // A link's own heartbeats say whether its bridge lives. The answer to a ping would wait behind a large command on
        // a slow line, and end a connection that goes on. One whose links have ended gives way to whoever needs its place.
        .http2_keepalive_interval(None)
        .serve_with_incoming_shutdown(service, reception.connections(listener), drained)
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the gRPC server failed");
    }
}

/// A link may say no more than `Hello` before it is known, and its `Hello` makes a guest of it.
fn rules(frame_bytes_max: usize) -> Rules {
    let link = RequestRule {
        guest: Guest::Bridge,
        accepts_by_answer: false,
        is_stream: true,
        messages: MessageRule {
            first_bytes_max: HELLO_BYTES_MAX as usize,
            bytes_max: frame_bytes_max,
            lists: FRAME,
        },
    };
    Arc::new(move |path| (path == EXECUTE_COMMAND).then_some(link))
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
        let visitor = request.extensions().get::<Visitor>();
        let visitor = visitor.expect("every connection has a place").clone();
        let limits = OutboxLimits::for_peer(HELLO_BYTES_MAX, engine.options.write_deadline);
        let limits = limits.over_grpc().at(&*engine.env.points);
        let (sender, source) = outbox(limits);
        let count = request.extensions().get::<ReceivedCount>();
        let count = count.expect("every request is counted").clone();
        let input = Input::Grpc(request.into_inner(), count);
        let link = Arc::clone(&engine);
        tokio::spawn(engine.of_link(async move {
            let peer = format!("grpc {}", visitor.peer());
            link::serve(&link, input, sender, &visitor, &peer).await;
        }));
        Ok(Response::new(source.map(Ok)))
    }
}
