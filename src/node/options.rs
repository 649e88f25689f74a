//! The options of a node: those of its queue and bridge, its address, and how it starts and drains.

use std::path::PathBuf;
use std::time::Duration;

use crate::bridge::{BridgeOptions, RouteOptions};
use crate::env::Address;
use crate::listening::CONNECTIONS_DEFAULT;
use crate::queue::QueueOptions;

/// How long a drain waits for what is in flight, unless told otherwise. With the 10 s that the rest may take, the whole
/// fits the 30 s that supervisors grant before they kill.
const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(20);

/// Options of a queue, a bridge and the services over them. Start from [`NodeOptions::new`] and set fields.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The queue: folder, limits, budgets. Its `env` is replaced by the node's own.
    pub queue: QueueOptions,
    /// The bridge: the routes, their endpoints and limits. The services take commands for these routes alone, with
    /// bodies of up to each route's `body_bytes_max`.
    pub bridge: BridgeOptions,
    /// Where producers and operators connect (gRPC). Port 0: any free one, see [`super::Node::address`].
    pub listen: Address,
    /// Connections of producers and operators at once. 1,024.
    pub connections_max: usize,
    /// Files and connections that the process may have open, to be shown; zero if that is not known.
    pub open_files_max: u64,
    /// What to do with tasks whose route is not among the bridge's.
    pub on_missing_route: OnMissingRoute,
    /// How long a drain waits for what is in flight. 20 s. The rest of a drain takes 10 s at most.
    pub drain_timeout: Duration,
}

/// What to do at a start with tasks whose route is not configured: nobody would deliver them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnMissingRoute {
    /// Refuse to start, and say how many there are.
    #[default]
    Refuse,
    /// Start and keep them.
    Hold,
}

impl NodeOptions {
    /// The defaults, for a log in `dir`, producers at `listen`, and these routes.
    pub fn new(dir: impl Into<PathBuf>, listen: Address, routes: Vec<RouteOptions>) -> Self {
        Self {
            queue: QueueOptions::new(dir),
            bridge: BridgeOptions::new(routes),
            listen,
            connections_max: CONNECTIONS_DEFAULT,
            open_files_max: 0,
            on_missing_route: OnMissingRoute::default(),
            drain_timeout: DRAIN_TIMEOUT_DEFAULT,
        }
    }
}
