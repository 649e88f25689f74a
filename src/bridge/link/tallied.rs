//! A connection under gRPC that tells its link's outbox what it has taken.
//!
//! HTTP/2 takes frames long before it sends them, so that *taken* says nothing there. Its own bytes, some hundred at
//! the start and nine in each frame of its own, are counted as well: what has left is known to within those.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::env::{BoxStream, Clock};
use crate::wire::WriteTally;

/// See the module's description.
pub(super) struct TalliedStream {
    stream: BoxStream,
    tally: WriteTally,
    clock: Arc<dyn Clock>,
}

impl TalliedStream {
    pub(super) fn new(stream: BoxStream, tally: WriteTally, clock: Arc<dyn Clock>) -> Self {
        Self {
            stream,
            tally,
            clock,
        }
    }

    fn wrote(&self, written: io::Result<usize>) -> Poll<io::Result<usize>> {
        if let Ok(bytes) = &written {
            self.tally.wrote(*bytes, self.clock.now());
        }
        Poll::Ready(written)
    }
}

impl AsyncRead for TalliedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for TalliedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, data));
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices));
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
