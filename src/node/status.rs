//! What a node shows of itself.

use std::sync::Arc;

use tokio::sync::watch;

use crate::bridge::BridgeView;
use crate::listening::Reception;
use crate::observe::{BridgeStatus, ListenerStatus, QueueStatus};
use crate::queue::{Command, SafeTaskQueue};
use crate::server::Phase;

/// What a node shows of itself, at one moment.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// Routes, tasks and log.
    pub queue: QueueStatus,
    /// Links, breakers and deliveries.
    pub bridge: BridgeStatus,
    /// Where producers and operators connect.
    pub listener: ListenerStatus,
    /// What the node is about.
    pub phase: Phase,
}

/// Looks at a node from elsewhere; cheap to clone. Holds the queue open: the log is let go of when all of
/// these are dropped, or when the node was drained.
#[derive(Clone)]
pub struct NodeView {
    pub(super) queue: SafeTaskQueue<Command>,
    pub(super) bridge: BridgeView,
    pub(super) reception: Arc<Reception>,
    pub(super) phase: watch::Receiver<Phase>,
}

impl NodeView {
    /// What the node does and has done.
    pub fn status(&self) -> NodeStatus {
        NodeStatus {
            queue: self.queue.status(),
            bridge: self.bridge.status(),
            listener: self.reception.status(),
            phase: *self.phase.borrow(),
        }
    }

    /// The queue that the node serves.
    pub fn queue(&self) -> &SafeTaskQueue<Command> {
        &self.queue
    }
}

impl std::fmt::Debug for NodeView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.status().fmt(f)
    }
}
