//! What is asked and told of how far an outbox's stream has come.

use std::sync::Arc;
use std::time::Duration;

use super::line::Lane;
use super::pace::LOADED_BYTES;
use super::{FrameSender, OutboxShared, OutboxState, Ticket, less};
use crate::env::Mono;

impl FrameSender {
    /// The peer tells from now on how many bytes it has received: what has left is known from it, and not from the
    /// transport.
    pub fn is_told(&self) {
        self.0.0.state().passage.is_told = true;
    }

    /// The peer has received `bytes` since the start of the stream. More than was sent counts as all of it.
    pub fn received(&self, bytes: u64, now: Mono) {
        self.0.0.receive(bytes, now);
    }

    /// The peer has shown that it received the frame with this ticket, and so all that left before it.
    pub fn received_through(&self, ticket: Ticket, now: Mono) {
        let end = self.0.0.state().line(ticket).end_of(ticket.number);
        if let Some(end) = end {
            self.0.0.receive(end, now);
        }
    }

    /// When the frame with this ticket was seen to have left, as far as can be known: the peer has received its last
    /// byte, or else, of a peer that doesn't tell, the transport has taken it. Exact to some 50 ms, and late rather
    /// than early, if it is asked within six seconds.
    pub fn left_at(&self, ticket: Ticket) -> Option<Mono> {
        let state = self.0.0.state();
        state.passage.left_at(ticket.lane as usize, ticket.number)
    }

    /// When the stream was last seen to go on: the peer told that it had received more, or else the transport took
    /// some.
    pub fn went_on_at(&self) -> Option<Mono> {
        self.0.0.state().passage.went_on
    }

    /// Bytes of the commands that wait, or were taken and are not known to have been received.
    pub fn on_way_bytes(&self) -> usize {
        self.0.0.state().on_way_bytes
    }

    /// How many bytes of commands are on their way, and how many may be if they are to arrive within `span`, by how fast
    /// the stream goes when it carries something. At first that is little, and grows with what has arrived.
    pub fn on_way(&self, span: Duration) -> (usize, usize) {
        let state = self.0.0.state();
        let passage = &state.passage;
        let most = passage.pace.bytes_in(span, passage.left());
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        (state.on_way_bytes, most)
    }

    /// How long it takes until a command of so many bytes has arrived that is sent now, as far as is known.
    pub fn arrives_in(&self, bytes: usize) -> Option<Duration> {
        let state = self.0.0.state();
        let ahead = state.on_way_bytes.saturating_add(bytes);
        state.passage.pace.time_for(ahead as u64)
    }

    /// For whoever sees what the transport takes, and keeps no outbox open.
    pub fn tally(&self) -> WriteTally {
        WriteTally(Arc::clone(&self.0.0))
    }
}

/// Counts what the transport has taken of an outbox's stream.
#[derive(Clone)]
pub struct WriteTally(pub(super) Arc<OutboxShared>);

impl WriteTally {
    /// The transport has taken so many bytes more by `now`.
    pub fn wrote(&self, bytes: usize, now: Mono) {
        let mut state = self.0.state();
        let passage = &mut state.passage;
        // What a transport adds of its own is never more of the stream than there is.
        passage.written = passage
            .written
            .saturating_add(bytes as u64)
            .min(passage.taken);
        state.moved(now, |passage| !passage.is_told);
    }
}

impl OutboxShared {
    fn receive(&self, bytes: u64, now: Mono) {
        let mut state = self.state();
        let bytes = bytes.min(state.passage.taken);
        if bytes <= state.passage.received {
            return;
        }
        state.passage.received = bytes;
        let freed: usize = state.lines.iter_mut().map(|line| line.receive(bytes)).sum();
        if !state.source_gone {
            less(&mut state.on_way_bytes, freed);
        }
        state.moved(now, |_| true);
    }
}

impl OutboxState {
    /// The stream has gone on, if that `counts`.
    fn moved(&mut self, now: Mono, counts: impl FnOnce(&super::Passage) -> bool) {
        if !counts(&self.passage) {
            return;
        }
        self.passage.went_on = Some(now);
        let offset = self.passage.left();
        let is_loaded = self.on_way_bytes >= LOADED_BYTES;
        self.passage.pace.seen(offset, is_loaded, now);
        self.lines.iter_mut().for_each(|line| line.leave(offset));
        let left = Lane::ALL.map(|lane| self.lines[lane as usize].left());
        self.passage.mark(left, now);
    }
}
