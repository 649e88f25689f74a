//! The bridge's links as the services show them.

use std::collections::BTreeMap;

use crate::bridge::{BreakerState, BridgeStatus, LinkState, LinkStatus};
use crate::core::event::TransportKind;
use crate::server::RouteLinks;
use crate::wire::v1;

/// By the name of their route.
pub(super) fn of(status: &BridgeStatus) -> BTreeMap<String, RouteLinks> {
    let mut routes = BTreeMap::new();
    for route in &status.routes {
        let mut shown = RouteLinks {
            breaker: breaker(route.breaker).into(),
            ..RouteLinks::default()
        };
        for link in &route.links {
            let (place, sent) = match link.transport {
                TransportKind::Socket => (&mut shown.socket, &mut shown.sent_socket),
                TransportKind::Grpc => (&mut shown.grpc, &mut shown.sent_grpc),
            };
            *sent = link.counts.sends;
            *place = Some(status_of(link));
        }
        routes.insert(route.name.clone(), shown);
    }
    routes
}

fn status_of(link: &LinkStatus) -> v1::LinkStatus {
    v1::LinkStatus {
        address: link.address.to_string(),
        connected: matches!(link.state, LinkState::Up { .. } | LinkState::Draining),
        breaker: breaker(link.breaker).into(),
        in_flight: link.in_flight as u64,
        last_error: link.last_error.clone().unwrap_or_default(),
    }
}

fn breaker(state: BreakerState) -> &'static str {
    match state {
        BreakerState::Closed { .. } => "closed",
        BreakerState::Open { .. } => "open",
        BreakerState::Probing { .. } => "probing",
    }
}
