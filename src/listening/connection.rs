//! An accepted connection as tonic's servers and the framed sockets want it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

use super::places::{End, Guest, HeldPlace, Place, Places};
use crate::env::{BoxStream, Clock};

/// An accepted connection. It fails when it has to make room for others.
pub struct AcceptedConnection {
    stream: BoxStream,
    visitor: Visitor,
}

/// Who is at the far end of a connection, and the place that it holds for as long as anybody knows it.
#[derive(Clone)]
pub struct Visitor(Arc<VisitorShared>);

struct VisitorShared {
    peer: String,
    held: HeldPlace,
    clock: Arc<dyn Clock>,
}

impl AcceptedConnection {
    pub(super) fn new(
        stream: BoxStream,
        peer: String,
        held: HeldPlace,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let visitor = Visitor(Arc::new(VisitorShared { peer, held, clock }));
        Self { stream, visitor }
    }

    /// Who is at the far end.
    pub fn visitor(&self) -> &Visitor {
        &self.visitor
    }

    /// What `polled` said, unless the connection has to make room for others: then it fails, and whoever waits is woken.
    fn unless_given_up<T>(
        &self,
        context: &Context<'_>,
        end: End,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_pending() && self.visitor.place().poll_given_up(end, context) {
            let why = "given up: it did nothing, and its place was needed";
            let error = io::Error::new(io::ErrorKind::ConnectionAborted, why);
            return Poll::Ready(Err(error));
        }
        polled
    }
}

impl Visitor {
    /// Its name, for logs.
    pub fn peer(&self) -> &str {
        &self.0.peer
    }

    /// It has said something, though nothing was accepted yet.
    #[cfg(feature = "receiver")]
    pub(crate) fn touch(&self) {
        self.place().touch(self.clock().now());
    }

    /// It asks for something that lasts as long as the connection.
    #[cfg(feature = "receiver")]
    pub(crate) fn begin_request(&self) {
        self.place().begin_request(self.clock().now());
    }

    /// Something that it asked for was accepted: it is a stranger no longer.
    pub(crate) fn accept(&self, kind: Guest) {
        self.place().accept(kind);
    }

    pub(super) fn place(&self) -> &Place {
        &self.0.held.place
    }

    pub(super) fn places(&self) -> &Arc<Places> {
        self.0.held.places()
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.0.clock
    }
}

impl std::fmt::Debug for Visitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Visitor").field(&self.peer()).finish()
    }
}

impl Connected for AcceptedConnection {
    type ConnectInfo = Visitor;

    fn connect_info(&self) -> Visitor {
        self.visitor.clone()
    }
}

impl AsyncRead for AcceptedConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        ready!(self.unless_given_up(context, End::Reading, read))?;
        let read = buffer.filled().len().saturating_sub(before);
        self.visitor.place().heard(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for AcceptedConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, data);
        let written = ready!(self.unless_given_up(context, End::Writing, written))?;
        self.visitor.place().written(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        ready!(self.unless_given_up(context, End::Writing, flushed))?;
        self.visitor.place().flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.unless_given_up(context, End::Writing, shut)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        let written = ready!(self.unless_given_up(context, End::Writing, written))?;
        self.visitor.place().written(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
