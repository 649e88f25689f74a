//! A run's whole schedule as data: operations and faults with their times, drawn before anything runs.
//!
//! A plan is printed, saved, replayed and shrunk as a file, and both worlds (the core loop and the
//! full stack) run the same one. Nothing in it refers to a random draw: what it says happens. Only
//! choices below its resolution (latencies within their range, where a torn write tears) are drawn while
//! it runs, each from a stream of the plan's seed named after what it belongs to, so that removing one
//! fault or operation leaves the draws of all the others alone.

mod fault;
mod invariant;
mod op;
mod text;
mod time;
mod topology;

use serde::{Deserialize, Serialize};

pub use fault::{
    DiskFault, Family, FaultKind, FaultSpec, Greed, MarkHarm, NetFault, PeerFault, Ways,
};
pub use invariant::Invariant;
/// What plans and histories name alike. A plan's hosts are simulated machines; shrinking keeps the numbers of operations
/// and faults, so that a story stays the same.
pub use leasebridge::history::{FaultId, HostName, OpId};
pub use op::{Behaviour, MOVED, OpKind, OpSpec, Step};
pub use text::PlanError;
pub use time::Micros;
pub(crate) use topology::in_flight_default;
pub use topology::{
    EndpointSpec, Inbox, Knobs, LineSpec, LivenessSpec, OnLost, RouteSpec, Topology, Transports,
};

use crate::seed::Seed;

/// The version of the plan's text. Another one is refused, plainly.
pub const PLAN_FORMAT: u32 = 1;

/// The host that strangers connect from, where there are any.
pub const STRANGER: &str = "stranger";

/// Which world runs a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speed {
    /// The queue alone (core, journal, files, engine) on a simulated disk, its holder played by a
    /// model; time jumps to the next event.
    Core,
    /// Everything: producers over gRPC, bridges, both transports, receivers, inside turmoil.
    Full,
}

/// Everything that will happen. See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The format it is written in: [`PLAN_FORMAT`], or it is refused.
    pub format: u32,
    /// The scenario's name: its file's name without `.toml`.
    pub scenario: String,
    /// With the scenario and the commit, the run's identity.
    pub seed: Seed,
    /// The world it runs in: the core alone, or full hosts with a network between them.
    pub speed: Speed,
    /// The step of simulated time; it changes behaviour, so it is part of the identity.
    pub tick: Micros,
    /// Until when operations and faults begin; then the liveness phase starts.
    pub duration: Micros,
    /// What must be reached after that, and in what time.
    pub liveness: LivenessSpec,
    /// Hosts and routes.
    pub topology: Topology,
    /// Product options and link latencies of this run.
    pub knobs: Knobs,
    /// Guarantees that the injected faults lift; nothing else is lifted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lifts: Vec<Invariant>,
    /// Names from the coverage catalogue that the scenario expects to reach over all its seeds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expects: Vec<String>,
    /// In the order of their times.
    #[serde(default)]
    pub ops: Vec<OpSpec>,
    /// In the order of their beginnings.
    #[serde(default)]
    pub faults: Vec<FaultSpec>,
}
