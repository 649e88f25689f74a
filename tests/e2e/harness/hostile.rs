//! Peers that take and don't give: connections that say nothing, requests that never end, answers that nobody reads.

use std::convert::Infallible;
use std::net::{Ipv4Addr, TcpStream};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower::{Service, ServiceExt};

/// What the clients of this module have as windows: all that a server may send or be sent at once.
const WINDOW_BYTES: u32 = 1 << 30;

/// Bytes of one piece of a body.
const PIECE_BYTES: usize = 64 << 10;

/// Lets this process, and those it starts, have as many open files as the system allows it.
pub(crate) fn many_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("up to the hard limit");
}

/// Connections to a port of this machine that say nothing.
pub(crate) fn silent(port: u16, count: usize) -> Vec<TcpStream> {
    let connect = |_| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("somebody listens");
    (0..count).map(connect).collect()
}

/// An HTTP/2 connection of its own.
pub(crate) async fn connect(port: u16) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).expect("an address");
    let endpoint = endpoint
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    endpoint.connect().await.expect("somebody listens")
}

/// A gRPC request whose body says that it is one message of `claimed` bytes, brings `content`, and ends after it if
/// `ends`; otherwise it never does.
pub(crate) fn request(path: &str, claimed: usize, content: Bytes, ends: bool) -> Request<Body> {
    let mut left = BytesMut::with_capacity(content.len() + 5);
    left.put_u8(0);
    left.put_u32(u32::try_from(claimed).expect("a length"));
    left.extend_from_slice(&content);
    let left = left.freeze();
    Request::post(format!("http://127.0.0.1{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(Pieces { left, ends }))
        .expect("a request")
}

/// Sends a request and waits for the head of its answer.
pub(crate) async fn send(
    channel: &mut Channel,
    request: Request<Body>,
) -> Result<Response<Body>, tonic::transport::Error> {
    channel.ready().await?.call(request).await
}

/// Sends each request over a connection of its own; they are under way for as long as the result lives.
pub(crate) fn each_alone(port: u16, requests: Vec<Request<Body>>) -> JoinSet<Option<u16>> {
    let mut sent = JoinSet::new();
    for request in requests {
        sent.spawn(async move {
            let mut channel = connect(port).await;
            let answered = send(&mut channel, request).await.ok()?;
            let status = answered.headers().get("grpc-status")?;
            status.to_str().ok()?.parse().ok()
        });
    }
    sent
}

/// Reads an answer to its end, however it ends.
pub(crate) async fn read(mut answer: Body) {
    while let Some(Ok(_)) =
        std::future::poll_fn(|context| Pin::new(&mut answer).poll_frame(context)).await
    {}
}

struct Pieces {
    left: Bytes,
    ends: bool,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match (self.left.len(), self.ends) {
            (0, true) => Poll::Ready(None),
            // Whoever waits for the rest waits for ever.
            (0, false) => Poll::Pending,
            (left, _) => {
                let piece = self.left.split_to(left.min(PIECE_BYTES));
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
        }
    }
}
