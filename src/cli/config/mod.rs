//! The configuration: a TOML file, every key of which has a default.
//!
//! Without a file the program keeps its data in `./leasebridge-data`, listens for producers and
//! operators on 127.0.0.1:7410 and delivers the route `default` to a receiver on this machine.
//! A key nobody knows, a limit of zero or an address that is none stops the program before anything
//! is started; [`fault::ConfigFault`] says where and what is allowed.

mod check;
mod fault;
pub(crate) mod load;
mod units;

use std::collections::BTreeMap;
use std::path::PathBuf;

use leasebridge::env::Address;
use serde::Deserialize;

pub(crate) use fault::ConfigFault;
pub(crate) use load::load;
pub(crate) use units::{Count, Size, Span};

/// Where producers and operators find the bridge unless told otherwise.
pub(crate) const LISTEN_DEFAULT: (&str, u16) = ("127.0.0.1", 7410);

/// Where an endpoint's socket is unless told otherwise.
pub(crate) const SOCKET_DEFAULT: (&str, u16) = ("127.0.0.1", 7420);

/// Where an endpoint's gRPC is unless told otherwise.
pub(crate) const GRPC_DEFAULT: (&str, u16) = ("127.0.0.1", 7421);

/// Everything that can be configured.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Folder of the journal.
    pub(crate) data: PathBuf,
    /// Where ingest and admin gRPC listen.
    pub(crate) listen: Address,
    /// The name under which the poison store is reported.
    pub(crate) poison_queue_name: String,
    /// How long a drain waits for what is in flight.
    pub(crate) drain_timeout: Span,
    /// What to do with tasks whose route is not configured.
    pub(crate) on_missing_route: OnMissingRoute,
    /// The queue's limits and budgets.
    pub(crate) queue: QueueConfig,
    /// The log on disk.
    pub(crate) journal: JournalConfig,
    /// Where commands go. One route, `default`, if none is configured.
    pub(crate) routes: BTreeMap<String, RouteConfig>,
    /// For `leasebridge receiver`.
    pub(crate) receiver: ReceiverConfig,
}

/// What to do at start with tasks whose route is not configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnMissingRoute {
    /// Refuse to start, and say how many there are.
    Refuse,
    /// Start and keep them.
    Hold,
}

/// `[queue]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct QueueConfig {
    /// Tasks that may wait or be in flight; beyond it enqueues are refused or wait.
    pub(crate) capacity: Count,
    /// How long a lease lasts unless it is extended.
    pub(crate) lease: Span,
    /// How long a lease may be held in all.
    pub(crate) max_hold: Span,
    /// Retries after a rejected attempt; zero is allowed.
    pub(crate) max_retries: u16,
    /// Retries after a charged in-doubt attempt; zero is allowed.
    pub(crate) max_in_doubt: u16,
    /// First ceiling of the backoff.
    pub(crate) backoff_min: Span,
    /// Last ceiling of the backoff.
    pub(crate) backoff_max: Span,
    /// Tasks in poison from which on enqueues are refused.
    pub(crate) poison_capacity: Count,
    /// How long an idempotency key is remembered.
    pub(crate) dedupe_window: Span,
    /// How many keys of finished tasks are remembered.
    pub(crate) dedupe_keys_max: Count,
}

/// `[journal]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct JournalConfig {
    /// Bytes of one segment.
    pub(crate) segment_size: Size,
    /// Bytes all segments together may take.
    pub(crate) max_size: Size,
}

/// `[routes.NAME]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RouteConfig {
    /// The endpoint's socket. Left out: this route is delivered by gRPC alone.
    pub(crate) socket: Option<Address>,
    /// The endpoint's gRPC. Left out: this route has no fallback.
    pub(crate) grpc: Option<Address>,
    /// Commands in flight at once.
    pub(crate) window: Count,
    /// The largest body this route takes.
    pub(crate) max_body: Size,
    /// What to do with a command in doubt when the endpoint's inbox has lost its memory.
    pub(crate) on_lost_inbox: OnLostInbox,
    /// How long the socket waits for a command's first sign of life before gRPC is tried.
    pub(crate) first_sign_of_life: Span,
    /// How often heartbeats are sent.
    pub(crate) heartbeat: Span,
    /// The secret that the endpoint wants.
    pub(crate) credentials: Secret,
}

/// What to do with a command in doubt when the endpoint's inbox has lost its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnLostInbox {
    /// Deliver it again: it may be executed twice.
    Redeliver,
    /// Put it in poison for a person to decide.
    Hold,
}

/// `[receiver]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ReceiverConfig {
    /// Where the framed socket listens.
    pub(crate) socket: Address,
    /// Where gRPC listens.
    pub(crate) grpc: Address,
    /// The largest body it accepts.
    pub(crate) max_body: Size,
    /// How often heartbeats are sent.
    pub(crate) heartbeat: Span,
    /// The secret that bridges must know; without one everybody may connect.
    pub(crate) credentials: Secret,
}

/// A shared secret, kept out of logs and reports.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(pub(crate) String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "hidden" })
    }
}

fn address((host, port): (&str, u16)) -> Address {
    Address::tcp(host, port)
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("./leasebridge-data"),
            listen: address(LISTEN_DEFAULT),
            poison_queue_name: "poison".into(),
            drain_timeout: Span::from_secs(30),
            on_missing_route: OnMissingRoute::Refuse,
            queue: QueueConfig::default(),
            journal: JournalConfig::default(),
            routes: BTreeMap::from([("default".into(), RouteConfig::on_this_machine())]),
            receiver: ReceiverConfig::default(),
        }
    }
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            capacity: Count::new(1 << 20),
            lease: Span::from_secs(30),
            max_hold: Span::from_secs(3_600),
            max_retries: 5,
            max_in_doubt: 20,
            backoff_min: Span::from_millis(250),
            backoff_max: Span::from_secs(300),
            poison_capacity: Count::new(1 << 20),
            dedupe_window: Span::from_secs(24 * 3_600),
            dedupe_keys_max: Count::new(1_000_000),
        }
    }
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self {
            segment_size: Size::from_bytes(16 << 20),
            max_size: Size::from_bytes(8 << 30),
        }
    }
}

impl Default for RouteConfig {
    fn default() -> Self {
        Self {
            socket: None,
            grpc: None,
            window: Count::new(1_024),
            max_body: Size::from_bytes(1 << 20),
            on_lost_inbox: OnLostInbox::Redeliver,
            first_sign_of_life: Span::from_secs(3),
            heartbeat: Span::from_secs(5),
            credentials: Secret::default(),
        }
    }
}

impl RouteConfig {
    /// The route one gets without a file: the receiver of this machine.
    fn on_this_machine() -> Self {
        Self {
            socket: Some(address(SOCKET_DEFAULT)),
            grpc: Some(address(GRPC_DEFAULT)),
            ..Self::default()
        }
    }
}

impl Default for ReceiverConfig {
    fn default() -> Self {
        Self {
            socket: address(SOCKET_DEFAULT),
            grpc: address(GRPC_DEFAULT),
            max_body: Size::from_bytes(16 << 20),
            heartbeat: Span::from_secs(5),
            credentials: Secret::default(),
        }
    }
}

#[cfg(test)]
mod tests;
