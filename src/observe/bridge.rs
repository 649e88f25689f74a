//! A bridge at one moment: what its routes do with the leases they take, and their links.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::counts::counts;
use super::distribution::Distribution;
use crate::core::event::TransportKind;

/// A bridge, route by route.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BridgeStatus {
    /// In the order of its options.
    pub routes: Vec<BridgeRouteStatus>,
}

/// One route of a bridge.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BridgeRouteStatus {
    /// The route's name.
    #[serde(skip)]
    pub name: String,
    /// Whether it takes leases: some link is up, its breaker doesn't forbid it, nobody drains it.
    pub open: bool,
    /// Commands that are being delivered or settled.
    pub in_flight: u64,
    /// The route's breaker, which says whether anything is leased.
    #[serde(flatten)]
    pub breaker: BreakerState,
    /// How often its breaker has opened.
    #[serde(rename = "breaker_opened_total")]
    pub breaker_opened: u64,
    /// Its links, the socket first.
    #[serde(skip)]
    pub links: Vec<LinkStatus>,
    /// What became of its leases.
    #[serde(flatten)]
    pub counts: RouteCounts,
    /// Compensations that were forgotten when the bridge was torn down half-way.
    #[serde(rename = "compensations_abandoned_total")]
    pub compensations_abandoned: u64,
    /// The last thing that went wrong with a delivery.
    #[serde(serialize_with = "text_or_empty")]
    pub last_error: Option<String>,
}

impl BridgeRouteStatus {
    /// Its link over one transport, if it has one.
    pub fn link(&self, transport: TransportKind) -> Option<&LinkStatus> {
        self.links.iter().find(|link| link.transport == transport)
    }
}

counts! {
    /// What became of the leases of one route, as its bridge counts. The queue counts too what others settle.
    RouteCounts {
        /// Leases whose command the endpoint executed.
        done,
        /// The endpoint answered no.
        rejected,
        /// Refused for good, by the endpoint or by a limit here.
        refused,
        /// The endpoint answered: not now.
        unavailable,
        /// Sent, and no definite answer came.
        in_doubt,
        /// Certainly never reached the endpoint.
        not_sent,
        /// Given back before any send.
        released,
        /// Held for a person because the inbox that knew was lost.
        held,
        /// Leases that were lost while they were being delivered.
        lost,
        /// Settlements that the queue didn't take.
        settle_failures,
        /// Deliveries that went on over gRPC after the socket left them in doubt.
        fallbacks_in_doubt,
        /// Deliveries that went over gRPC because the socket took none.
        fallbacks_not_sent,
        /// Compensations that went wrong.
        compensation_failures,
        /// Finished tasks announced to the endpoint.
        announced,
        /// Deliveries that panicked; each is also counted as in doubt.
        panicked,
    }
}

/// The link of a route over one transport.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LinkStatus {
    /// Socket or gRPC; a route has at most one link of each.
    #[serde(skip)]
    pub transport: TransportKind,
    /// The endpoint's address.
    pub address: String,
    /// How it is.
    #[serde(flatten)]
    pub state: LinkState,
    /// What the endpoint calls itself.
    pub software: Option<String>,
    /// The memory of the endpoint's inbox.
    pub inbox_id: Option<String>,
    /// Sends without an answer.
    pub in_flight: u64,
    /// The link's breaker, which says whether sends prefer the other transport.
    #[serde(flatten)]
    pub breaker: BreakerState,
    /// How often its breaker has opened.
    #[serde(rename = "breaker_opened_total")]
    pub breaker_opened: u64,
    /// Why the last link ended or didn't come up.
    #[serde(serialize_with = "text_or_empty")]
    pub last_error: Option<String>,
    /// What happened on it, over all reconnects.
    #[serde(flatten)]
    pub counts: LinkCounts,
    /// From the start of a send to the first word of the endpoint about it: *working*, or an answer.
    pub first_sign_of_life: Distribution,
}

counts! {
    /// What happened on the links of one route over one transport, over all reconnects.
    LinkCounts {
        /// Links that came up.
        connects,
        /// Connects, or exchanges of `Hello`, that failed.
        connect_failures,
        /// Commands queued for sending; those withdrawn before they left are not taken off.
        sends,
        /// Answers to commands that somebody waited for.
        replies,
        /// Answers that came after their waiter had gone.
        late_replies,
        /// Answers to what was never asked, or was answered before.
        unknown_replies,
        /// Links closed because the endpoint broke the protocol.
        violations,
        /// Links that died of missed heartbeats.
        heartbeat_deaths,
        /// Rollbacks asked for.
        rollbacks,
        /// Rollbacks that got no answer in time.
        rollbacks_unanswered,
    }
}

/// A breaker at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything passes; answers are counted.
    Closed {
        /// How many went unanswered in a row.
        unanswered: u32,
    },
    /// Nothing passes before the probe is due.
    Open {
        /// How long it has been open, in milliseconds.
        for_ms: u64,
        /// When the next probe is due, in milliseconds from now.
        probe_in_ms: u64,
    },
    /// One probe is under way.
    Probing {
        /// How long it has been open, in milliseconds.
        for_ms: u64,
    },
}

impl BreakerState {
    /// For people and machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::Open { .. } => "open",
            Self::Probing { .. } => "probing",
        }
    }
}

impl Default for BreakerState {
    fn default() -> Self {
        Self::Closed { unanswered: 0 }
    }
}

impl Serialize for BreakerState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shown = serializer.serialize_map(None)?;
        shown.serialize_entry("breaker", self.as_str())?;
        match self {
            Self::Closed { unanswered } => {
                shown.serialize_entry("breaker_unanswered", unanswered)?
            }
            Self::Open {
                for_ms,
                probe_in_ms,
            } => {
                shown.serialize_entry("breaker_for_ms", for_ms)?;
                shown.serialize_entry("breaker_probe_in_ms", probe_in_ms)?;
            }
            Self::Probing { for_ms } => shown.serialize_entry("breaker_for_ms", for_ms)?,
        }
        shown.end()
    }
}

/// How a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// A connect or the exchange of `Hello` is under way.
    Connecting,
    /// It takes commands.
    Up {
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// It takes nothing new; what is in flight is finished.
    Draining,
    /// It is connected again after a while.
    Waiting {
        /// When, in milliseconds from now.
        again_in_ms: u64,
    },
    /// It was closed and stays so.
    Closed,
}

impl LinkState {
    /// For people and machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Up { .. } => "up",
            Self::Draining => "draining",
            Self::Waiting { .. } => "waiting",
            Self::Closed => "closed",
        }
    }

    /// Whether there is a connection.
    pub fn is_connected(self) -> bool {
        matches!(self, Self::Up { .. } | Self::Draining)
    }
}

impl Serialize for LinkState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shown = serializer.serialize_map(None)?;
        shown.serialize_entry("state", self.as_str())?;
        shown.serialize_entry("connected", &self.is_connected())?;
        match self {
            Self::Up { for_ms } => shown.serialize_entry("up_for_ms", for_ms)?,
            Self::Waiting { again_in_ms } => shown.serialize_entry("again_in_ms", again_in_ms)?,
            Self::Connecting | Self::Draining | Self::Closed => {}
        }
        shown.end()
    }
}

/// Empty for none, as it always was.
fn text_or_empty<S: Serializer>(text: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text.as_deref().unwrap_or_default())
}
