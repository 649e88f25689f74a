//! What a parent and its children say to each other: one request on stdin, then one reply a line on stdout.

use std::collections::BTreeMap;
use std::path::PathBuf;

use leasebridge_sim::history::Record;
use leasebridge_sim::oracle::Verdict;
use leasebridge_sim::plan::{FaultId, Micros, Plan};
use leasebridge_sim::run::RunOutcome;
use serde::{Deserialize, Serialize};

/// The variable of the environment that names the bug which a child of a build with defects turns on.
#[cfg(leasebridge_planted)]
pub(crate) const CHOSEN: &str = "LEASEBRIDGE_SIM_PLANTED";

/// Which records a child sends back. They are most of what there is to say, and rarely wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Keep {
    /// No records: the reply holds verdict, counts and prints.
    #[default]
    Nothing,
    /// Those of runs that did not pass.
    Failures,
    /// Those of every run.
    Everything,
}

/// How closely a child listens to the tracing of what it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Listen {
    /// Not at all.
    #[default]
    Off,
    /// Every event of every target goes into a print.
    Prints,
    /// Likewise, and the lines of one target are written to a file.
    Lines {
        /// The target of tracing whose lines are kept, with all below it.
        target: String,
        /// The file that they are appended to.
        file: PathBuf,
    },
}

/// What a child is asked to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ChildRequest {
    /// What it runs, one after the other.
    pub(crate) plans: Vec<Plan>,
    /// What it sends back.
    pub(crate) keep: Keep,
    /// What it listens to.
    pub(crate) listen: Listen,
    /// Every record is also written here the moment it is made: what is left of a run that never ends.
    pub(crate) mirror: Option<PathBuf>,
}

/// What a child says of one plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ChildReply {
    /// What the oracle found.
    verdict: Verdict,
    /// Simulated time at the end.
    simulated: Micros,
    /// Sites that were reached.
    reached: BTreeMap<String, u64>,
    /// Faults that changed an outcome.
    struck: BTreeMap<FaultId, u64>,
    /// The panic that ended it.
    panic: Option<String>,
    /// What happened, as far as it was asked for.
    records: Vec<Record>,
    /// What tracing and records came to, if the child listened.
    pub(crate) prints: Option<Prints>,
    /// Microseconds of processor time since the reply before, or since the child's start.
    pub(crate) cpu_us: u64,
}

impl ChildReply {
    /// What there is to say of `outcome`, but for the time it took.
    pub(crate) fn new(outcome: RunOutcome, keep: Keep, prints: Option<Prints>) -> Self {
        let passed = outcome.class() == leasebridge_sim::oracle::Class::Pass;
        let wanted = match keep {
            Keep::Nothing => false,
            Keep::Failures => !passed,
            Keep::Everything => true,
        };
        let records = if wanted { outcome.records } else { Vec::new() };
        Self {
            verdict: outcome.verdict,
            simulated: outcome.simulated,
            reached: outcome.reached,
            struck: outcome.struck,
            panic: outcome.panic,
            records,
            prints,
            cpu_us: 0,
        }
    }

    /// The outcome of `plan`, which the parent still has.
    pub(crate) fn into_outcome(self, plan: Plan) -> RunOutcome {
        RunOutcome {
            plan,
            records: self.records,
            verdict: self.verdict,
            simulated: self.simulated,
            reached: self.reached,
            struck: self.struck,
            panic: self.panic,
        }
    }
}

/// What a run looked like from the outside, small enough to compare.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Prints {
    /// Per tracing target: how many lines, and a hash over them.
    pub(crate) targets: BTreeMap<String, Print>,
    /// How many records, and a hash over them.
    pub(crate) records: Print,
    /// Likewise over everything else that the run came to.
    pub(crate) rest: Print,
}

/// So many lines, and a hash over them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Print {
    /// How many lines were hashed.
    pub(crate) lines: u64,
    /// The hash, in hexadecimal digits.
    pub(crate) hash: String,
}
