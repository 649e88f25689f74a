//! Bodies kept in memory, so that a short backlog is never read back from the log.

use bytes::Bytes;

/// Bodies by the slot of their task, up to a budget of bytes. Bodies that come when the budget is used
/// up are not kept: the oldest tasks are leased first, so those already here will be asked for sooner.
#[derive(Debug)]
pub(super) struct BodyCache {
    bodies: Vec<Option<Box<[u8]>>>,
    bytes: usize,
    bytes_max: usize,
}

impl BodyCache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bodies: Vec::new(),
            bytes: 0,
            bytes_max,
        }
    }

    pub(super) fn put(&mut self, slot: usize, body: Vec<u8>) {
        self.drop_at(slot);
        if self.bytes + body.len() > self.bytes_max {
            return;
        }
        if slot >= self.bodies.len() {
            self.bodies.resize_with(slot + 1, || None);
        }
        self.bytes += body.len();
        self.bodies[slot] = Some(body.into_boxed_slice());
    }

    pub(super) fn take(&mut self, slot: usize) -> Option<Bytes> {
        let body = self.bodies.get_mut(slot)?.take()?;
        self.bytes -= body.len();
        Some(body.into())
    }

    /// A copy, for a look from outside.
    pub(super) fn peek(&self, slot: usize) -> Option<Bytes> {
        self.bodies
            .get(slot)?
            .as_deref()
            .map(Bytes::copy_from_slice)
    }

    /// Forgets the body of a task that has left.
    pub(super) fn drop_at(&mut self, slot: usize) {
        drop(self.take(slot));
    }
}
