//! One end of a simulated connection.
//!
//! While no fault touches the connection and nothing is held back, bytes pass straight through to turmoil's
//! stream; the taps only count frames. Otherwise each read and write asks the books first.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use turmoil::net::TcpStream;

use super::Network;
use super::books::{ReadVerdict, WriteVerdict};
use super::conn::{Conn, ConnId, ConnectionCut, Half, Side, Wire, format_of};
use super::rules::{Rule, Rules, never_came, pong};
use super::tap::{FrameAction, FrameFormat, Tap};
use crate::gate::HostGate;

/// Bytes that may wait behind a rule before the writer has to wait: a few of the largest frames.
const HELD_BYTES_MAX: usize = 4 << 20;

/// Bytes read at once when frames are looked at.
const CHUNK_BYTES: usize = 16 << 10;

/// One end of a connection, with what may be wrong with it.
#[derive(Debug)]
pub struct SimStream {
    inner: TcpStream,
    network: Network,
    gate: HostGate,
    wire: Arc<Wire>,
    id: ConnId,
    side: Side,
    sent: Tap,
    received: Tap,
    /// The writer's: when a slow link has room again.
    room: Timer,
    /// The reader's, who is always there: when a late frame of its own is due.
    due: Timer,
    /// When a late frame of the other side is due.
    due_here: Timer,
}

impl SimStream {
    pub(super) fn new(
        inner: TcpStream,
        network: Network,
        gate: HostGate,
        id: ConnId,
        side: Side,
        conn: Conn,
    ) -> Self {
        let format = format_of(conn.port);
        let preface = |by: Side| format == FrameFormat::Http2 && by == Side::Client;
        let wire = network.books().opened(id, side, conn);
        Self {
            inner,
            network,
            gate,
            wire,
            id,
            side,
            sent: Tap::new(format, preface(side)),
            received: Tap::new(format, preface(side.other())),
            room: Timer::default(),
            due: Timer::default(),
            due_here: Timer::default(),
        }
    }

    fn poll_write_troubled(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let verdict = self.network.books().before_write(self.id, self.side, now());
        let (room, rules) = match verdict {
            WriteVerdict::Cut(cut) => {
                let kind = match cut {
                    ConnectionCut::Reset => io::ErrorKind::ConnectionReset,
                    ConnectionCut::Closed => io::ErrorKind::BrokenPipe,
                };
                return Poll::Ready(Err(kind.into()));
            }
            WriteVerdict::Wait => {
                self.wire.park(self.side, Half::Write, cx);
                return Poll::Pending;
            }
            WriteVerdict::Swallow => {
                let mut books = self.network.books();
                books.swallowed(self.id, self.side, data.len());
                return Poll::Ready(Ok(data.len()));
            }
            WriteVerdict::WaitUntil(at) => {
                self.wire.park(self.side, Half::Write, cx);
                ready!(self.room.poll_until(at, cx));
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            WriteVerdict::Pass(room, rules) => (room, rules),
        };
        let data = &data[..data.len().min(room)];
        let written = if rules.is_empty() && self.sent.is_plain() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, data))?;
            self.sent.track(&data[..written]);
            written
        } else {
            ready!(self.poll_write_ruled(cx, data, &rules))?
        };
        let mut books = self.network.books();
        books.after_write(self.id, self.side, written, now());
        Poll::Ready(Ok(written))
    }

    /// Takes the data in, and lets go what the rules leave of it.
    fn poll_write_ruled(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
        rules: &Rules,
    ) -> Poll<io::Result<usize>> {
        if self.sent.out.len() >= HELD_BYTES_MAX {
            ready!(self.poll_pump(cx))?;
        }
        if rules.is_empty() {
            self.sent.pass(data);
        } else {
            let (network, received) = (&self.network, &mut self.received);
            self.sent
                .feed(data, |frame| judge(network, rules, frame, received));
        }
        // What turmoil doesn't take now goes on with the next call of any kind.
        if let Poll::Ready(result) = self.poll_pump(cx) {
            result?;
        }
        if !self.received.is_plain() {
            // A ping was answered beside the connection: this end's reader has something to read.
            self.wire.wake();
        }
        Poll::Ready(Ok(data.len()))
    }

    /// Writes what may go on. Ready once nothing is left of it.
    fn poll_pump(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sent.release_due(now());
        while !self.sent.out.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.sent.out))?;
            self.sent.went(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Lets go what is due, whoever asks, if the network takes it.
    fn pump_in_passing(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.sent.is_plain() {
            return Ok(());
        }
        let verdict = self.network.books().before_write(self.id, self.side, now());
        match verdict {
            WriteVerdict::Swallow | WriteVerdict::Cut(_) => self.sent.discard(),
            WriteVerdict::Wait | WriteVerdict::WaitUntil(_) => {}
            WriteVerdict::Pass(..) => {
                let held = self.sent.out.len();
                if let Poll::Ready(result) = self.poll_pump(cx) {
                    result?;
                    if held > 0 {
                        // A writer that had to wait for this waits no longer.
                        self.wire.wake();
                    }
                }
            }
        }
        Ok(())
    }

    fn poll_read_troubled(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(due) = self.sent.next_due() {
            // Once it fires, the line below lets the frame go.
            let _ = self.due.poll_until(due, cx);
        }
        if let Some(due) = self.received.next_due() {
            let _ = self.due_here.poll_until(due, cx);
        }
        self.pump_in_passing(cx)?;
        let (room, rules) = match self.network.books().before_read(self.id, self.side) {
            ReadVerdict::Cut(ConnectionCut::Reset) => {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            ReadVerdict::Cut(ConnectionCut::Closed) => return Poll::Ready(Ok(())),
            ReadVerdict::Wait => {
                self.wire.park(self.side, Half::Read, cx);
                return Poll::Pending;
            }
            ReadVerdict::Pass(room, rules) => (room, rules),
        };
        if rules.is_empty() {
            self.received.pass(&[]);
        }
        loop {
            self.received.release_due(now());
            if !self.received.out.is_empty() {
                let bytes = self.received.take_out(buffer.remaining());
                buffer.put_slice(&bytes);
                return Poll::Ready(Ok(()));
            }
            let mut chunk = [0; CHUNK_BYTES];
            let limit = room.min(chunk.len()).min(buffer.remaining());
            let mut read = ReadBuf::new(&mut chunk[..limit]);
            let polled = Pin::new(&mut self.inner).poll_read(cx, &mut read);
            if polled.is_pending() {
                self.wire.park(self.side, Half::Read, cx);
            }
            ready!(polled)?;
            if read.filled().is_empty() {
                if self.received.is_plain() {
                    return Poll::Ready(Ok(()));
                }
                // The peer ended within a frame: what there is of it is to be seen. What is late comes never.
                self.received.pass(&[]);
                self.received.forget_late();
                continue;
            }
            self.network
                .books()
                .after_read(self.id, read.filled().len());
            if rules.is_empty() {
                self.received.pass(read.filled());
            } else {
                let network = &self.network;
                let mut none = Tap::new(FrameFormat::Opaque, false);
                self.received.feed(read.filled(), |frame| {
                    judge(network, &rules, frame, &mut none)
                });
            }
        }
    }
}

/// A timer in true time.
#[derive(Debug, Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Ready at this time of the simulation.
    #[expect(
        clippy::disallowed_methods,
        reason = "tokio's time is simulated here, and the network's delays are spans of true time"
    )]
    fn poll_until(&mut self, at: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let left = at.saturating_sub(now());
        if left.is_zero() {
            self.0 = None;
            return Poll::Ready(());
        }
        let due = tokio::time::Instant::now() + left;
        let timer = self
            .0
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(cx)
    }
}

/// The first rule that is about the frame decides; the fault it comes from has struck.
fn judge(network: &super::Network, rules: &Rules, frame: &[u8], received: &mut Tap) -> FrameAction {
    for (fault, rule) in rules {
        if *rule == Rule::NoteRollbacks {
            let told = never_came(frame).map(|told| (now(), told));
            network.books().never_came.extend(told);
            continue;
        }
        if let Some(action) = rule.judge(frame, now()) {
            network.books().strike(*fault);
            if *rule == Rule::AnswerPings {
                received.insert(pong(frame));
            }
            return action;
        }
    }
    FrameAction::Forward
}

fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

impl AsyncRead for SimStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.gate.poll_open(cx));
        let this = &mut *self;
        if this.wire.is_troubled() || !this.sent.is_plain() || !this.received.is_plain() {
            return this.poll_read_troubled(cx, buffer);
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.inner).poll_read(cx, buffer);
        if polled.is_pending() {
            this.wire.park(this.side, Half::Read, cx);
        }
        ready!(polled)?;
        this.received.track(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.gate.poll_open(cx));
        let this = &mut *self;
        let written = if this.wire.is_troubled() || !this.sent.is_plain() {
            ready!(this.poll_write_troubled(cx, data))?
        } else {
            let polled = Pin::new(&mut this.inner).poll_write(cx, data);
            if polled.is_pending() {
                this.wire.park(this.side, Half::Write, cx);
            }
            let written = ready!(polled)?;
            this.sent.track(&data[..written]);
            written
        };
        this.gate.busy();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.gate.poll_open(cx));
        let this = &mut *self;
        this.pump_in_passing(cx)?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    /// What a rule still holds back is lost: it would have come after the end.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.gate.poll_open(cx));
        let this = &mut *self;
        this.pump_in_passing(cx)?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.network.books().closed(self.id, self.side);
    }
}
