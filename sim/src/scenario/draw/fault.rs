//! The faults of one run: lasting episodes, some of them close together.

use super::clash::{end, exclude};
use super::{happens, kind, pick};
use crate::plan::{Family, FaultId, FaultKind, FaultSpec, HostName, Micros, Topology};
use crate::scenario::{Between, FaultRange, Hosts, Scenario};
use crate::seed::{Draws, Seed};

/// All families, in the order in which swarm decides about them.
pub(in crate::scenario) const FAMILIES: [Family; 7] = [
    Family::Network,
    Family::Host,
    Family::Endpoint,
    Family::Disk,
    Family::Clock,
    Family::Points,
    Family::Strangers,
];

/// Faults of one family have numbers from the same hundred, so that a family switched off leaves the numbers
/// of the others, and with them what is drawn under those numbers while the plan runs, alone.
pub(in crate::scenario) const IDS_PER_FAMILY: u32 = 100;

/// How long after a bad moment the faults that belong to it begin.
const MOMENT: Micros = Micros::from_secs(2);

/// How often another time is tried for an episode that would overlap its like.
const TRIES: u32 = 8;

/// Draws all faults, in the order of their beginnings.
pub(super) fn draw(scenario: &Scenario, topology: &Topology, seed: Seed) -> Vec<FaultSpec> {
    let mut swarm = seed.draws("swarm");
    let on = FAMILIES.map(|_| happens(scenario.swarm.families, &mut swarm));
    let moments = moments(scenario, &mut seed.draws("schedule"));
    let mut faults = Vec::new();
    for ((family, on), first) in FAMILIES
        .into_iter()
        .zip(on)
        .zip((0..).step_by(IDS_PER_FAMILY as usize))
    {
        if on {
            let mut episodes = Episodes {
                scenario,
                topology,
                moments: &moments,
                drawn: Vec::new(),
                next: first + 1,
            };
            episodes.draw_family(family, seed);
            faults.append(&mut episodes.drawn);
        }
    }
    faults.sort_by_key(|fault| (fault.at, fault.id));
    faults
}

fn moments(scenario: &Scenario, draws: &mut Draws) -> Vec<Micros> {
    let at = usual_times(scenario);
    let count = scenario.swarm.moments.draw(draws);
    (0..count).map(|_| even(at, draws)).collect()
}

/// When faults begin unless their entry says otherwise: early enough to see them through, late enough that
/// there is something to lose.
fn usual_times(scenario: &Scenario) -> Between<Micros> {
    let twentieth = scenario.duration.0 / 20;
    Between::new(Micros(twentieth), Micros(17 * twentieth))
}

/// A time inside, all alike; [`Between::draw`] would prefer the ends.
fn even(range: Between<Micros>, draws: &mut Draws) -> Micros {
    Micros(range.min.0 + draws.below(range.max.0 - range.min.0 + 1))
}

struct Episodes<'a> {
    scenario: &'a Scenario,
    topology: &'a Topology,
    moments: &'a [Micros],
    drawn: Vec<FaultSpec>,
    next: u32,
}

impl Episodes<'_> {
    fn draw_family(&mut self, family: Family, seed: Seed) {
        let entries = self.scenario.faults.iter();
        let entries = entries.filter(|entry| entry.what.family() == family);
        let mut names: Vec<&str> = Vec::new();
        for entry in entries {
            let name = entry.what.name();
            let alike = names.iter().filter(|seen| **seen == name).count();
            names.push(name);
            let label = format!("{family:?} {name} {alike}");
            self.draw_entry(entry, &mut seed.draws(&label));
        }
    }

    /// One entry's episodes. The seed draws how many there are, how long the shortest of them may be, and
    /// whether they all strike the same hosts.
    fn draw_entry(&mut self, entry: &FaultRange, draws: &mut Draws) {
        let count = entry.count.draw(draws);
        let spans = entry.span.narrow(draws);
        let (one_place, place) = (draws.one_in(2), draws.next_u64());
        for _ in 0..count {
            let mut own = Seed(draws.next_u64()).draws("episode");
            let place = if one_place { place } else { own.next_u64() };
            let mut place = Seed(place).draws("place");
            let host = self.host(&entry.on, &mut place);
            let other = (!entry.to.is_empty()).then(|| self.host(&entry.to, &mut place));
            let kind = kind::draw(&entry.what, host, other, &mut own);
            let span = spans.draw(&mut own);
            if let Some(at) = self.free_time(entry, &kind, span, &mut own) {
                self.drawn.push(FaultSpec {
                    id: FaultId(self.next),
                    at,
                    span,
                    kind,
                });
                self.next += 1;
            }
        }
    }

    /// A beginning at which the episode overlaps none that it can't go together with; none if there seems to
    /// be no room.
    fn free_time(
        &self,
        entry: &FaultRange,
        kind: &FaultKind,
        span: Micros,
        draws: &mut Draws,
    ) -> Option<Micros> {
        let times = entry.at.unwrap_or_else(|| usual_times(self.scenario));
        for _ in 0..TRIES {
            let at = self.time(times, draws);
            let until = end(at, span, kind);
            let clashes = self.drawn.iter().any(|other| {
                let apart = until <= other.at || end(other.at, other.span, &other.kind) <= at;
                !apart && exclude(kind, &other.kind)
            });
            if !clashes {
                return Some(at);
            }
        }
        None
    }

    fn time(&self, times: Between<Micros>, draws: &mut Draws) -> Micros {
        let (near, late, at) = (
            draws.one_in(2),
            Micros(draws.below(MOMENT.0)),
            even(times, draws),
        );
        let moment = self.moments.get(draws.index(self.moments.len()));
        match moment {
            Some(moment) if near => moment.plus(late).clamp(times.min, times.max),
            _ => at,
        }
    }

    fn host(&self, choices: &[Hosts], draws: &mut Draws) -> HostName {
        let topology = self.topology;
        let hosts: Vec<&HostName> = choices
            .iter()
            .flat_map(|choice| match choice {
                Hosts::Named(host) => vec![host],
                Hosts::Bridges => topology.bridges.iter().collect(),
                Hosts::Endpoints => topology.endpoints.iter().map(|e| &e.host).collect(),
                Hosts::Producers => topology.producers.iter().collect(),
            })
            .collect();
        (*pick(&hosts, draws)).clone()
    }
}
