//! The gRPC side of a link: one duplex stream through tonic over the transport seam.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_util::FutureExt;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status, Streaming};
use tower::util::MapResponse;

use super::driver::LinkEnd;
use super::tallied::TalliedStream;
use crate::bridge::limits::GRPC_WINDOW_BYTES;
use crate::env::{Address, Env};
use crate::said::said;
use crate::wire::v1::{self, endpoint_client::EndpointClient};
use crate::wire::{
    BODY_BYTES_MAX, FrameSource, ReceivedCount, WriteTally, count_response, frame_bytes_for,
};

/// Names the far side in HTTP/2 requests. Where to connect is the connector's business.
const AUTHORITY: &str = "http://endpoint.leasebridge";

/// A client whose responses count what arrives of them.
pub(super) type CountedClient =
    EndpointClient<MapResponse<Channel, fn(http::Response<Body>) -> http::Response<Body>>>;

/// A client over a fresh connection to `address`; `tally` is told what the connection takes. Waits as long as the
/// network pleases.
pub(super) async fn dial(
    env: &Env,
    address: &Address,
    tally: WriteTally,
) -> Result<CountedClient, tonic::transport::Error> {
    let transport = Arc::clone(&env.transport);
    let clock = Arc::clone(&env.clock);
    let address = address.clone();
    let connector = tower::service_fn(move |_: Uri| {
        let transport = Arc::clone(&transport);
        let address = address.clone();
        let (tally, clock) = (tally.clone(), Arc::clone(&clock));
        async move {
            let stream = transport.connect(&address).await?;
            let stream = TalliedStream::new(stream, tally, clock);
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    let channel = Endpoint::from_static(AUTHORITY)
        .initial_stream_window_size(GRPC_WINDOW_BYTES)
        .initial_connection_window_size(GRPC_WINDOW_BYTES)
        .connect_with_connector(connector)
        .await?;
    let counted = MapResponse::new(channel, count_response as fn(_) -> _);
    // The outbox checks what is sent against the endpoint's own limit.
    let most = usize::try_from(frame_bytes_for(BODY_BYTES_MAX)).unwrap_or(usize::MAX);
    Ok(EndpointClient::new(counted).max_encoding_message_size(most))
}

/// The frames that arrive, and the client that keeps their connection.
pub(super) struct GrpcFrames {
    frames: Streaming<v1::Frame>,
    /// The end, when it was seen while looking for more.
    ended: Option<Option<LinkEnd>>,
    count: ReceivedCount,
    _client: CountedClient,
}

impl GrpcFrames {
    pub(super) fn new(
        frames: Streaming<v1::Frame>,
        count: ReceivedCount,
        client: CountedClient,
    ) -> Self {
        Self {
            frames,
            count,
            ended: None,
            _client: client,
        }
    }

    pub(super) fn count(&self) -> &ReceivedCount {
        &self.count
    }

    /// The next frame; `None` at a clean end. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<v1::Frame>, LinkEnd> {
        if let Some(end) = &self.ended {
            return end.clone().map_or(Ok(None), Err);
        }
        self.frames.message().await.map_err(|status| died(&status))
    }

    /// The next frame if it has already arrived.
    pub(super) fn next_buffered(&mut self) -> Result<Option<v1::Frame>, LinkEnd> {
        if self.ended.is_some() {
            return Ok(None);
        }
        // The real waker is registered by the next call of `next`, which always follows.
        match self.frames.message().now_or_never() {
            None => Ok(None),
            Some(Ok(Some(frame))) => Ok(Some(frame)),
            Some(Ok(None)) => {
                self.ended = Some(None);
                Ok(None)
            }
            Some(Err(status)) => {
                self.ended = Some(Some(died(&status)));
                Ok(None)
            }
        }
    }
}

/// What a status says about the link.
pub(super) fn died(status: &Status) -> LinkEnd {
    let text = format!("gRPC {:?}: {}", status.code(), status.message());
    let text = said(&text);
    match status.code() {
        // tonic's own words for a frame over our limit.
        Code::OutOfRange => LinkEnd::Violation(text),
        Code::Unauthenticated | Code::PermissionDenied => LinkEnd::ClosedByEndpoint(text),
        _ => LinkEnd::Connection(text),
    }
}

/// Frames on their way into tonic, which owns its end and may outlive the link: taking the source out
/// of here is the moment after which nothing leaves any more.
struct Outlet {
    source: Mutex<Option<FrameSource>>,
    /// tonic has let go of the stream.
    gone: CancellationToken,
}

/// The end that tonic polls.
pub(super) struct OutletStream(Arc<Outlet>);

/// The end that the link keeps. Dropping it cuts the stream off.
pub(super) struct OutletGuard(Arc<Outlet>);

/// Splits `source` into the stream for tonic and the guard for the link.
pub(super) fn outlet(source: FrameSource) -> (OutletStream, OutletGuard) {
    let outlet = Arc::new(Outlet {
        source: Mutex::new(Some(source)),
        gone: CancellationToken::new(),
    });
    (OutletStream(Arc::clone(&outlet)), OutletGuard(outlet))
}

impl OutletGuard {
    /// Waits until tonic has taken everything or let go of the stream. Cancel safe.
    pub(super) async fn finished(&self) {
        self.0.gone.cancelled().await;
    }
}

impl Drop for OutletGuard {
    fn drop(&mut self) {
        let source = self.0.source.lock();
        source.unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Stream for OutletStream {
    type Item = v1::Frame;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<v1::Frame>> {
        let mut source = self.0.source.lock().unwrap_or_else(PoisonError::into_inner);
        match source.as_mut() {
            Some(source) => Pin::new(source).poll_next(cx),
            None => Poll::Ready(None),
        }
    }
}

impl Drop for OutletStream {
    fn drop(&mut self) {
        self.0.gone.cancel();
    }
}
