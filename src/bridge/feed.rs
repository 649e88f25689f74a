//! How deliveries ended, told to whoever listens, each after its settlement is durable.

use tokio::sync::broadcast;

use super::result::TaskResult;
use crate::core::DeliveryId;
use crate::queue::{Failure, Sends};

/// Ends that a listener may fall behind before it misses some: with results of
/// [`super::RESULT_BYTES_MAX`] they hold 16 MiB.
const ENDS_MAX: usize = 256;

/// How one delivery ended; where its task went is told by the queue's own feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryEnd {
    /// The task and the epoch under which it was delivered.
    pub delivery: DeliveryId,
    /// The result, as far as it is kept, or what went wrong.
    pub outcome: Result<TaskResult, Failure>,
    /// The sends it took.
    pub sends: Sends,
}

/// What a listener hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryNews {
    /// A delivery ended.
    End(DeliveryEnd),
    /// The listener was too slow and missed so many ends.
    Missed(u64),
}

/// The writing end.
#[derive(Clone, Debug)]
pub(super) struct DeliveryFeed {
    sender: broadcast::Sender<DeliveryEnd>,
}

impl DeliveryFeed {
    pub(super) fn new() -> Self {
        let (sender, _) = broadcast::channel(ENDS_MAX);
        Self { sender }
    }

    /// Whether somebody listens.
    pub(super) fn is_listened_to(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    pub(super) fn subscribe(&self) -> DeliveryEnds {
        DeliveryEnds {
            receiver: self.sender.subscribe(),
        }
    }

    pub(super) fn tell(&self, end: DeliveryEnd) {
        // Nobody may be listening any more; that is their affair.
        let _told = self.sender.send(end);
    }
}

/// The reading end: see [`super::RunningBridge::ends`].
#[derive(Debug)]
pub struct DeliveryEnds {
    receiver: broadcast::Receiver<DeliveryEnd>,
}

impl DeliveryEnds {
    /// The next end; `None` once the bridge is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<DeliveryNews> {
        match self.receiver.recv().await {
            Ok(end) => Some(DeliveryNews::End(end)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(DeliveryNews::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
