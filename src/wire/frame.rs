//! Frames on a byte stream: a four-byte big-endian length, then that many bytes of one
//! [`v1::Frame`].
//!
//! A length is a claim of the peer: it is checked against the limit first, and memory grows only as
//! bytes arrive. [`FrameDecoder`] is the codec without I/O, [`FrameReader`] the loop around it.

use std::io;

use bytes::{Buf, BufMut, BytesMut};
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::arrival::ReceivedCount;
use super::limits::LENGTH_BYTES;
use super::v1;
use super::weigh::{FRAME, TooManyItems, weigh};
use crate::coverage::{Site, reached};
use crate::env::{Point, Points};

/// How much the buffer grows when it has no room left. One system call fetches up to this much.
const READ_BYTES: usize = 32 << 10;

/// With less room than this the buffer grows before a read, to save tiny reads.
const READ_ROOM_BYTES_MIN: usize = 4 << 10;

/// What a small read fetches: an odd number, so that frames are cut everywhere.
const SMALL_READ_BYTES: u64 = 7;

/// Why no further frame can be had. Everything but [`FrameError::Io`] is the peer's fault.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame, {buffered} bytes after its start")]
    Truncated {
        /// Bytes of the broken frame that had arrived, its length included.
        buffered: usize,
    },
    /// A frame of no bytes says nothing.
    #[error("a frame of zero bytes")]
    ZeroLength,
    /// The announced length is over the limit. Nothing of the frame was read.
    #[error("a frame of {bytes} bytes, over the limit of {limit}")]
    TooLong {
        /// The announced length in bytes.
        bytes: u32,
        /// The largest accepted length in bytes.
        limit: u32,
    },
    /// The bytes are no frame.
    #[error("the bytes of a frame don't decode: {0}")]
    Undecodable(#[from] prost::DecodeError),
    /// A frame of an unknown kind, or of none.
    #[error("a frame of an unknown kind")]
    UnknownKind,
    /// A frame whose lists are longer than anything honest.
    #[error("a frame with {0}")]
    TooManyItems(String),
}

impl From<TooManyItems> for FrameError {
    fn from(error: TooManyItems) -> Self {
        Self::TooManyItems(error.to_string())
    }
}

impl FrameError {
    /// Whether the peer broke the protocol (as opposed to a connection that failed or ended).
    pub fn is_violation(&self) -> bool {
        !matches!(self, Self::Io(_) | Self::Truncated { .. })
    }

    /// One word for metrics and counters.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Io(_) => "io",
            Self::Truncated { .. } => "truncated",
            Self::ZeroLength => "zero_length",
            Self::TooLong { .. } => "too_long",
            Self::Undecodable(_) => "undecodable",
            Self::UnknownKind => "unknown_kind",
            Self::TooManyItems(_) => "too_many_items",
        }
    }
}

/// Takes the kind out of a frame.
///
/// # Errors
/// [`FrameError::UnknownKind`] if there is none, or none that this version knows.
pub fn check_frame(frame: v1::Frame) -> Result<v1::frame::Kind, FrameError> {
    frame.kind.ok_or(FrameError::UnknownKind)
}

/// The word for a frame's kind, for logs and counters.
pub fn kind_name(kind: &v1::frame::Kind) -> &'static str {
    use v1::frame::Kind;
    match kind {
        Kind::Hello(_) => "hello",
        Kind::Command(_) => "command",
        Kind::Working(_) => "working",
        Kind::Reply(_) => "reply",
        Kind::Heartbeat(_) => "heartbeat",
        Kind::HeartbeatAck(_) => "heartbeat_ack",
        Kind::Rollback(_) => "rollback",
        Kind::RollbackReply(_) => "rollback_reply",
        Kind::Settled(_) => "settled",
        Kind::Drain(_) => "drain",
        Kind::Close(_) => "close",
    }
}

/// Appends `frame` to `out` as it goes over the socket. Limits are for the caller to check.
pub fn encode_frame(frame: &v1::Frame, out: &mut BytesMut) {
    let bytes = frame.encoded_len();
    out.reserve(bytes.saturating_add(LENGTH_BYTES));
    out.put_u32(u32::try_from(bytes).expect("a frame is far smaller than 4 GiB"));
    frame.encode_raw(out);
}

/// The codec's reading half without I/O: bytes in, frames out.
#[derive(Debug)]
pub struct FrameDecoder {
    buffer: BytesMut,
    frame_bytes_max: u32,
}

impl FrameDecoder {
    /// A decoder that refuses frames over `frame_bytes_max` bytes.
    pub fn new(frame_bytes_max: u32) -> Self {
        Self {
            buffer: BytesMut::new(),
            frame_bytes_max,
        }
    }

    /// Changes the limit for the frames not yet taken, as after a `Hello`.
    pub fn set_frame_bytes_max(&mut self, frame_bytes_max: u32) {
        self.frame_bytes_max = frame_bytes_max;
    }

    /// Adds bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes the next complete frame, if there is one. Bodies share the memory they arrived in.
    ///
    /// # Errors
    /// A [`FrameError`] that is the peer's fault; the stream is of no further use.
    pub fn take(&mut self) -> Result<Option<v1::frame::Kind>, FrameError> {
        let Some(head) = self.buffer.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let bytes = u32::from_be_bytes(*head);
        if bytes == 0 {
            reached!(Site::FrameEmpty);
            return Err(FrameError::ZeroLength);
        }
        if bytes > self.frame_bytes_max {
            reached!(Site::FrameTooLong);
            return Err(FrameError::TooLong {
                bytes,
                limit: self.frame_bytes_max,
            });
        }
        let bytes = usize::try_from(bytes).expect("usize holds a u32 here");
        if self.buffer.len().saturating_sub(LENGTH_BYTES) < bytes {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        let message = self.buffer.split_to(bytes).freeze();
        weigh(&message, FRAME)?;
        let frame = v1::Frame::decode(message);
        let frame = frame.inspect_err(|_| reached!(Site::FrameUndecodable))?;
        check_frame(frame).map(Some)
    }

    /// Bytes that arrived and belong to no complete frame taken yet.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// What the end of the stream means here.
    ///
    /// # Errors
    /// [`FrameError::Truncated`] unless it ended between frames.
    pub fn finish(&self) -> Result<(), FrameError> {
        match self.buffer.len() {
            0 => Ok(()),
            buffered => {
                reached!(Site::FrameTruncated);
                Err(FrameError::Truncated { buffered })
            }
        }
    }
}

/// Reads frames from a byte stream.
#[derive(Debug)]
pub struct FrameReader<R> {
    stream: R,
    decoder: FrameDecoder,
    /// How much one read fetches at most.
    read_bytes_max: u64,
    count: ReceivedCount,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// A reader over `stream` that refuses frames over `frame_bytes_max` bytes.
    pub fn new(stream: R, frame_bytes_max: u32) -> Self {
        Self {
            stream,
            decoder: FrameDecoder::new(frame_bytes_max),
            read_bytes_max: u64::MAX,
            count: ReceivedCount::default(),
        }
    }

    /// The same, or one that reads a few bytes at a time, if that point fires.
    #[must_use]
    pub fn at(self, points: &dyn Points) -> Self {
        if !points.fires(Point::SmallReads) {
            return self;
        }
        Self {
            read_bytes_max: SMALL_READ_BYTES,
            ..self
        }
    }

    /// Changes the limit for the frames not yet taken, as after a `Hello`.
    pub fn set_frame_bytes_max(&mut self, frame_bytes_max: u32) {
        self.decoder.set_frame_bytes_max(frame_bytes_max);
    }

    /// Counts what arrives, also in the middle of a frame.
    pub fn count(&self) -> &ReceivedCount {
        &self.count
    }

    /// The stream itself, past whatever frames are buffered.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.stream
    }

    /// The next frame if all of it has already arrived; never waits.
    ///
    /// # Errors
    /// As [`FrameReader::next`], except for those of the connection.
    pub fn next_buffered(&mut self) -> Result<Option<v1::frame::Kind>, FrameError> {
        self.decoder.take()
    }

    /// The next frame; `None` once the peer ended the stream between frames. (Such an end may be a
    /// crash as well as a goodbye.)
    ///
    /// Cancel safe: bytes that arrived stay in the reader. Waits for as long as the peer pleases:
    /// give it a deadline.
    ///
    /// # Errors
    /// A [`FrameError`]; the stream is of no further use then.
    pub async fn next(&mut self) -> Result<Option<v1::frame::Kind>, FrameError> {
        loop {
            if let Some(kind) = self.decoder.take()? {
                return Ok(Some(kind));
            }
            let buffer = &mut self.decoder.buffer;
            if buffer.capacity().saturating_sub(buffer.len()) < READ_ROOM_BYTES_MIN {
                buffer.reserve(READ_BYTES);
            }
            let mut stream = (&mut self.stream).take(self.read_bytes_max);
            let read = stream.read_buf(buffer).await?;
            self.count.add(read);
            if read == 0 {
                self.decoder.finish()?;
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests;
