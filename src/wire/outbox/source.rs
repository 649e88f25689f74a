//! The writing side of an outbox: a stream of frames for gRPC, or a loop that writes to a socket.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use futures_core::Stream;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::line::Lane;
use super::tally::WriteTally;
use super::{OutboxShared, OutboxState, WRITE_BYTES};
use crate::coverage::{Site, reached};
use crate::env::{Clock, timeout};
use crate::wire::frame::encode_frame;
use crate::wire::v1;

/// A write that takes longer meets a peer, or a way there, that is slow.
const SLOW_WRITE: Duration = Duration::from_millis(50);

/// How much is gathered for the write after a slow one.
const SLOW_WRITE_BYTES: usize = 4 << 10;

/// Why the writer gave up. Frames it had taken may have arrived; see [`super::FrameSender::fate`].
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The connection failed.
    #[error("the connection failed while writing: {0}")]
    Io(#[from] std::io::Error),
    /// The peer took no byte for too long.
    #[error("the peer took no byte for {after:?}")]
    Stalled {
        /// The deadline that passed.
        after: Duration,
    },
}

/// The writing side of an outbox. Dropping it closes the outbox: what waits is never sent.
///
/// As a [`Stream`] it yields one frame after the other, each counted as taken when it is yielded, and
/// ends when the outbox is closed and empty.
pub struct FrameSource {
    shared: Arc<OutboxShared>,
}

impl FrameSource {
    pub(super) fn new(shared: Arc<OutboxShared>) -> Self {
        Self { shared }
    }

    /// Writes frames to `stream` until the outbox is closed and empty, then ends the stream.
    ///
    /// Everything that waits goes into one write and one flush. Not cancel safe, in that dropping it
    /// may cut a frame in half: it drops the source too, and the connection must be closed.
    ///
    /// # Errors
    /// [`WriteError`] when the connection fails or takes no byte within the write deadline.
    pub async fn write_to<W>(self, mut stream: W, clock: &dyn Clock) -> Result<(), WriteError>
    where
        W: AsyncWrite + Unpin,
    {
        let limit = self.shared.state().limits.write_deadline;
        let stalled = |_| {
            reached!(Site::WriterStalled);
            WriteError::Stalled { after: limit }
        };
        let tally = WriteTally(Arc::clone(&self.shared));
        let mut batch = BytesMut::new();
        let mut gather = usize::MAX;
        while std::future::poll_fn(|cx| self.poll_batch(cx, &mut batch, gather)).await {
            let began = clock.now();
            let mut rest = &batch[..];
            while !rest.is_empty() {
                let count = timeout(clock, limit, stream.write(rest))
                    .await
                    .map_err(stalled)??;
                if count == 0 {
                    return Err(WriteError::Io(std::io::ErrorKind::WriteZero.into()));
                }
                rest = &rest[count..];
                tally.wrote(count, clock.now());
            }
            timeout(clock, limit, stream.flush())
                .await
                .map_err(stalled)??;
            // What is gathered can't be overtaken any more: with a peer that is slow to take it, that is little.
            gather = match clock.now().saturating_since(began) > SLOW_WRITE {
                true => SLOW_WRITE_BYTES,
                false => usize::MAX,
            };
            if batch.capacity() > 2 * WRITE_BYTES {
                // One huge frame must not pin its memory for the life of the link.
                batch = BytesMut::new();
            } else {
                batch.clear();
            }
        }
        timeout(clock, limit, stream.shutdown())
            .await
            .map_err(stalled)??;
        Ok(())
    }

    /// Ready with `true` and encoded frames in `batch`, or with `false` at the end.
    fn poll_batch(&self, cx: &Context<'_>, batch: &mut BytesMut, gather: usize) -> Poll<bool> {
        let taken = {
            let mut state = self.shared.state();
            let mut taken = false;
            let most = state.limits.write_bytes.min(gather);
            while batch.len() < most
                && let Some(frame) = state.pop()
            {
                encode_frame(&frame, batch);
                taken = true;
            }
            if !taken {
                return state.poll_empty(cx).map(|()| false);
            }
            taken
        };
        self.shared.room.notify_waiters();
        Poll::Ready(taken)
    }
}

impl OutboxState {
    fn pop(&mut self) -> Option<v1::Frame> {
        for lane in Lane::ALL {
            if let Some(queued) = self.lines[lane as usize].pop(self.passage.taken) {
                self.passage.taken = self.passage.taken.saturating_add(queued.bytes as u64);
                self.unqueued(lane, queued.bytes);
                return Some(queued.frame);
            }
        }
        None
    }

    /// Ready when nothing can come any more.
    fn poll_empty(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.senders_closed {
            return Poll::Ready(());
        }
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Stream for FrameSource {
    type Item = v1::Frame;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<v1::Frame>> {
        let frame = {
            let mut state = self.shared.state();
            match state.pop() {
                Some(frame) => frame,
                None => return state.poll_empty(cx).map(|()| None),
            }
        };
        self.shared.room.notify_waiters();
        Poll::Ready(Some(frame))
    }
}

impl Drop for FrameSource {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.shared.state();
            state.waker = None;
            state.end()
        };
        drop(waiting);
        self.shared.room.notify_waiters();
    }
}

impl std::fmt::Debug for FrameSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameSource").finish_non_exhaustive()
    }
}
