//! The configuration: a TOML text, every key of which has a default, and what it comes to.
//!
//! Without one a program keeps its log in `./leasebridge-data`, listens for producers and operators on
//! 127.0.0.1:7410 and delivers the route `default` to a receiver on this machine. A key nobody knows, a
//! limit of zero or an address that is none is refused before anything is started; [`ConfigError`] says
//! where it stands and what is allowed.
//!
//! ```
//! use std::path::Path;
//!
//! let text = r#"
//!     data = "/var/lib/leasebridge"
//!     [queue]
//!     lease = "1m"
//!     [routes.lamps]
//!     socket = "lamps.example:7420"
//! "#;
//! let config = leasebridge::config::parse(Path::new("leasebridge.toml"), text)?;
//! assert_eq!(config.queue.lease.to_string(), "1m");
//!
//! let wrong = leasebridge::config::parse(Path::new("leasebridge.toml"), "[queue]\ncapasity = 3\n");
//! let error = wrong.unwrap_err();
//! assert_eq!((error.key(), error.place()), ("queue.capasity", Some((2, 1))));
//! assert!(error.problem().contains("did you mean `capacity`?"));
//! # Ok::<(), leasebridge::config::ConfigError>(())
//! ```
//!
//! A [`Config`] can be made by hand as well: [`Config::default`], then its fields. [`parse`] checks ranges
//! that [`Config::node_options`] takes over as they are; what is made by hand is checked by the queue and the
//! bridge when they start.

// Numbers of others are added up here.
#![warn(clippy::arithmetic_side_effects)]

mod backoff;
mod check;
mod error;
mod open;
mod options;
mod units;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::bridge::OnLostInbox;
use crate::env::Address;
use crate::node::OnMissingRoute;
use error::ConfigText;

pub use backoff::Backoff;
pub use error::ConfigError;
pub use open::{bridge_open, receiver_open};
pub use units::{Count, Size, Span, UnitError};

/// Where producers and operators find the bridge unless told otherwise.
pub const LISTEN_DEFAULT: (&str, u16) = ("127.0.0.1", 7410);

/// Where an endpoint's socket is unless told otherwise.
pub const SOCKET_DEFAULT: (&str, u16) = ("127.0.0.1", 7420);

/// Where an endpoint's gRPC is unless told otherwise.
pub const GRPC_DEFAULT: (&str, u16) = ("127.0.0.1", 7421);

/// Everything that can be configured.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder of the journal.
    pub data: PathBuf,
    /// Where ingest and admin gRPC listen.
    pub listen: Address,
    /// The name under which the poison store is reported.
    pub poison_queue_name: String,
    /// How long a drain waits for what is in flight.
    pub drain_timeout: Span,
    /// What to do with tasks whose route is not configured.
    pub on_missing_route: OnMissingRoute,
    /// The queue's limits and budgets.
    pub queue: QueueConfig,
    /// The log on disk.
    pub journal: JournalConfig,
    /// Where commands go. One route, `default`, if none is configured.
    pub routes: BTreeMap<String, RouteConfig>,
    /// For `leasebridge receiver`.
    pub receiver: ReceiverConfig,
}

/// The table `[queue]`: what waits, how long leases last, what retries may cost.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueConfig {
    /// Tasks that may wait or be in flight; beyond it enqueues are refused or wait.
    pub capacity: Count,
    /// How long a lease lasts unless it is extended.
    pub lease: Span,
    /// How long a lease may be held in all.
    pub max_hold: Span,
    /// Retries after a rejected attempt; zero is allowed.
    pub max_retries: u16,
    /// Retries after a charged in-doubt attempt; zero is allowed.
    pub max_in_doubt: u16,
    /// How long a task waits after a rejection: a schedule, or exponential.
    pub backoff: Backoff,
    /// First ceiling of the exponential backoff.
    pub backoff_min: Span,
    /// Last ceiling of it, and the longest that an endpoint may ask to be spared.
    pub backoff_max: Span,
    /// How old a task may get. Left out: any age.
    pub max_age: Option<Span>,
    /// Tasks in poison from which on enqueues are refused.
    pub poison_capacity: Count,
    /// The part of both and of the log, in percent, that is guaranteed to the routes, to each as much.
    pub guaranteed_percent: u8,
    /// How long an idempotency key is remembered.
    pub dedupe_window: Span,
    /// How many keys of finished tasks are remembered.
    pub dedupe_keys_max: Count,
    /// By how much the wall clock may have moved while the bridge was away.
    pub clock_jump_max: Span,
}

/// The table `[journal]`: how large the log may become.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JournalConfig {
    /// Bytes of one segment.
    pub segment_size: Size,
    /// Bytes all segments together may take.
    pub max_size: Size,
    /// Whether a start without a log in `data` is refused.
    pub require_existing: bool,
}

/// A table `[routes.NAME]`: where one route's endpoint is, and how it is talked to.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouteConfig {
    /// The endpoint's socket. Left out: this route is delivered by gRPC alone.
    pub socket: Option<Address>,
    /// The endpoint's gRPC. Left out: this route has no fallback.
    pub grpc: Option<Address>,
    /// Commands in flight at once.
    pub window: Count,
    /// Bytes of commands on their way over one link, until the endpoint is known to have received them.
    pub window_bytes: Size,
    /// The largest body this route takes.
    pub max_body: Size,
    /// What to do with a command in doubt when the endpoint's inbox has lost its memory.
    pub on_lost_inbox: OnLostInbox,
    /// How long the socket waits for a command's first sign of life before gRPC is tried.
    pub first_sign_of_life: Span,
    /// How often heartbeats are sent.
    pub heartbeat: Span,
    /// The secret that the endpoint wants.
    pub credentials: Secret,
    /// Retries after a rejected attempt. Left out: the queue's.
    pub max_retries: Option<u16>,
    /// Retries after a charged in-doubt attempt. Left out: the queue's.
    pub max_in_doubt: Option<u16>,
    /// How long a task waits after a rejection. Left out: as the queue says.
    pub backoff: Option<Backoff>,
    /// How old a task may get. Left out: as the queue says.
    pub max_age: Option<Span>,
    /// Tasks that may wait or be in flight. Left out: what the others leave.
    pub capacity: Option<Count>,
    /// Tasks in poison from which on its enqueues are refused. Left out: what the others leave.
    pub poison_capacity: Option<Count>,
    /// What its tasks may take of the log. Left out: what the others leave.
    pub max_size: Option<Size>,
}

/// The table `[receiver]`: what `leasebridge receiver` listens on and executes.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReceiverConfig {
    /// Where the framed socket listens.
    pub socket: Address,
    /// Where gRPC listens.
    pub grpc: Address,
    /// The largest body it accepts.
    pub max_body: Size,
    /// How often heartbeats are sent.
    pub heartbeat: Span,
    /// The secret that bridges must know; without one everybody may connect.
    pub credentials: Secret,
}

/// A shared secret, kept out of logs and reports.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "hidden" })
    }
}

/// Reads the configuration `text`. `file` is the name that a refusal gives to it; no file is opened.
///
/// # Errors
/// [`ConfigError`] with the first thing in it that is not allowed.
pub fn parse(file: &Path, text: &str) -> Result<Config, ConfigError> {
    let source = ConfigText::new(file, text);
    let config: Config = toml::from_str(text).map_err(|error| source.refused(&error))?;
    check::check(&config, &source)?;
    Ok(config)
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
            drain_timeout: Span::from_secs(20),
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
            backoff: Backoff::default(),
            backoff_min: Span::from_millis(250),
            backoff_max: Span::from_secs(300),
            max_age: None,
            poison_capacity: Count::new(1 << 20),
            guaranteed_percent: 50,
            dedupe_window: Span::from_secs(24 * 3_600),
            dedupe_keys_max: Count::new(1_000_000),
            clock_jump_max: Span::from_secs(90 * 24 * 3_600),
        }
    }
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self {
            segment_size: Size::from_bytes(16 << 20),
            max_size: Size::from_bytes(8 << 30),
            require_existing: false,
        }
    }
}

impl Default for RouteConfig {
    fn default() -> Self {
        Self {
            socket: None,
            grpc: None,
            window: Count::new(1_024),
            window_bytes: Size::from_bytes(4 << 20),
            max_body: Size::from_bytes(1 << 20),
            on_lost_inbox: OnLostInbox::Redeliver,
            first_sign_of_life: Span::from_secs(3),
            heartbeat: Span::from_secs(5),
            credentials: Secret::default(),
            max_retries: None,
            max_in_doubt: None,
            backoff: None,
            max_age: None,
            capacity: None,
            poison_capacity: None,
            max_size: None,
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
