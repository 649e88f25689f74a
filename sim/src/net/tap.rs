//! Where frames begin and end in one direction of a connection, and what is done to whole ones.
//!
//! The tap follows every byte that passes, so that a fault that begins in the middle of a frame can wait for
//! its end. Without a fault that costs a comparison and an addition per frame.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

/// The frame header of HTTP/2: a 24-bit length, a type, flags, a stream.
const HTTP2_HEAD_BYTES: usize = 9;
/// What a client of HTTP/2 says first.
const HTTP2_PREFACE_BYTES: usize = 24;

/// How a direction is cut into frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameFormat {
    /// A four-byte length, then so many bytes.
    Socket,
    /// HTTP/2, for gRPC: a header of nine bytes, in which the length stands.
    Http2,
    /// Unknown: nothing is done to its frames.
    Opaque,
}

impl FrameFormat {
    fn head_bytes(self) -> usize {
        match self {
            Self::Socket => leasebridge::wire::LENGTH_BYTES,
            Self::Http2 => HTTP2_HEAD_BYTES,
            Self::Opaque => usize::MAX,
        }
    }

    /// Bytes behind this complete head.
    fn body_bytes(self, head: &[u8]) -> usize {
        let digits = match self {
            Self::Socket => &head[..4],
            Self::Http2 => &head[..3],
            Self::Opaque => &[],
        };
        digits
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte))
    }
}

/// What becomes of one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FrameAction {
    Forward,
    Drop,
    Twice,
    /// At this time.
    Later(Duration),
    Replace(Bytes),
}

/// One direction. Bytes go in, bytes that may go on come out.
#[derive(Debug)]
pub(crate) struct Tap {
    format: FrameFormat,
    /// Bytes of the current frame that have still to come, its head apart.
    left: usize,
    head: [u8; HTTP2_HEAD_BYTES],
    head_len: usize,
    /// The frame that is held until it is complete.
    partial: BytesMut,
    /// What may go on.
    pub(crate) out: BytesMut,
    /// Frames to be let go at a time, in the order of these times.
    late: VecDeque<(Duration, Bytes)>,
    /// Frames of the simulator's own to be put in between two frames.
    inserted: VecDeque<Bytes>,
}

impl Tap {
    /// A tap at the start of a connection. `preface`: this direction begins with HTTP/2's preface.
    pub(crate) fn new(format: FrameFormat, preface: bool) -> Self {
        Self {
            format,
            left: if preface { HTTP2_PREFACE_BYTES } else { 0 },
            head: [0; HTTP2_HEAD_BYTES],
            head_len: 0,
            partial: BytesMut::new(),
            out: BytesMut::new(),
            late: VecDeque::new(),
            inserted: VecDeque::new(),
        }
    }

    /// Whether nothing is held: bytes may pass beside it, if they are [tracked](Tap::track).
    pub(crate) fn is_plain(&self) -> bool {
        self.partial.is_empty()
            && self.out.is_empty()
            && self.late.is_empty()
            && self.inserted.is_empty()
    }

    /// Follows bytes that passed untouched.
    pub(crate) fn track(&mut self, mut bytes: &[u8]) {
        if self.format == FrameFormat::Opaque {
            return;
        }
        while !bytes.is_empty() {
            bytes = &bytes[self.track_one(bytes)..];
        }
    }

    /// Follows bytes to the end of the current frame at most. Returns how many.
    fn track_one(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        if self.left == 0 {
            let head_bytes = self.format.head_bytes();
            taken = bytes.len().min(head_bytes - self.head_len);
            self.head[self.head_len..self.head_len + taken].copy_from_slice(&bytes[..taken]);
            self.head_len += taken;
            if self.head_len < head_bytes {
                return taken;
            }
            self.head_len = 0;
            self.left = self.format.body_bytes(&self.head);
        }
        let body = self.left.min(bytes.len() - taken);
        self.left -= body;
        taken + body
    }

    /// Whether what has passed so far ends with a frame's end.
    fn is_between_frames(&self) -> bool {
        self.left == 0 && self.head_len == 0
    }

    /// Takes bytes in and asks about each frame that becomes complete and whose start was seen.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut judge: impl FnMut(&[u8]) -> FrameAction) {
        if self.format == FrameFormat::Opaque {
            self.out.extend_from_slice(bytes);
            return;
        }
        while !bytes.is_empty() && self.partial.is_empty() && !self.is_between_frames() {
            let passed = self.track_one(bytes);
            self.out.extend_from_slice(&bytes[..passed]);
            bytes = &bytes[passed..];
        }
        self.partial.extend_from_slice(bytes);
        while let Some(frame) = self.take_frame() {
            match judge(&frame) {
                FrameAction::Forward => self.out.extend_from_slice(&frame),
                FrameAction::Drop => {}
                FrameAction::Twice => {
                    self.out.extend_from_slice(&frame);
                    self.out.extend_from_slice(&frame);
                }
                FrameAction::Later(at) => {
                    let place = self.late.partition_point(|(due, _)| *due <= at);
                    self.late.insert(place, (at, frame));
                }
                FrameAction::Replace(other) => self.out.extend_from_slice(&other),
            }
        }
    }

    fn take_frame(&mut self) -> Option<Bytes> {
        let head_bytes = self.format.head_bytes();
        let head = self.partial.get(..head_bytes)?;
        let bytes = head_bytes + self.format.body_bytes(head);
        (self.partial.len() >= bytes).then(|| self.partial.split_to(bytes).freeze())
    }

    /// Takes bytes in that no rule is about, and lets go the frame that was held until complete.
    pub(crate) fn pass(&mut self, bytes: &[u8]) {
        let held = self.partial.split();
        self.track(&held);
        self.track(bytes);
        self.out.extend_from_slice(&held);
        self.out.extend_from_slice(bytes);
    }

    /// Puts a frame in as soon as one ends.
    pub(crate) fn insert(&mut self, frame: Bytes) {
        self.inserted.push_back(frame);
    }

    /// When the next late frame is due.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.late.front().map(|(due, _)| *due)
    }

    /// Moves what is due at `now` to what may go on, if no frame stands open there.
    pub(crate) fn release_due(&mut self, now: Duration) {
        if !self.is_between_frames() {
            return;
        }
        while let Some(frame) = self.inserted.pop_front() {
            self.out.extend_from_slice(&frame);
        }
        while let Some((_, frame)) = self.late.pop_front_if(|(due, _)| *due <= now) {
            self.out.extend_from_slice(&frame);
        }
    }

    /// Forgets what is late: its sender has hung up.
    pub(crate) fn forget_late(&mut self) {
        self.late.clear();
    }

    /// Forgets everything that is held: the other end is not there to get it.
    pub(crate) fn discard(&mut self) {
        self.out.clear();
        self.late.clear();
        self.inserted.clear();
    }

    /// Takes up to `bytes` of what may go on.
    pub(crate) fn take_out(&mut self, bytes: usize) -> Bytes {
        let bytes = bytes.min(self.out.len());
        self.out.split_to(bytes).freeze()
    }

    /// Drops what has gone on.
    pub(crate) fn went(&mut self, bytes: usize) {
        self.out.advance(bytes);
    }
}
