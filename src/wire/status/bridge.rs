//! What a bridge does on one route, and its links.

use super::some;
use crate::core::event::TransportKind;
use crate::observe::{BreakerState, BridgeRouteStatus, LinkCounts, LinkState, LinkStatus};
use crate::wire::v1;

impl From<&BridgeRouteStatus> for v1::RouteDelivery {
    fn from(delivery: &BridgeRouteStatus) -> Self {
        let BridgeRouteStatus {
            name: _in_the_route,
            open,
            in_flight,
            breaker,
            breaker_opened,
            links: _in_the_route_too,
            counts,
            compensations_abandoned,
            last_error,
        } = delivery;
        Self {
            open: *open,
            in_flight: *in_flight,
            breaker: Some(to_breaker(*breaker, *breaker_opened)),
            counts: Some((*counts).into()),
            compensations_abandoned_total: *compensations_abandoned,
            last_error: last_error.clone().unwrap_or_default(),
        }
    }
}

pub(super) fn from_delivery(
    name: String,
    links: Vec<LinkStatus>,
    delivery: v1::RouteDelivery,
) -> BridgeRouteStatus {
    let v1::RouteDelivery {
        open,
        in_flight,
        breaker,
        counts,
        compensations_abandoned_total,
        last_error,
    } = delivery;
    let (breaker, breaker_opened) = from_breaker(breaker.unwrap_or_default());
    BridgeRouteStatus {
        name,
        open,
        in_flight,
        breaker,
        breaker_opened,
        links,
        counts: counts.unwrap_or_default().into(),
        compensations_abandoned: compensations_abandoned_total,
        last_error: some(last_error),
    }
}

fn to_breaker(breaker: BreakerState, opened_total: u64) -> v1::Breaker {
    let state = breaker.as_str().to_owned();
    let (unanswered, for_ms, probe_in_ms) = match breaker {
        BreakerState::Closed { unanswered } => (unanswered, 0, 0),
        BreakerState::Open {
            for_ms,
            probe_in_ms,
        } => (0, for_ms, probe_in_ms),
        BreakerState::Probing { for_ms } => (0, for_ms, 0),
    };
    v1::Breaker {
        state,
        unanswered,
        for_ms,
        probe_in_ms,
        opened_total,
    }
}

fn from_breaker(breaker: v1::Breaker) -> (BreakerState, u64) {
    let v1::Breaker {
        state,
        unanswered,
        for_ms,
        probe_in_ms,
        opened_total,
    } = breaker;
    let breaker = match state.as_str() {
        "open" => BreakerState::Open {
            for_ms,
            probe_in_ms,
        },
        "probing" => BreakerState::Probing { for_ms },
        _ => BreakerState::Closed { unanswered },
    };
    (breaker, opened_total)
}

impl From<&LinkStatus> for v1::LinkStatus {
    fn from(link: &LinkStatus) -> Self {
        let LinkStatus {
            transport: _by_the_place,
            address,
            state,
            software,
            inbox_id,
            in_flight,
            breaker,
            breaker_opened,
            last_error,
            counts,
            first_sign_of_life,
        } = link;
        let (up_for_ms, again_in_ms) = match *state {
            LinkState::Up { for_ms } => (for_ms, 0),
            LinkState::Waiting { again_in_ms } => (0, again_in_ms),
            LinkState::Connecting | LinkState::Draining | LinkState::Closed => (0, 0),
        };
        Self {
            address: address.clone(),
            connected: state.is_connected(),
            breaker: breaker.as_str().into(),
            in_flight: *in_flight,
            last_error: last_error.clone().unwrap_or_default(),
            state: state.as_str().into(),
            up_for_ms,
            again_in_ms,
            software: software.clone().unwrap_or_default(),
            inbox_id: inbox_id.clone().unwrap_or_default(),
            breaker_detail: Some(to_breaker(*breaker, *breaker_opened)),
            counts: Some((*counts).into()),
            first_sign_of_life: Some(first_sign_of_life.into()),
        }
    }
}

/// `sent` is what an older bridge says of its counts.
pub(super) fn from_link(transport: TransportKind, link: v1::LinkStatus, sent: u64) -> LinkStatus {
    let v1::LinkStatus {
        address,
        connected,
        breaker,
        in_flight,
        last_error,
        state,
        up_for_ms,
        again_in_ms,
        software,
        inbox_id,
        breaker_detail,
        counts,
        first_sign_of_life,
    } = link;
    let (breaker, breaker_opened) = from_breaker(breaker_detail.unwrap_or(v1::Breaker {
        state: breaker,
        ..Default::default()
    }));
    let state = match state.as_str() {
        "connecting" => LinkState::Connecting,
        "draining" => LinkState::Draining,
        "closed" => LinkState::Closed,
        "up" => LinkState::Up { for_ms: up_for_ms },
        "" if connected => LinkState::Up { for_ms: up_for_ms },
        _ => LinkState::Waiting { again_in_ms },
    };
    LinkStatus {
        transport,
        address,
        state,
        software: some(software),
        inbox_id: some(inbox_id),
        in_flight,
        breaker,
        breaker_opened,
        last_error: some(last_error),
        counts: counts.map_or(
            LinkCounts {
                sends: sent,
                ..LinkCounts::default()
            },
            Into::into,
        ),
        first_sign_of_life: first_sign_of_life.unwrap_or_default().into(),
    }
}
