//! Who is there, with what may be drawn about them.

use super::Between;
use crate::plan::{HostName, Inbox, OnLost, Transports, in_flight_default};

/// Hosts and routes. Start from the default: one producer, one bridge, one endpoint, one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyRange {
    /// Hosts that enqueue.
    pub producers: Vec<HostName>,
    /// Hosts with a queue and a bridge.
    pub bridges: Vec<HostName>,
    /// Hosts that execute.
    pub endpoints: Vec<EndpointRange>,
    /// Where commands can go.
    pub routes: Vec<RouteRange>,
}

/// An endpoint and what may be drawn of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointRange {
    /// The host it runs on.
    pub host: HostName,
    /// What it remembers: one of these.
    pub inbox: Vec<Inbox>,
    /// Handlers at once.
    pub handlers: Between<u32>,
    /// Commands it lets be under way on one connection.
    pub in_flight: Between<u32>,
}

/// A route and what may be drawn of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRange {
    /// Its name, in the queue and in histories.
    pub name: String,
    /// Where it leads.
    pub endpoint: HostName,
    /// Which transports it has: one of these.
    pub transports: Vec<Transports>,
    /// What a bridge does when the inbox that knows has lost its memory: one of these.
    pub on_lost_inbox: Vec<OnLost>,
}

impl EndpointRange {
    /// With an exact inbox and sixteen handlers.
    pub fn new(host: impl Into<HostName>) -> Self {
        Self {
            host: host.into(),
            inbox: vec![Inbox::Effect],
            handlers: Between::only(16),
            in_flight: Between::only(in_flight_default()),
        }
    }
}

impl RouteRange {
    /// Over both transports.
    pub fn new(name: impl Into<String>, endpoint: impl Into<HostName>) -> Self {
        Self {
            name: name.into(),
            endpoint: endpoint.into(),
            transports: vec![Transports::Both],
            on_lost_inbox: vec![OnLost::Redeliver],
        }
    }
}

impl Default for TopologyRange {
    fn default() -> Self {
        Self {
            producers: vec!["producer".into()],
            bridges: vec!["bridge".into()],
            endpoints: vec![EndpointRange::new("endpoint")],
            routes: vec![RouteRange::new("orders", "endpoint")],
        }
    }
}
