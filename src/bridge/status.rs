//! What a bridge shows of itself.

use super::breaker::BreakerState;
use super::counters::{LinkCounts, RouteCounts};
use crate::core::event::TransportKind;
use crate::env::{Address, Mono};
use crate::wire::InboxId;

/// What a bridge shows of itself, route by route.
#[derive(Clone, Debug)]
pub struct BridgeStatus {
    /// In the order of the options.
    pub routes: Vec<BridgeRouteStatus>,
}

/// One route.
#[derive(Clone, Debug)]
pub struct BridgeRouteStatus {
    /// Its name.
    pub name: String,
    /// Whether it takes leases: some link is up, its breaker doesn't forbid it, nobody drains it.
    pub open: bool,
    /// Commands that are being delivered or settled.
    pub in_flight: usize,
    /// Its breaker.
    pub breaker: BreakerState,
    /// How often its breaker has opened.
    pub breaker_opened: u64,
    /// Its links, the socket first.
    pub links: Vec<LinkStatus>,
    /// What became of its leases.
    pub counts: RouteCounts,
    /// Compensations that were forgotten when the bridge was torn down half-way.
    pub compensations_abandoned: u64,
    /// The last thing that went wrong with a delivery.
    pub last_error: Option<String>,
}

/// The link of a route over one transport.
#[derive(Clone, Debug)]
pub struct LinkStatus {
    /// Which transport.
    pub transport: TransportKind,
    /// Where to.
    pub address: Address,
    /// How it is.
    pub state: LinkState,
    /// What the endpoint calls itself.
    pub software: Option<String>,
    /// The memory of the endpoint's inbox.
    pub inbox_id: Option<InboxId>,
    /// Sends without an answer.
    pub in_flight: usize,
    /// Its breaker.
    pub breaker: BreakerState,
    /// How often its breaker has opened.
    pub breaker_opened: u64,
    /// Why the last link ended or didn't come up.
    pub last_error: Option<String>,
    /// What happened on it, over all reconnects.
    pub counts: LinkCounts,
}

/// How a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// A connect or the exchange of `Hello` is under way.
    Connecting,
    /// It takes commands.
    Up {
        /// Since when.
        since: Mono,
    },
    /// It takes nothing new; what is in flight is finished.
    Draining,
    /// It is connected again after a while.
    Waiting {
        /// Until when.
        until: Mono,
    },
    /// It was closed and stays so.
    Closed,
}
