//! Scenarios: what kind of runs there are to be. A scenario and a seed make a [`Plan`].
//!
//! A scenario says who is there, what producers and operators do, and which faults may come, mostly in ranges.
//! [`Scenario::draw`] takes every choice from the seed, through a stream of its own for each thing that is
//! drawn, so that switching one fault off leaves the draws of all others alone. How to write one is in
//! `docs/scenarios.md`; those that come with the project are in `scenarios/`.
//!
//! A scenario built in Rust starts from its default and sets fields:
//!
//! ```
//! use leasebridge_sim::scenario::{FaultRange, FaultTemplate, Percent, Scenario};
//! use leasebridge_sim::seed::Seed;
//!
//! let mut scenario = Scenario::new("crashes", "bridge and endpoint crash a few times");
//! scenario.workload.commands = 40.into();
//! let mut crash = FaultRange::new(FaultTemplate::Crash(Percent(90)));
//! crash.count = 3.into();
//! scenario.faults.push(crash);
//! scenario.check()?;
//! let plan = scenario.draw(Seed(42));
//! assert_eq!(plan.faults.len(), 3);
//! # Ok::<(), leasebridge_sim::scenario::RuleBroken>(())
//! ```

mod draw;
mod model;
mod read;
mod rules;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use model::{
    Act, BehaviourMix, Between, Bytes, DiskWhat, EndpointRange, FaultRange, FaultTemplate, Hosts,
    KnobRanges, MarkHarms, OperatorAct, Percent, RouteRange, Scalar, Shift, StepKind, StepRange,
    TopologyRange, Workload,
};
pub use read::{ScenarioError, Wrong};
pub use rules::{RuleBroken, Subject};

use crate::plan::{HostName, Invariant, Micros, Plan, Speed, Transports};
use crate::seed::Seed;

/// What kind of runs there are to be. See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Its name: that of its file without `.toml`.
    pub name: String,
    /// What it is about, in one line.
    pub summary: String,
    /// Which world runs it.
    pub speed: Speed,
    /// The step of simulated time.
    pub tick: Micros,
    /// How long operations and faults begin.
    pub duration: Micros,
    /// What must be reached after that.
    pub liveness: LivenessRange,
    /// Hosts and routes.
    pub topology: TopologyRange,
    /// What producers and operators do.
    pub workload: Workload,
    /// Product options and latencies.
    pub knobs: KnobRanges,
    /// What goes wrong.
    pub faults: Vec<FaultRange>,
    /// How seeds differ in what goes wrong.
    pub swarm: Swarm,
    /// Guarantees that the faults lift.
    pub lifts: Vec<Invariant>,
    /// Names of the coverage catalogue that its seeds together are expected to reach.
    pub expects: Vec<String>,
}

/// The liveness phase: its budget, and what of its core is given rather than drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LivenessRange {
    /// In what time nothing may be pending any more.
    pub budget: Micros,
    /// The bridge of the core; none: any.
    pub bridge: Option<HostName>,
    /// The endpoint of the core; none: any.
    pub endpoint: Option<HostName>,
    /// The transports that are healed; none: one of those that all routes to the endpoint have.
    pub transports: Option<Transports>,
}

/// How seeds differ. The default: every family is on in every seed, commands come in the given mix, and faults
/// come independently of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swarm {
    /// How likely each fault family is on, family by family.
    pub families: Percent,
    /// Whether each seed draws its own weights of behaviours, some of them zero.
    pub mix: bool,
    /// Bad moments of a run: half of the faults begin within the two seconds after one.
    pub moments: Between<u32>,
}

impl Scenario {
    /// Full speed, a minute, the default workload, and nothing that goes wrong.
    pub fn new(name: impl Into<String>, summary: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            summary: summary.into(),
            speed: Speed::Full,
            tick: Micros::from_millis(10),
            duration: Micros::from_secs(60),
            liveness: LivenessRange::default(),
            topology: TopologyRange::default(),
            workload: Workload::default(),
            knobs: KnobRanges::default(),
            faults: Vec::new(),
            swarm: Swarm::default(),
            lifts: Vec::new(),
            expects: Vec::new(),
        }
    }

    /// Reads a scenario's `text`; `file` is for its name and for messages.
    ///
    /// # Errors
    /// [`ScenarioError`] names the place, and the nearest valid name of what isn't known.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ScenarioError> {
        read::scenario(file, text)
    }

    /// Reads the scenario in `file`.
    ///
    /// # Errors
    /// As [`Scenario::parse`], and when the file can't be read.
    #[expect(
        clippy::disallowed_methods,
        reason = "scenarios are the simulator's own input, read before anything is simulated"
    )]
    pub fn load(file: &Path) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(file).map_err(|source| ScenarioError::Unreadable {
            file: file.to_owned(),
            source,
        })?;
        Self::parse(file, &text)
    }

    /// Checks what a file's text can't say wrong but a program can, and the rules of the fault model. What
    /// [`Scenario::parse`] returned has passed.
    ///
    /// # Errors
    /// [`RuleBroken`] says which rule, and what to do.
    pub fn check(&self) -> Result<(), RuleBroken> {
        rules::check(self)
    }

    /// The run of this seed, as data. The scenario must pass [`Scenario::check`].
    pub fn draw(&self, seed: Seed) -> Plan {
        draw::plan(self, seed)
    }
}

impl Default for LivenessRange {
    fn default() -> Self {
        Self {
            budget: Micros::from_secs(600),
            bridge: None,
            endpoint: None,
            transports: None,
        }
    }
}

impl Default for Swarm {
    fn default() -> Self {
        Self {
            families: Percent(100),
            mix: false,
            moments: 0.into(),
        }
    }
}
