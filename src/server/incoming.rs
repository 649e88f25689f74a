//! Connections of our transport as tonic wants them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::server::Connected;

use crate::env::{BoxStream, Env, Listener};

/// Connections at once; further ones wait to be accepted. Each holds a window and a few tasks.
const CONNECTIONS_MAX: usize = 1_024;

/// The pause after a failed accept: it fails for want of file descriptors, which take time to come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The connections that arrive at `listener`, at most `CONNECTIONS_MAX` at once.
///
/// Never ends and never fails: an accept that fails is logged and tried again.
pub fn incoming(
    env: &Env,
    listener: Box<dyn Listener>,
) -> impl Stream<Item = io::Result<Connection>> + Send + use<> {
    let clock = Arc::clone(&env.clock);
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    futures_util::stream::unfold(listener, move |mut listener| {
        let clock = Arc::clone(&clock);
        let permits = Arc::clone(&permits);
        async move {
            let permit = permits.acquire_owned().await.ok()?;
            loop {
                match listener.accept().await {
                    Ok((stream, peer)) => {
                        let connection = Connection {
                            stream,
                            peer,
                            _permit: permit,
                        };
                        return Some((Ok(connection), listener));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        clock.sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
    })
}

/// One accepted connection.
pub struct Connection {
    stream: BoxStream,
    peer: String,
    _permit: OwnedSemaphorePermit,
}

/// Who is at the far end, for logs.
#[derive(Clone, Debug)]
pub struct Peer(pub String);

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer(self.peer.clone())
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
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
