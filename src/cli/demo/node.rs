//! A node that can be dropped as in a crash and started again from disk.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leasebridge::bridge::RouteOptions;
use leasebridge::core::event::TransportKind;
use leasebridge::env::Env;
use leasebridge::node::{Node, NodeOptions, StartError};
use leasebridge::queue::{Backoff, Command, SafeTaskQueue};
use tokio::sync::watch;

use crate::cli::exit::CommandFailure;

/// A queue of commands.
pub(super) type Queue = SafeTaskQueue<Command>;

/// How long the queue's folder may take to be let go by the life before.
const UNLOCK_PATIENCE: Duration = Duration::from_secs(20);

/// How long what is in flight may take at the end.
const DRAIN: Duration = Duration::from_secs(5);

/// What the node did for one route, over all its lives.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    pub(super) leases: u64,
    pub(super) by_socket: u64,
    pub(super) by_grpc: u64,
}

/// See the module's description.
pub(super) struct CrashableNode {
    env: Env,
    options: NodeOptions,
    /// The queue while it lives; whoever holds a clone lets go of it when this says `None`.
    pub(super) queue: watch::Sender<Option<Queue>>,
    state: Mutex<NodeState>,
}

#[derive(Default)]
struct NodeState {
    node: Option<Node>,
    /// By route, in the order of the options: what the lives before did.
    past: Vec<Traffic>,
}

impl CrashableNode {
    /// Starts a node whose log is in `dir`.
    pub(super) async fn open(
        env: &Env,
        dir: PathBuf,
        routes: Vec<RouteOptions>,
    ) -> Result<Self, CommandFailure> {
        let past = vec![Traffic::default(); routes.len()];
        let mut options = NodeOptions::new(dir, super::loopback(), routes);
        options.queue.backoff = Backoff::Exponential;
        options.queue.backoff_min = Duration::from_millis(50);
        options.queue.backoff_max = Duration::from_millis(400);
        options.queue.segment_bytes = 4 << 20;
        options.drain_timeout = DRAIN;
        let started = Self {
            env: env.clone(),
            options,
            queue: watch::Sender::new(None),
            state: Mutex::new(NodeState { node: None, past }),
        };
        started.reopen().await?;
        Ok(started)
    }

    /// Starts a new node from disk, as soon as the life before has let go.
    pub(super) async fn reopen(&self) -> Result<(), CommandFailure> {
        let clock = &self.env.clock;
        let give_up = clock.now() + UNLOCK_PATIENCE;
        let node = loop {
            match Node::start(self.env.clone(), self.options.clone()).await {
                Ok(node) => break node,
                Err(StartError::Open(error)) if error.is_locked() && clock.now() < give_up => {
                    clock.sleep(Duration::from_millis(5)).await;
                }
                Err(error) => {
                    return Err(CommandFailure::new(error.kind().into(), error.to_string()));
                }
            }
        };
        let queue = node.queue().clone();
        self.state().node = Some(node);
        self.queue.send_replace(Some(queue));
        Ok(())
    }

    /// Drops the node where it stands; nothing is said to anybody. Returns how many commands were in flight.
    pub(super) fn crash(&self) -> u64 {
        self.remember();
        let in_flight = self.in_flight();
        let queue = self.queue.send_replace(None);
        let node = self.state().node.take();
        drop((queue, node));
        in_flight
    }

    /// How many commands are being delivered or settled.
    pub(super) fn in_flight(&self) -> u64 {
        let state = self.state();
        let status = state.node.as_ref().map(Node::status);
        let routes = status.iter().flat_map(|status| &status.bridge.routes);
        routes.map(|route| route.in_flight).sum()
    }

    /// Ends the node in good order.
    pub(super) async fn close(&self) -> Result<(), CommandFailure> {
        self.remember();
        let node = self.state().node.take();
        if let Some(node) = node {
            let drained = node.drain().await;
            drained.map_err(|failure| {
                CommandFailure::new(failure.kind().into(), failure.to_string())
            })?;
        }
        self.queue.send_replace(None);
        Ok(())
    }

    /// What was done for each route, in the order of the options.
    pub(super) fn traffic(&self) -> Vec<Traffic> {
        let state = self.state();
        let mut traffic = state.past.clone();
        let Some(status) = state.node.as_ref().map(Node::status) else {
            return traffic;
        };
        for (route, sum) in self.options.bridge.routes.iter().zip(&mut traffic) {
            let mut found = status.queue.routes.iter();
            if let Some(lane) = found.find(|lane| lane.route == route.name) {
                sum.leases += lane.totals.granted;
            }
            let mut found = status.bridge.routes.iter();
            let links = found.find(|found| found.name == route.name);
            for link in links.iter().flat_map(|route| &route.links) {
                *match link.transport {
                    TransportKind::Socket => &mut sum.by_socket,
                    TransportKind::Grpc => &mut sum.by_grpc,
                } += link.counts.replies;
            }
        }
        traffic
    }

    fn remember(&self) {
        let traffic = self.traffic();
        self.state().past = traffic;
    }

    fn state(&self) -> MutexGuard<'_, NodeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
