//! The queue between those who send on a link and the one who writes to it.
//!
//! Everything that waits is taken at once and written with one call, so that many small frames cost
//! one system call. Each frame gets a [`Ticket`]; when a link dies, [`FrameSender::fate`] tells the
//! frames that were certainly never written from those that may have been. That line is drawn where
//! the writer *takes* a frame: before it nothing has left this process, behind it anything may have.
//!
//! Signs of life and rollbacks overtake commands and replies that were not taken yet: behind a megabyte on a slow link
//! they would come too late to mean anything. What says goodbye overtakes nothing.
//!
//! Taken is not left: how far the stream has come is known from the peer, if it tells what it has received
//! ([`FrameSender::received`]), else from the transport. By that somebody who waits for a sign knows when his patience
//! starts, and by what is still on its way it is decided whether more may be sent.
//!
//! Invariants: frames of one line leave in the order of their tickets; a frame is in doubt only once taken; after
//! the [`FrameSource`] is gone nothing is taken any more.

mod line;
mod pace;
mod passage;
mod source;
mod tally;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use prost::Message;
use tokio::sync::Notify;

use super::limits::{GRPC_PREFIX_BYTES, LENGTH_BYTES, OUTBOX_BYTES_DEFAULT};
use super::v1::{self, frame::Kind};
use crate::coverage::{Site, reached};
use crate::env::{Point, Points};
use line::{Lane, Line, Queued};
use passage::Passage;

pub use source::{FrameSource, WriteError};
pub use tally::WriteTally;

/// How much one write gathers: beyond this a larger call saves nothing, and what was taken is in
/// doubt if the link dies.
const WRITE_BYTES: usize = 128 << 10;

/// The limits of one outbox.
#[derive(Clone, Copy, Debug)]
pub struct OutboxLimits {
    /// Bytes that may wait before [`FrameSender::send`] does. One frame may overshoot it, so that
    /// none is too large to ever get in.
    pub queued_bytes_max: usize,
    /// The largest frame the peer accepts, in bytes.
    pub frame_bytes_max: u32,
    /// How long the peer may take no byte at all before the link counts as dead.
    pub write_deadline: Duration,
    /// How much one write gathers.
    pub write_bytes: usize,
    /// What precedes each frame on the stream, in bytes.
    pub prefix_bytes: usize,
}

impl OutboxLimits {
    /// The defaults for a peer that accepts frames of `frame_bytes_max` bytes.
    pub fn for_peer(frame_bytes_max: u32, write_deadline: Duration) -> Self {
        Self {
            queued_bytes_max: OUTBOX_BYTES_DEFAULT,
            frame_bytes_max,
            write_deadline,
            write_bytes: WRITE_BYTES,
            prefix_bytes: LENGTH_BYTES,
        }
    }

    /// The same, for frames that gRPC carries.
    #[must_use]
    pub fn over_grpc(self) -> Self {
        Self {
            prefix_bytes: GRPC_PREFIX_BYTES,
            ..self
        }
    }

    /// The same, or so tight that each frame waits for the one before it, if that point fires.
    #[must_use]
    pub fn at(self, points: &dyn Points) -> Self {
        if !points.fires(Point::TinyBuffers) {
            return self;
        }
        Self {
            queued_bytes_max: 1,
            write_bytes: 1,
            ..self
        }
    }
}

/// The place of one frame in an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    lane: Lane,
    number: u64,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It waits for the writer and may still leave.
    Waiting,
    /// Definite: no byte of it ever left, nor will.
    NeverSent,
    /// In doubt: the writer took it.
    MaybeSent,
}

/// A frame that was not accepted. Definite: no byte of it leaves.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NotSent {
    /// The link is closed or dead.
    #[error("not sent: the link is closed")]
    Closed,
    /// The peer would refuse it.
    #[error("not sent: the frame has {bytes} bytes, the peer accepts {limit}")]
    TooLong {
        /// The frame's size in bytes.
        bytes: usize,
        /// The peer's limit in bytes.
        limit: u32,
    },
    /// Too much waits already.
    #[error("not sent: the link's queue is full")]
    Full,
}

/// Makes an outbox: the side that sends and the side that writes.
pub fn outbox(limits: OutboxLimits) -> (FrameSender, FrameSource) {
    let shared = Arc::new(OutboxShared {
        state: Mutex::new(OutboxState {
            lines: <[Line; 2]>::default(),
            passage: Passage::default(),
            queued_bytes: 0,
            urgent_bytes: 0,
            on_way_bytes: 0,
            limits,
            waker: None,
            senders_closed: false,
            source_gone: false,
        }),
        room: Notify::new(),
    });
    let sender = FrameSender(Arc::new(SenderSide(Arc::clone(&shared))));
    (sender, FrameSource::new(shared))
}

struct OutboxShared {
    state: Mutex<OutboxState>,
    /// Told whenever frames were taken or the source is gone.
    room: Notify,
}

struct OutboxState {
    /// By [`Lane`].
    lines: [Line; 2],
    passage: Passage,
    queued_bytes: usize,
    /// Of the queued bytes, those in the urgent line.
    urgent_bytes: usize,
    /// Bytes of the commands that wait, or were taken and are not known to have been received.
    on_way_bytes: usize,
    limits: OutboxLimits,
    waker: Option<Waker>,
    senders_closed: bool,
    /// Nothing is taken any more: the source was dropped, or the outbox abandoned.
    source_gone: bool,
}

impl OutboxShared {
    fn state(&self) -> MutexGuard<'_, OutboxState> {
        // No code that can panic runs under this lock; the data is whole even if it were poisoned.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OutboxState {
    fn line(&self, ticket: Ticket) -> &Line {
        &self.lines[ticket.lane as usize]
    }

    fn index_of(&self, ticket: Ticket) -> Option<usize> {
        let line = self.line(ticket);
        let index = usize::try_from(ticket.number.checked_sub(line.taken())?).ok()?;
        assert!(
            self.source_gone || index < line.waiting.len(),
            "a ticket of another outbox"
        );
        Some(index)
    }
}

/// Closes the outbox when the last sender is gone.
struct SenderSide(Arc<OutboxShared>);

impl Drop for SenderSide {
    fn drop(&mut self) {
        let waker = {
            let mut state = self.0.state();
            state.senders_closed = true;
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }
}

/// The sending side of an outbox. Clones send into the same one; dropping the last closes it.
#[derive(Clone)]
pub struct FrameSender(Arc<SenderSide>);

impl FrameSender {
    /// Queues a frame, waiting for room while too much waits already.
    ///
    /// Cancel safe: dropped before it is ready, the frame was not queued. Ready with a ticket, it is
    /// queued, and [`FrameSender::fate`] tells the rest. How long it waits is up to the peer; the
    /// writer's deadline bounds it.
    ///
    /// # Errors
    /// [`NotSent::Closed`] or [`NotSent::TooLong`]; definite.
    pub async fn send(&self, kind: Kind) -> Result<Ticket, NotSent> {
        let (frame, lane) = framed(kind);
        let bytes = frame.encoded_len();
        loop {
            let mut room = std::pin::pin!(self.0.0.room.notified());
            // Listening starts before looking: room made in between is not missed.
            room.as_mut().enable();
            {
                let state = self.0.0.state();
                if state.admits(lane) {
                    return self.push(state, lane, frame, bytes);
                }
                state.check(bytes)?;
            }
            reached!(Site::OutboxWaited);
            room.await;
        }
    }

    /// Queues a frame if there is room. What is urgent asks only what is urgent: it overtakes the rest.
    ///
    /// # Errors
    /// [`NotSent`]; definite.
    pub fn try_send(&self, kind: Kind) -> Result<Ticket, NotSent> {
        let (frame, lane) = framed(kind);
        let bytes = frame.encoded_len();
        let state = self.0.0.state();
        if !state.admits(lane) {
            state.check(bytes)?;
            reached!(Site::OutboxWaited);
            return Err(NotSent::Full);
        }
        self.push(state, lane, frame, bytes)
    }

    /// Queues a frame whether there is room or not: for frames whose number is bounded elsewhere,
    /// such as the replies to a bounded number of commands.
    ///
    /// # Errors
    /// [`NotSent::Closed`] or [`NotSent::TooLong`]; definite.
    pub fn force(&self, kind: Kind) -> Result<Ticket, NotSent> {
        let (frame, lane) = framed(kind);
        let bytes = frame.encoded_len();
        self.push(self.0.0.state(), lane, frame, bytes)
    }

    /// The same for a frame that is to stand behind all that waits already, though it might overtake it.
    ///
    /// # Errors
    /// As [`FrameSender::force`].
    pub fn force_behind(&self, kind: Kind) -> Result<Ticket, NotSent> {
        let (frame, _) = framed(kind);
        let bytes = frame.encoded_len();
        self.push(self.0.0.state(), Lane::Ordinary, frame, bytes)
    }

    /// Waits until there is room or the outbox is closed. Cancel safe.
    pub async fn room(&self) {
        loop {
            let mut room = std::pin::pin!(self.0.0.room.notified());
            room.as_mut().enable();
            {
                let state = self.0.0.state();
                if state.has_room() || state.senders_closed || state.source_gone {
                    return;
                }
            }
            room.await;
        }
    }

    /// Waits until the writer takes nothing more: the connection failed, everything was written after
    /// [`FrameSender::close`], or the outbox was abandoned. Cancel safe.
    pub async fn writer_gone(&self) {
        loop {
            let mut room = std::pin::pin!(self.0.0.room.notified());
            room.as_mut().enable();
            if self.0.0.state().source_gone {
                return;
            }
            room.await;
        }
    }

    /// How many frames the writer has taken since the start.
    pub fn taken(&self) -> u64 {
        self.0.0.state().lines.iter().map(Line::taken).sum()
    }

    /// A number that is another one whenever the stream has gone on: unchanged while frames wait, the peer reads
    /// nothing.
    pub fn progress(&self) -> u64 {
        let state = self.0.0.state();
        let passage = &state.passage;
        [passage.taken, passage.written, passage.received]
            .into_iter()
            .fold(0, u64::wrapping_add)
    }

    /// Whether [`FrameSender::send`] would not have to wait for room.
    pub fn has_room(&self) -> bool {
        self.0.0.state().has_room()
    }

    /// What became of the frame with this ticket. (One that was withdrawn is told as
    /// [`Fate::MaybeSent`] once the writer has passed its place: keep what [`FrameSender::withdraw`]
    /// said.)
    pub fn fate(&self, ticket: Ticket) -> Fate {
        let state = self.0.0.state();
        match state.index_of(ticket) {
            None => Fate::MaybeSent,
            Some(_) if state.source_gone => Fate::NeverSent,
            Some(index) if state.line(ticket).waiting[index].is_none() => Fate::NeverSent,
            Some(_) => Fate::Waiting,
        }
    }

    /// Takes a frame back if the writer has not taken it yet. The answer is never
    /// [`Fate::Waiting`].
    pub fn withdraw(&self, ticket: Ticket) -> Fate {
        let fate = {
            let mut state = self.0.0.state();
            match state.index_of(ticket) {
                None => Fate::MaybeSent,
                Some(_) if state.source_gone => Fate::NeverSent,
                Some(_) if planted!(Bug::WithdrawnStillWritten) => Fate::NeverSent,
                Some(index) => {
                    let line = &mut state.lines[ticket.lane as usize];
                    if let Some(queued) = line.waiting[index].take() {
                        state.unqueued(ticket.lane, queued.bytes);
                        less(&mut state.on_way_bytes, queued.weight);
                    }
                    Fate::NeverSent
                }
            }
        };
        self.0.0.room.notify_waiters();
        fate
    }

    /// Sets the largest frame the peer accepts, as its `Hello` said.
    pub fn set_frame_bytes_max(&self, frame_bytes_max: u32) {
        self.0.0.state().limits.frame_bytes_max = frame_bytes_max;
    }

    /// Accepts nothing more; what waits is still written, then the stream ends.
    pub fn close(&self) {
        let waker = {
            let mut state = self.0.0.state();
            state.senders_closed = true;
            state.waker.take()
        };
        self.0.0.room.notify_waiters();
        waker.into_iter().for_each(Waker::wake);
    }

    /// Accepts nothing more and drops what waits: it is never sent. For a peer that reads nothing.
    pub fn abandon(&self) {
        let (waiting, waker) = {
            let mut state = self.0.0.state();
            state.senders_closed = true;
            (state.end(), state.waker.take())
        };
        drop(waiting);
        self.0.0.room.notify_waiters();
        waker.into_iter().for_each(Waker::wake);
    }

    /// Whether nothing can be sent any more.
    pub fn is_closed(&self) -> bool {
        let state = self.0.0.state();
        state.senders_closed || state.source_gone
    }

    fn push(
        &self,
        mut state: MutexGuard<'_, OutboxState>,
        lane: Lane,
        frame: v1::Frame,
        bytes: usize,
    ) -> Result<Ticket, NotSent> {
        state.check(bytes)?;
        let bytes = bytes.saturating_add(state.limits.prefix_bytes);
        let weight = match frame.kind {
            Some(Kind::Command(_)) => bytes,
            _ => 0,
        };
        state.queued_bytes = state.queued_bytes.saturating_add(bytes);
        if lane == Lane::Urgent {
            state.urgent_bytes = state.urgent_bytes.saturating_add(bytes);
        }
        state.on_way_bytes = state.on_way_bytes.saturating_add(weight);
        let line = &mut state.lines[lane as usize];
        let number = line.next();
        line.waiting.push_back(Some(Queued {
            frame,
            bytes,
            weight,
        }));
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        Ok(Ticket { lane, number })
    }
}

/// What was counted when it came goes out of the count: less than nothing is a fault of this module, and a link that would
/// wait for ever.
fn less(count: &mut usize, bytes: usize) {
    let left = count.checked_sub(bytes);
    *count = left.expect("what goes was counted when it came");
}

fn framed(kind: Kind) -> (v1::Frame, Lane) {
    let lane = Lane::of(&kind);
    (v1::Frame { kind: Some(kind) }, lane)
}

impl OutboxState {
    /// Nothing is taken any more. Returns what waited, to be dropped outside of the lock.
    fn end(&mut self) -> [VecDeque<Option<Queued>>; 2] {
        self.source_gone = true;
        self.queued_bytes = 0;
        self.urgent_bytes = 0;
        self.on_way_bytes = 0;
        Lane::ALL.map(|lane| std::mem::take(&mut self.lines[lane as usize].waiting))
    }

    /// A frame of `lane` no longer waits.
    fn unqueued(&mut self, lane: Lane, bytes: usize) {
        less(&mut self.queued_bytes, bytes);
        if lane == Lane::Urgent {
            less(&mut self.urgent_bytes, bytes);
        }
    }

    fn has_room(&self) -> bool {
        self.queued_bytes < self.limits.queued_bytes_max
    }

    fn admits(&self, lane: Lane) -> bool {
        let waiting = match lane {
            Lane::Urgent => self.urgent_bytes,
            Lane::Ordinary => self.queued_bytes,
        };
        waiting < self.limits.queued_bytes_max
    }

    fn check(&self, bytes: usize) -> Result<(), NotSent> {
        if self.senders_closed || self.source_gone {
            return Err(NotSent::Closed);
        }
        let limit = self.limits.frame_bytes_max;
        if bytes > limit as usize {
            return Err(NotSent::TooLong { bytes, limit });
        }
        Ok(())
    }
}

impl std::fmt::Debug for FrameSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameSender").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
