//! Whole gRPC messages out of pieces, before anybody decodes them.
//!
//! A message begins with a byte that says whether it is compressed and with its length, four bytes. Whoever decodes it
//! makes room for that length at once: so a message is handed on only when all of it is here, and what is kept until
//! then grows with what arrives.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use tonic::Status;

use crate::wire::weigh::{ListShape, weigh};

/// Bytes before each message.
const HEAD_BYTES: usize = 5;

/// What a kind of request may bring.
#[derive(Clone, Copy)]
pub(crate) struct MessageRule {
    /// Bytes of the first message at most.
    pub(crate) first_bytes_max: usize,
    /// Bytes of every later one at most.
    pub(crate) bytes_max: usize,
    /// Its lists.
    pub(crate) lists: &'static [ListShape],
}

/// What a request has brought so far.
pub(super) struct Assembler {
    rule: MessageRule,
    /// The beginning of a message.
    partial: BytesMut,
    /// Whole messages, with what stands before them.
    whole: VecDeque<Bytes>,
    /// How many there were.
    messages: u64,
    /// What their lists take in memory once they are decoded.
    item_bytes: usize,
}

impl Assembler {
    pub(super) fn new(rule: MessageRule) -> Self {
        Self {
            rule,
            partial: BytesMut::new(),
            whole: VecDeque::new(),
            messages: 0,
            item_bytes: 0,
        }
    }

    /// Takes what has arrived.
    ///
    /// # Errors
    /// The status of a request that brings what it may not.
    pub(super) fn push(&mut self, mut piece: Bytes) -> Result<(), Status> {
        while !self.partial.is_empty() && !piece.is_empty() {
            let wanted = match self.message_bytes(&self.partial)? {
                Some(bytes) => bytes,
                None => HEAD_BYTES,
            };
            let missing = wanted.saturating_sub(self.partial.len());
            self.partial
                .extend_from_slice(&piece.split_to(missing.min(piece.len())));
            if let Some(bytes) = self.message_bytes(&self.partial)?
                && self.partial.len() == bytes
            {
                let message = self.partial.split().freeze();
                self.check(&message)?;
                self.partial = BytesMut::new();
                self.whole.push_back(message);
            }
        }
        // Most messages come in one piece: those are not copied.
        let mut end = 0;
        while let Some(bytes) = self.message_bytes(&piece[end..])?
            && piece.len().saturating_sub(end) >= bytes
        {
            let next = end.saturating_add(bytes);
            self.check(&piece[end..next])?;
            end = next;
        }
        if end > 0 {
            self.whole.push_back(piece.split_to(end));
        }
        self.partial.extend_from_slice(&piece);
        Ok(())
    }

    /// The next whole message, or several in one piece.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        self.whole.pop_front()
    }

    /// Bytes of memory that a message which is not whole takes.
    pub(super) fn partial_bytes(&self) -> usize {
        match self.partial.is_empty() {
            true => 0,
            false => self.partial.capacity(),
        }
    }

    /// How many whole messages there were.
    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    /// What the lists of the messages since the last call take in memory once they are decoded.
    pub(super) fn take_item_bytes(&mut self) -> usize {
        std::mem::take(&mut self.item_bytes)
    }

    /// Bytes of the message that `bytes` begins with, if they say so already.
    fn message_bytes(&self, bytes: &[u8]) -> Result<Option<usize>, Status> {
        let Some([_compressed, length @ ..]) = bytes.first_chunk::<HEAD_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        let limit = match self.messages {
            0 => self.rule.first_bytes_max,
            _ => self.rule.bytes_max,
        };
        if length > limit {
            return Err(Status::out_of_range(format!(
                "a message of {length} bytes, over the limit of {limit}"
            )));
        }
        Ok(Some(length.saturating_add(HEAD_BYTES)))
    }

    fn check(&mut self, message: &[u8]) -> Result<(), Status> {
        self.messages = self.messages.saturating_add(1);
        // One that is compressed is refused by whoever decodes it: nobody offered to take any.
        if let [0, _, _, _, _, content @ ..] = message {
            let weighed = weigh(content, self.rule.lists);
            let bytes = weighed.map_err(|error| Status::invalid_argument(error.to_string()))?;
            self.item_bytes = self.item_bytes.saturating_add(bytes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::weigh::FRAME;

    const RULE: MessageRule = MessageRule {
        first_bytes_max: 10,
        bytes_max: 100,
        lists: FRAME,
    };

    fn message(bytes: usize) -> Vec<u8> {
        let mut message = vec![0];
        message.extend_from_slice(&u32::try_from(bytes).unwrap().to_be_bytes());
        message.extend((0..bytes).map(|at| (at % 7) as u8));
        message
    }

    #[test]
    fn messages_come_out_whole_however_they_are_cut() {
        let stream = [message(10), message(0), message(100), message(3)].concat();
        for cut in 1..stream.len() {
            let mut assembler = Assembler::new(RULE);
            let mut out = Vec::new();
            for piece in stream.chunks(cut) {
                assembler.push(Bytes::copy_from_slice(piece)).unwrap();
                while let Some(whole) = assembler.take() {
                    out.extend_from_slice(&whole);
                    let ends = [15, 20, 125, 133];
                    assert!(ends.contains(&out.len()), "cut in pieces of {cut}");
                }
            }
            assert_eq!(out, stream, "cut in pieces of {cut}");
            assert_eq!((assembler.messages(), assembler.partial_bytes()), (4, 0));
        }
    }

    #[test]
    fn a_length_is_refused_before_anything_is_kept_for_it() {
        let mut assembler = Assembler::new(RULE);
        let first = assembler.push(message(11)[..5].to_vec().into());
        assert_eq!(first.unwrap_err().code(), tonic::Code::OutOfRange);
        let mut assembler = Assembler::new(RULE);
        assembler.push(message(10).into()).unwrap();
        assembler.push(message(100)[..20].to_vec().into()).unwrap();
        assert!((20..100).contains(&assembler.partial_bytes()));
        let mut assembler = Assembler::new(RULE);
        assembler.push(message(10).into()).unwrap();
        assert!(assembler.push(message(101).into()).is_err());
    }
}
