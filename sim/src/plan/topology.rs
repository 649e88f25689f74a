//! Hosts, routes and product options of a run.

use serde::{Deserialize, Serialize};

use super::{HostName, Micros};

/// Who is there. Every bridge has a queue of its own, every route one endpoint.
///
/// In the core world the bridges are queues with a model as the holder of leases; producers and endpoints
/// exist as names in the history only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// Hosts that enqueue, over gRPC.
    pub producers: Vec<HostName>,
    /// Hosts with a queue and a bridge. Each serves all routes.
    pub bridges: Vec<HostName>,
    /// Hosts that execute.
    pub endpoints: Vec<EndpointSpec>,
    /// The routes, in the order of their definition.
    pub routes: Vec<RouteSpec>,
}

/// One endpoint host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointSpec {
    /// The host it runs on.
    pub host: HostName,
    /// What it remembers over a crash.
    pub inbox: Inbox,
    /// Handlers at once.
    pub handlers: u32,
    /// Commands it lets be under way on one connection.
    #[serde(default = "in_flight_default")]
    pub in_flight: u32,
}

/// The product's own limit.
pub(crate) fn in_flight_default() -> u32 {
    1_024
}

/// What an endpoint's inbox keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Inbox {
    /// In memory: a crash loses it.
    Memory,
    /// On its disk, with `recover` (the product's `FileStore`).
    File,
    /// As `File`, but `recover` can't say what became of an execution that a crash cut off: it is refused.
    Blind,
    /// Effect and record in one durable write (the product's `EffectFile`).
    Effect,
}

/// A route and the endpoint it leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSpec {
    /// Its name, in the queue and in histories.
    pub name: String,
    /// The endpoint it leads to.
    pub endpoint: HostName,
    /// Which transports it has.
    pub transports: Transports,
    /// What a bridge does when the inbox that knows has lost its memory.
    pub on_lost_inbox: OnLost,
}

/// Which transports there are, or may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transports {
    /// Socket first, gRPC as the fallback.
    Both,
    /// The framed socket alone.
    Socket,
    /// gRPC, and no socket.
    Grpc,
}

/// See the product's `OnLostInbox`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnLost {
    /// Deliver again: may be executed twice.
    Redeliver,
    /// To poison, for a person.
    Hold,
}

/// Options of the product and of the network, drawn per run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Knobs {
    /// How long a lease lasts unless it is extended.
    pub lease: Micros,
    /// How long a lease may be held in all.
    pub max_hold: Micros,
    /// Budget of rejections.
    pub max_retries: u16,
    /// Budget of charged doubts.
    pub max_in_doubt: u16,
    /// First and last ceiling of the backoff.
    pub backoff: [Micros; 2],
    /// Bytes of a journal segment.
    pub segment_bytes: u32,
    /// Bytes of all segments of a queue.
    pub log_bytes_max: u64,
    /// Bytes of bodies kept in memory.
    pub cache_bytes: u64,
    /// Pending tasks a queue takes.
    pub capacity: u64,
    /// Deliveries in flight per route; 1 is a batch of one.
    pub window: u32,
    /// The dedupe window.
    pub key_window: Micros,
    /// Heartbeat interval of both sides.
    pub heartbeat: Micros,
    /// Shortest and longest latency of a message between two hosts.
    pub latency: [Micros; 2],
    /// The waits after rejections; none: they are as after doubts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedule: Vec<Micros>,
    /// How old a task may get; none: any age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Micros>,
    /// What lies between each bridge and each endpoint; none: the network carries whatever is sent at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<LineSpec>,
}

/// A line between two hosts, for the whole of a run: a shape of the world, and no fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineSpec {
    /// What it carries a second, each way.
    pub bytes_per_s: u32,
    /// How long a byte takes from end to end.
    pub delay: Micros,
}

/// The liveness phase: the workload has stopped, a core that ought to work is healed, every other fault
/// that is on then stays for ever, and everything pending must be gone within the budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LivenessSpec {
    /// In what time nothing may be pending any more.
    pub budget: Micros,
    /// The bridge of the core.
    pub bridge: HostName,
    /// The endpoint of the core; tasks of routes to others may stay.
    pub endpoint: HostName,
    /// The transports that are healed.
    pub transports: Transports,
}
