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

/// Names the far side of a Unix socket in HTTP/2 requests, as others do.
const LOCAL_AUTHORITY: &str = "localhost";

/// A client whose responses count what arrives of them.
pub(super) type CountedClient =
    EndpointClient<MapResponse<Channel, fn(http::Response<Body>) -> http::Response<Body>>>;

/// What requests say whom they are for: by this, what stands between tells one endpoint from another. Where to connect
/// is the connector's business.
fn uri_of(address: &Address) -> Uri {
    let named = match address {
        Address::Tcp { .. } => address.to_string(),
        Address::Unix(_) => LOCAL_AUTHORITY.to_owned(),
    };
    let uri = |authority: &str| {
        let uri = Uri::builder().scheme("http").authority(authority);
        uri.path_and_query("/").build()
    };
    // A name that no URI can have is no host's either: the connection fails, and says so.
    let uri = uri(&named).or_else(|_| uri(LOCAL_AUTHORITY));
    uri.expect("a good authority")
}

/// A client over a fresh connection to `address`; `tally` is told what the connection takes, and `goes` when the far
/// side takes no new streams. Waits as long as the network pleases.
pub(super) async fn dial(
    env: &Env,
    address: &Address,
    tally: WriteTally,
    goes: CancellationToken,
) -> Result<CountedClient, tonic::transport::Error> {
    let uri = uri_of(address);
    let transport = Arc::clone(&env.transport);
    let clock = Arc::clone(&env.clock);
    let address = address.clone();
    let connector = tower::service_fn(move |_: Uri| {
        let transport = Arc::clone(&transport);
        let address = address.clone();
        let (tally, clock, goes) = (tally.clone(), Arc::clone(&clock), goes.clone());
        async move {
            let stream = transport.connect(&address).await?;
            let stream = TalliedStream::new(stream, tally, clock, goes);
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    let channel = Endpoint::from(uri)
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

#[cfg(all(test, feature = "receiver"))]
mod tests {
    use std::convert::Infallible;
    use std::future::{Ready, ready};
    use std::time::Duration;

    use futures_util::StreamExt;
    use tokio::sync::mpsc;
    use tonic::transport::Server;
    use tonic::transport::server::TcpIncoming;

    use super::*;
    use crate::wire::{OutboxLimits, outbox};

    /// A server that tells for whom each request is, and implements nothing.
    #[derive(Clone)]
    struct Witness(mpsc::UnboundedSender<String>);

    impl tower::Service<http::Request<Body>> for Witness {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: http::Request<Body>) -> Self::Future {
            let authority = request.uri().authority().map(ToString::to_string);
            self.0
                .send(authority.unwrap_or_default())
                .expect("the test listens");
            ready(Ok(Status::unimplemented("a witness").into_http()))
        }
    }

    #[tokio::test]
    async fn requests_are_for_the_endpoint_as_it_is_configured() {
        let (told, mut authorities) = mpsc::unbounded_channel();
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().expect("an address"));
        let incoming = incoming.expect("a free port");
        let port = incoming.local_addr().expect("it is bound").port();
        tokio::spawn(Server::builder().serve_with_incoming(Witness(told), incoming));
        let env = Env::real();
        for host in ["localhost", "127.0.0.1"] {
            let address = Address::tcp(host, port);
            let (sender, source) = outbox(OutboxLimits::for_peer(8192, Duration::from_secs(5)));
            let dialled = dial(&env, &address, sender.tally(), CancellationToken::new()).await;
            let frames = source.map(|frame| frame);
            let refused = dialled.expect("it listens").execute_command(frames).await;
            assert_eq!(refused.expect_err("a witness").code(), Code::Unimplemented);
            assert_eq!(authorities.recv().await, Some(format!("{host}:{port}")));
        }
        let six = Address::tcp("::1", 7421);
        assert_eq!(
            uri_of(&six).authority().map(ToString::to_string),
            Some("[::1]:7421".into())
        );
        assert_eq!(uri_of(&Address::Unix("/run/e".into())), "http://localhost/");
    }
}
