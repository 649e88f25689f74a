//! A snapshot as JSON: what `leasebridge status --json` prints.
//!
//! The object of a route holds the queue's numbers and the bridge's side by side. Scripts read these names: one
//! that was ever printed keeps its place, and new ones are added.

use serde_json::{Map, Value, json};

use super::{QueueStatus, RouteStatus, Snapshot};
use crate::core::event::TransportKind;

impl Snapshot {
    /// Everything in it, by name.
    pub fn to_json(&self) -> Value {
        let Self {
            taken,
            process,
            listener,
            queue,
            bridge: _in_the_routes,
            receiver,
        } = self;
        let mut shown = object(json!(process));
        shown.extend(object(json!(taken)));
        if let Some(listener) = listener {
            shown.insert("listener".into(), json!(listener));
        }
        if let Some(queue) = queue {
            let QueueStatus {
                poison_queue_name,
                journal,
                routes,
                ..
            } = queue;
            let route = |route| self.route_to_json(route);
            shown.insert("poison_queue_name".into(), json!(poison_queue_name));
            shown.insert("routes".into(), routes.iter().map(route).collect());
            shown.insert("journal".into(), json!(journal));
            shown.insert("queue".into(), json!(queue));
        }
        if let Some(receiver) = receiver {
            shown.insert("receiver".into(), json!(receiver));
        }
        Value::Object(shown)
    }

    fn route_to_json(&self, route: &RouteStatus) -> Value {
        let mut shown = object(json!(route));
        let delivery = self.delivery(&route.route);
        for transport in [TransportKind::Socket, TransportKind::Grpc] {
            let link = delivery.and_then(|delivery| delivery.link(transport));
            let sent = link.map_or(0, |link| link.counts.sends);
            shown.insert(transport.as_str().into(), json!(link));
            shown.insert(format!("sent_{}_total", transport.as_str()), sent.into());
        }
        let breaker = delivery.map_or("", |delivery| delivery.breaker.as_str());
        shown.insert("breaker".into(), breaker.into());
        shown.insert("delivery".into(), json!(delivery));
        Value::Object(shown)
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => unreachable!("a struct becomes an object, not {other}"),
    }
}
