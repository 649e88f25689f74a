//! What strangers cost those whom they visit, as gauges: who is connected and what is held for requests while they are
//! there, and that nothing of it is left when they are gone.

use leasebridge::observe::ListenerStatus;

use super::seat::Seat;
use super::shared::Shared;
use super::world::World;
use crate::history::What;

/// Connections that a bridge may have to an endpoint over one transport, or a producer to a bridge: one that ends and
/// one that begins.
const OF_EACH: usize = 2;

/// A process listens with these.
pub(super) fn show(shared: &Shared, seat: &Seat, listeners: Vec<ListenerStatus>) {
    if shared.only_strangers() {
        for listener in &listeners {
            for (name, value, limit) in [
                ("listener", listener.connections, listener.connections_max),
                (
                    "request_bytes",
                    listener.request_bytes,
                    listener.request_bytes_max,
                ),
            ] {
                let name = name.into();
                shared.record(&seat.name, What::Gauge { name, value, limit });
            }
        }
    }
    seat.show_listeners(listeners);
}

impl World<'_> {
    /// Says what is left of strangers that are gone: the honest ones' connections alone, no byte of a request, and no
    /// memory of what never was.
    pub(super) fn tell_listeners(&self) {
        let topology = &self.plan.topology;
        let links = topology.bridges.len() * topology.routes.len() * OF_EACH;
        let producers = topology.producers.len() * OF_EACH;
        let endpoints = topology.endpoints.iter().map(|spec| (&spec.host, links));
        let bridges = topology.bridges.iter().map(|name| (name, producers));
        for (host, connections_max) in endpoints.chain(bridges) {
            let gauge = |name: &'static str, value, limit| {
                let name = name.into();
                self.record_of(host, What::Gauge { name, value, limit });
            };
            for listener in self.shared.seat(host).listeners() {
                gauge(
                    "connections_left",
                    listener.connections,
                    connections_max as u64,
                );
                gauge("request_bytes_left", listener.request_bytes, 0);
            }
        }
        if let Some((value, limit)) = self.inbox() {
            let name = "inbox_entries".into();
            let endpoint = &self.plan.liveness.endpoint;
            self.record_of(endpoint, What::Gauge { name, value, limit });
        }
    }
}
