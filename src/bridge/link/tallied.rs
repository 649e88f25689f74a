//! A connection under gRPC that tells its link's outbox what it has taken, and the link when the far side goes away.
//!
//! HTTP/2 takes frames long before it sends them, so that *taken* says nothing there. Its own bytes, some hundred at
//! the start and nine in each frame of its own, are counted as well: what has left is known to within those.
//!
//! `GOAWAY` says that the far side takes no new streams and finishes those that are there, as `Drain` does for commands.
//! The link's stream is there, so that nobody else would hear of it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use crate::env::{BoxStream, Clock};
use crate::wire::WriteTally;

/// See the module's description.
pub(super) struct TalliedStream {
    stream: BoxStream,
    tally: WriteTally,
    clock: Arc<dyn Clock>,
    arriving: FrameScan,
    /// Told when the far side goes away.
    goes: CancellationToken,
}

/// How far the frames that arrive were read: their heads alone.
#[derive(Default)]
struct FrameScan {
    head: [u8; FRAME_HEAD_BYTES],
    /// Bytes of the head that are here.
    have: usize,
    /// Bytes of the frame's body that are still to come.
    body_left: usize,
}

/// Each frame of HTTP/2 begins with its length (three bytes), its type, flags (one each) and its stream.
const FRAME_HEAD_BYTES: usize = 9;

/// The type of the frame that says goodbye.
const GOAWAY: u8 = 7;

impl FrameScan {
    /// Whether a `GOAWAY` begins in these bytes.
    fn says_goodbye(&mut self, mut bytes: &[u8]) -> bool {
        let mut found = false;
        while !bytes.is_empty() {
            if self.body_left > 0 {
                let skipped = self.body_left.min(bytes.len());
                self.body_left = self.body_left.saturating_sub(skipped);
                bytes = &bytes[skipped..];
                continue;
            }
            let (more, rest) =
                bytes.split_at(bytes.len().min(FRAME_HEAD_BYTES.saturating_sub(self.have)));
            self.head[self.have..][..more.len()].copy_from_slice(more);
            self.have = self.have.saturating_add(more.len());
            bytes = rest;
            if self.have == FRAME_HEAD_BYTES {
                let [high, middle, low, kind, ..] = self.head;
                self.body_left = u32::from_be_bytes([0, high, middle, low]) as usize;
                self.have = 0;
                found |= kind == GOAWAY;
            }
        }
        found
    }
}

impl TalliedStream {
    /// `goes` is cancelled when the far side goes away.
    pub(super) fn new(
        stream: BoxStream,
        tally: WriteTally,
        clock: Arc<dyn Clock>,
        goes: CancellationToken,
    ) -> Self {
        Self {
            stream,
            tally,
            clock,
            arriving: FrameScan::default(),
            goes,
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
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        if self.arriving.says_goodbye(&buffer.filled()[before..]) {
            self.goes.cancel();
        }
        Poll::Ready(read)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len())
            .expect("it is short")
            .to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, 0, 0, 0, 0, 1];
        frame.extend_from_slice(body);
        frame
    }

    #[test]
    fn a_goodbye_is_found_at_its_frame_however_the_bytes_are_cut() {
        // What looks like one inside of another's body is none.
        let mut bytes = frame(0, &frame(GOAWAY, b"12345678").repeat(40));
        bytes.extend(frame(4, b""));
        let before = bytes.len();
        bytes.extend(frame(GOAWAY, b"12345678"));
        let end = bytes.len();
        bytes.extend(frame(0, b"more"));
        for step in [1, 2, 7, 9, 10, 333, bytes.len()] {
            let mut scan = FrameScan::default();
            let mut read = 0;
            let found: Vec<usize> = bytes
                .chunks(step)
                .filter_map(|chunk| {
                    read += chunk.len();
                    scan.says_goodbye(chunk).then_some(read)
                })
                .collect();
            assert_eq!(found.len(), 1, "{step}");
            let at = found[0];
            assert!(
                at > before && at < end.max(before + 9) + step,
                "{step}: {at}"
            );
        }
    }
}
