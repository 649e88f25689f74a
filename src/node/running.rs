//! A node at work, and how it ends.

use std::time::Duration;

use tokio::sync::watch;

use super::error::{NodeFailure, StartError};
use super::open::{OpenNode, seal};
use super::options::NodeOptions;
use super::part::Part;
use super::status::{NodeStatus, NodeView};
use crate::bridge::{DrainReport, RunningBridge};
use crate::env::{Address, Env, timeout};
use crate::queue::{Command, OpenError, SafeTaskQueue};
use crate::server::Phase;

/// How long a failing journal may take to say so after what stood on it has ended: a few turns of its thread.
const CAUSE_TIMEOUT: Duration = Duration::from_millis(100);

/// What a drain may take beyond the wait for what is in flight: rolling back what is left, closing the links, sealing the
/// log, and the farewell.
const ENDING_MAX: Duration = Duration::from_secs(10);

/// How long sealing the log may take in any case: a few syncs of a slow disk.
const SEAL_TIMEOUT_MIN: Duration = Duration::from_secs(3);

/// How long the services may take to send their last answers.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// A node at work. Dropping it cuts everything off at once, as a crash would: what was sent and not answered
/// is in doubt, and the log is not sealed. [`Node::drain`] is the orderly way.
pub struct Node {
    pub(super) env: Env,
    pub(super) address: Address,
    pub(super) drain_timeout: Duration,
    // Dropped in this order: nobody is answered by what is gone.
    pub(super) services: Part,
    pub(super) bridge: RunningBridge,
    pub(super) queue: SafeTaskQueue<Command>,
    pub(super) view: NodeView,
    pub(super) phase: watch::Sender<Phase>,
}

impl Node {
    /// Opens the queue and starts what runs over it. Needs a tokio runtime.
    ///
    /// Not cancel safe: dropped, it cuts off what was started and leaves the log unsealed.
    ///
    /// # Errors
    /// [`StartError`]; nothing was delivered, and the log is as it was or sealed again.
    pub async fn start(env: Env, options: NodeOptions) -> Result<Self, StartError> {
        Self::open(env, options).await?.start().await
    }

    /// Opens the queue alone; [`OpenNode::start`] does the rest.
    ///
    /// Not cancel safe: dropped, it may leave the log open for a moment longer.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed.
    pub async fn open(env: Env, options: NodeOptions) -> Result<OpenNode, OpenError> {
        OpenNode::open(env, options).await
    }

    /// Where producers and operators connect, with the port that was chosen.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The queue: what producers in this process enqueue to, and operators look into.
    pub fn queue(&self) -> &SafeTaskQueue<Command> {
        &self.queue
    }

    /// What the node does and has done.
    pub fn status(&self) -> NodeStatus {
        self.view.status()
    }

    /// Looks at the node from elsewhere.
    pub fn view(&self) -> NodeView {
        self.view.clone()
    }

    /// Completes when the node can't go on, with the reason: its journal failed, its queue was closed, or a part of
    /// it is gone. Then
    /// drop it and end the process: what was promised is on the disk, and the next start recovers it.
    ///
    /// Cancel safe; whoever waits later is told the same.
    pub async fn ended(&self) -> NodeFailure {
        let symptom = tokio::select! {
            biased;
            failure = self.queue.failed() => return failure.into(),
            () = self.queue.closed() => return NodeFailure::Closed,
            why = self.bridge.ended() => NodeFailure::Bridge(why),
            why = self.services.ended() => NodeFailure::Services(why),
        };
        // A journal that fails takes the bridge with it, and may be a little later to say so.
        let cause = timeout(&*self.env.clock, CAUSE_TIMEOUT, self.queue.failed());
        cause.await.map_or(symptom, NodeFailure::from)
    }

    /// Ends in order. New commands are refused and nothing more is leased. What is in flight is finished or given
    /// back within the options' `drain_timeout`. What is left is rolled back, the log is sealed, and the services, which
    /// show the status until then, have a second for their last answers: all of that within 10 s more.
    ///
    /// Returns how the deliveries ended. Not cancel safe: dropped, it cuts everything off at once, as
    /// dropping the node does.
    ///
    /// # Errors
    /// [`NodeFailure`] when the journal fails meanwhile or the disk is too slow; the log is not sealed then, and
    /// the next start recovers it.
    pub async fn drain(self) -> Result<DrainReport, NodeFailure> {
        let Self {
            env,
            drain_timeout,
            services,
            bridge,
            queue,
            phase,
            ..
        } = self;
        phase.send_replace(Phase::Draining);
        let by = env.clock.now() + drain_timeout + (ENDING_MAX - FAREWELL_TIMEOUT);
        let ending = async {
            let report = bridge.drain(drain_timeout).await;
            let left = by.saturating_since(env.clock.now());
            seal(&env, &queue, left.max(SEAL_TIMEOUT_MIN)).await?;
            Ok::<_, NodeFailure>(report)
        };
        let report = tokio::select! {
            biased;
            failure = queue.failed() => return Err(failure.into()),
            ended = ending => ended?,
        };
        phase.send_replace(Phase::Stopping);
        // A watcher may hold its connection for as long as it likes: those that are left are cut.
        let _farewell = timeout(&*env.clock, FAREWELL_TIMEOUT, services.ended()).await;
        Ok(report)
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("address", &self.address)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
