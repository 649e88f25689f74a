//! Whether an exploration looked at anything: green must mean something.

use leasebridge_sim::oracle::Invariant;
use leasebridge_sim::report::verdict::name;
use leasebridge_sim::scenario::Scenario;

use super::tally::Tally;
use super::{ExplorationEnd, Explored};

/// So many seeds of a scenario must reach all that it expects. Fewer say nothing.
const SEEDS_MIN: u64 = 100;
/// So many seeds over all scenarios must reach the whole catalogue.
const SEEDS_OF_ALL_MIN: u64 = 5_000;

/// What every run has to check, whatever its scenario.
const ALWAYS_CHECKED: [Invariant; 5] = [
    Invariant::NothingLost,
    Invariant::CountsAddUp,
    Invariant::OneLiveLease,
    Invariant::AckMeansExecuted,
    Invariant::Liveness,
];

/// What was never looked at, a line each. `all` says that `scenarios` are all there are.
pub(crate) fn holes(explored: &Explored, scenarios: &[Scenario], all: bool) -> Vec<String> {
    if explored.end != ExplorationEnd::All {
        return Vec::new();
    }
    let mut holes = Vec::new();
    for (tally, scenario) in explored.tallies.iter().zip(scenarios) {
        if tally.seeds >= SEEDS_MIN {
            let missed = tally
                .missed()
                .map(|site| format!("{}: `{site}` was never reached", tally.scenario));
            holes.extend(missed);
        }
        let wanted = ALWAYS_CHECKED
            .iter()
            .filter(|wanted| !scenario.lifts.contains(wanted));
        let unchecked = wanted.filter(|wanted| idle(tally, **wanted));
        holes.extend(unchecked.map(|wanted| {
            format!(
                "{}: {} never had anything to check",
                tally.scenario,
                name(wanted)
            )
        }));
    }
    let seeds: u64 = explored.tallies.iter().map(|tally| tally.seeds).sum();
    // Scenarios that share the time differ in their numbers: none may have had so few that they say nothing.
    let each_had_enough = explored
        .tallies
        .iter()
        .all(|tally| tally.seeds >= SEEDS_MIN);
    if all && each_had_enough && seeds >= SEEDS_OF_ALL_MIN {
        holes.extend(
            never_reached(&explored.tallies).map(|site| format!("no scenario reached `{site}`")),
        );
    }
    holes
}

/// Whether some seed of a scenario came to a good end, and none had anything to check.
fn idle(tally: &Tally, invariant: Invariant) -> bool {
    let ended = tally.seeds > tally.failures.values().sum();
    ended && tally.checks.get(&invariant).is_none_or(|count| *count == 0)
}

/// Sites of the product's catalogue that nobody reached.
pub(crate) fn never_reached(tallies: &[Tally]) -> impl Iterator<Item = &'static str> {
    let names = leasebridge::coverage::SITES.iter().map(|site| site.name());
    names.filter(|name| {
        !tallies
            .iter()
            .any(|tally| tally.reached.contains_key(*name))
    })
}
