//! One run: a plan in, what happened and what the oracle made of it out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::history::Record;
use crate::oracle::{self, Class, Rules, Verdict};
use crate::plan::{FaultId, Micros, Plan, Speed};
pub use crate::ran::Ran;
use crate::{core_loop, full};

/// A run and its verdict.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunOutcome {
    /// The plan that was run.
    pub plan: Plan,
    /// What happened, in its order.
    pub records: Vec<Record>,
    /// What the oracle found.
    pub verdict: Verdict,
    /// Simulated time at the end.
    pub simulated: Micros,
    /// Sites of the product's coverage catalogue that were reached, and how often.
    pub reached: BTreeMap<String, u64>,
    /// Faults that changed an outcome, and how often.
    pub struck: BTreeMap<FaultId, u64>,
    /// The panic that ended the run, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub panic: Option<String>,
}

impl RunOutcome {
    /// How the run ended.
    pub fn class(&self) -> Class {
        if self.panic.is_some() {
            return Class::Panic;
        }
        self.verdict.class()
    }
}

/// Runs a plan in the world of its speed and judges what happened.
///
/// The full stack is the same for the same plan only in a process that ran nothing before it.
pub fn run(plan: Plan) -> RunOutcome {
    let ran = played(&plan);
    judged(plan, ran)
}

/// Runs a plan and judges nothing yet.
pub fn played(plan: &Plan) -> Ran {
    match plan.speed {
        Speed::Core => core_loop::run(plan),
        Speed::Full => full::run(plan),
    }
}

/// A run with what the oracle says of it.
pub fn judged(plan: Plan, ran: Ran) -> RunOutcome {
    let verdict = oracle::judge(&ran.records, &Rules::of_plan(&plan));
    let mut outcome = unjudged(plan, ran);
    outcome.verdict = verdict;
    outcome
}

/// A run of which nothing can be said: it did not come to its end.
pub fn unjudged(plan: Plan, ran: Ran) -> RunOutcome {
    RunOutcome {
        plan,
        records: ran.records,
        verdict: Verdict::default(),
        simulated: ran.simulated,
        reached: ran.reached,
        struck: ran.struck,
        panic: ran.panic,
    }
}
