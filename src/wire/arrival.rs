//! How many bytes have arrived on a link, also in the middle of a frame.
//!
//! On the socket these are the bytes of the connection. Over gRPC they are those of the stream's messages with the five
//! bytes before each, counted as HTTP/2 hands them over, in pieces of a message: its own frames are not counted.

#[cfg(feature = "bridge")]
mod body;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(feature = "bridge")]
pub(crate) use body::count_response;

/// A count of bytes that arrived; clones share it.
#[derive(Clone, Debug, Default)]
pub struct ReceivedCount(Arc<AtomicU64>);

impl ReceivedCount {
    /// Bytes since the start of the link.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
