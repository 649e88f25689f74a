//! What the seeds of one scenario came to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use leasebridge_sim::oracle::{Class, Invariant};
use leasebridge_sim::plan::{Family, Micros};
use leasebridge_sim::scenario::Scenario;

use crate::pool::PlanAnswer;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// The scenario's name.
    pub(crate) scenario: String,
    /// Seeds that ran.
    pub(crate) seeds: u64,
    /// Simulated time of all of them.
    pub(crate) simulated: Micros,
    /// Processor time that they took.
    pub(crate) cpu: Duration,
    /// Faults of all plans that were run, by family.
    pub(crate) faults: BTreeMap<Family, u64>,
    /// Those of them that changed an outcome.
    pub(crate) struck: u64,
    /// How often each invariant had something to check.
    pub(crate) checks: BTreeMap<Invariant, u64>,
    /// How often each site was reached.
    pub(crate) reached: BTreeMap<String, u64>,
    /// Sites that the scenario expects to reach.
    pub(crate) expects: BTreeSet<String>,
    /// How many seeds failed, by class.
    pub(crate) failures: BTreeMap<Class, u64>,
}

impl Tally {
    /// Of a scenario before its first seed.
    pub(crate) fn of(scenario: &Scenario) -> Self {
        Self {
            scenario: scenario.name.clone(),
            expects: scenario.expects.iter().cloned().collect(),
            ..Self::default()
        }
    }

    /// Counts one seed.
    pub(crate) fn add(&mut self, answer: &PlanAnswer) {
        let outcome = &answer.outcome;
        self.seeds += 1;
        self.simulated = self.simulated.plus(outcome.simulated);
        self.cpu = self.cpu.saturating_add(answer.cpu);
        for fault in &outcome.plan.faults {
            *self.faults.entry(fault.kind.family()).or_default() += 1;
        }
        self.struck += outcome.struck.len() as u64;
        for (invariant, count) in &outcome.verdict.checks {
            *self.checks.entry(*invariant).or_default() += count;
        }
        for (site, count) in &outcome.reached {
            *self.reached.entry(site.clone()).or_default() += count;
        }
        if answer.class() != Class::Pass {
            *self.failures.entry(answer.class()).or_default() += 1;
        }
    }

    /// Sites that were expected and never reached.
    pub(crate) fn missed(&self) -> impl Iterator<Item = &str> {
        let missed = self
            .expects
            .iter()
            .filter(|site| !self.reached.contains_key(*site));
        missed.map(String::as_str)
    }
}
