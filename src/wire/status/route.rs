//! One route: what the queue, and what the bridge knows of it.

use std::time::Duration;

use super::{bridge, millis};
use crate::core::event::TransportKind;
use crate::core::{LaneCounts, LaneTotals};
use crate::observe::{BridgeRouteStatus, LinkStatus, Rates, RouteShare, RouteStatus};
use crate::wire::v1;

pub(super) fn to_wire(
    route: &RouteStatus,
    delivery: Option<&BridgeRouteStatus>,
) -> v1::RouteStatus {
    let RouteStatus {
        route,
        counts:
            LaneCounts {
                ready,
                delayed,
                leased,
                poison,
            },
        totals,
        oldest_ready,
        rates,
        paused,
        live_bytes,
        share:
            RouteShare {
                tasks_guaranteed,
                tasks_max,
                poison_guaranteed,
                poison_max,
                bytes_guaranteed,
                bytes_max,
            },
        lease_to_settle,
    } = route;
    let LaneTotals {
        enqueued,
        granted,
        done,
        rejected,
        refused,
        unavailable,
        in_doubt,
        not_sent,
        released,
        poisoned,
        requeued,
    } = *totals;
    let link = |transport| delivery.and_then(|delivery| delivery.link(transport));
    let (socket, grpc) = (link(TransportKind::Socket), link(TransportKind::Grpc));
    let sent = |link: Option<&LinkStatus>| link.map_or(0, |link| link.counts.sends);
    v1::RouteStatus {
        route: route.clone(),
        ready: *ready,
        delayed: *delayed,
        leased: *leased,
        poison: *poison,
        oldest_ready_ms: millis(oldest_ready.unwrap_or_default()),
        enqueued_total: enqueued,
        granted_total: granted,
        done_total: done,
        rejected_total: rejected,
        refused_total: refused,
        unavailable_total: unavailable,
        in_doubt_total: in_doubt,
        not_sent_total: not_sent,
        released_total: released,
        poisoned_total: poisoned,
        requeued_total: requeued,
        enqueued_per_second: rates.enqueued,
        done_per_second: rates.done,
        paused: *paused,
        live_bytes: *live_bytes,
        tasks_guaranteed: *tasks_guaranteed,
        tasks_max: *tasks_max,
        poison_guaranteed: *poison_guaranteed,
        poison_max: *poison_max,
        bytes_guaranteed: *bytes_guaranteed,
        bytes_max: *bytes_max,
        lease_to_settle: Some(lease_to_settle.into()),
        breaker: delivery
            .map_or("", |delivery| delivery.breaker.as_str())
            .into(),
        sent_socket_total: sent(socket),
        sent_grpc_total: sent(grpc),
        socket: socket.map(Into::into),
        grpc: grpc.map(Into::into),
        delivery: delivery.map(Into::into),
    }
}

pub(super) fn from_wire(route: v1::RouteStatus) -> (RouteStatus, Option<BridgeRouteStatus>) {
    let v1::RouteStatus {
        route: name,
        ready,
        delayed,
        leased,
        poison,
        oldest_ready_ms,
        enqueued_total,
        granted_total,
        done_total,
        rejected_total,
        refused_total,
        unavailable_total,
        in_doubt_total,
        not_sent_total,
        released_total,
        poisoned_total,
        requeued_total,
        enqueued_per_second,
        done_per_second,
        paused,
        live_bytes,
        tasks_guaranteed,
        tasks_max,
        poison_guaranteed,
        poison_max,
        bytes_guaranteed,
        bytes_max,
        lease_to_settle,
        breaker,
        sent_socket_total,
        sent_grpc_total,
        socket,
        grpc,
        delivery,
    } = route;
    let links = [
        (TransportKind::Socket, socket, sent_socket_total),
        (TransportKind::Grpc, grpc, sent_grpc_total),
    ];
    let links = links
        .into_iter()
        .filter_map(|(transport, link, sent)| Some(bridge::from_link(transport, link?, sent)));
    // An older bridge says how the breaker is, and no more.
    let older = v1::RouteDelivery {
        breaker: Some(v1::Breaker {
            state: breaker.clone(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let delivery = delivery.or_else(|| (!breaker.is_empty()).then_some(older));
    let delivery =
        delivery.map(|delivery| bridge::from_delivery(name.clone(), links.collect(), delivery));
    let status = RouteStatus {
        route: name,
        counts: LaneCounts {
            ready,
            delayed,
            leased,
            poison,
        },
        totals: LaneTotals {
            enqueued: enqueued_total,
            granted: granted_total,
            done: done_total,
            rejected: rejected_total,
            refused: refused_total,
            unavailable: unavailable_total,
            in_doubt: in_doubt_total,
            not_sent: not_sent_total,
            released: released_total,
            poisoned: poisoned_total,
            requeued: requeued_total,
        },
        oldest_ready: (oldest_ready_ms > 0).then(|| Duration::from_millis(oldest_ready_ms)),
        rates: Rates {
            enqueued: enqueued_per_second,
            done: done_per_second,
        },
        paused,
        live_bytes,
        share: RouteShare {
            tasks_guaranteed,
            tasks_max,
            poison_guaranteed,
            poison_max,
            bytes_guaranteed,
            bytes_max,
        },
        lease_to_settle: lease_to_settle.unwrap_or_default().into(),
    };
    (status, delivery)
}
