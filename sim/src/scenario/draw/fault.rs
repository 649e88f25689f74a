//! The faults of one run: lasting episodes, some of them close together.

use super::{happens, pick};
use crate::plan::{
    DiskFault, Family, FaultId, FaultKind, FaultSpec, HostName, Micros, NetFault, PeerFault,
    Topology,
};
use crate::scenario::{Between, DiskWhat, FaultRange, Hosts, Scenario, What};
use crate::seed::{Draws, Seed};

/// All families, in the order in which swarm decides about them.
pub(in crate::scenario) const FAMILIES: [Family; 6] = [
    Family::Network,
    Family::Host,
    Family::Endpoint,
    Family::Disk,
    Family::Clock,
    Family::Points,
];

/// Faults of one family have numbers from the same hundred, so that a family switched off leaves the numbers
/// of the others, and with them what is drawn under those numbers while the plan runs, alone.
pub(in crate::scenario) const IDS_PER_FAMILY: u32 = 100;

/// How long after a bad moment the faults that belong to it begin.
const MOMENT: Micros = Micros::from_secs(2);

/// How often another time is tried for an episode that would overlap its like.
const TRIES: u32 = 8;

/// How long a crash may wait for something to be in flight, and a process needs to be up again.
const STRIKE_AND_START: Micros = Micros::from_millis(1_500);

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
            let kind = self.kind(entry, place, &mut own);
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

    fn kind(&self, entry: &FaultRange, place: u64, draws: &mut Draws) -> FaultKind {
        let mut place = Seed(place).draws("place");
        let host = self.host(&entry.on, &mut place);
        if let Some(fault) = network(&entry.what, draws) {
            let b = self.host(&entry.to, &mut place);
            return FaultKind::Network { a: host, b, fault };
        }
        match &entry.what {
            What::Crash(in_flight) => FaultKind::Crash {
                host,
                in_flight: happens(*in_flight, draws),
            },
            What::PowerCut(in_flight) => FaultKind::PowerCut {
                host,
                in_flight: happens(*in_flight, draws),
            },
            What::Pause => FaultKind::Pause { host },
            What::Slow(delay) => FaultKind::Slow {
                host,
                delay: delay.draw(draws),
            },
            What::Drain => FaultKind::Drain { host },
            What::Peer(fault) => FaultKind::Endpoint {
                host,
                fault: fault.clone(),
            },
            What::AnswersLate(delay) => FaultKind::Endpoint {
                host,
                fault: PeerFault::AnswersLate {
                    delay: delay.draw(draws),
                },
            },
            What::Disk {
                kind,
                one_in,
                times,
            } => FaultKind::Disk {
                host,
                fault: disk(*kind, draws),
                one_in: one_in.draw(draws),
                times: times.draw(draws),
            },
            What::Drift(ppm) => FaultKind::Drift {
                host,
                ppm: ppm.draw(draws),
            },
            What::Jump(by) => FaultKind::Jump {
                host,
                ms: by.draw(draws).0,
            },
            What::Point { points, one_in } => FaultKind::Point {
                host,
                point: pick(points, draws).clone(),
                one_in: one_in.draw(draws),
            },
            network => unreachable!("`{}` was drawn above", network.name()),
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

fn network(what: &What, draws: &mut Draws) -> Option<NetFault> {
    Some(match what {
        What::Partition(ways) => NetFault::Partition {
            ways: *pick(ways, draws),
        },
        What::Hold => NetFault::Hold,
        What::Latency(range) => {
            let range = range.narrow(draws);
            NetFault::Latency {
                min: range.min,
                max: range.max,
            }
        }
        What::Loss(one_in) => NetFault::Loss {
            one_in: one_in.draw(draws),
        },
        What::SlowLink(bytes) => NetFault::SlowLink {
            bytes_per_s: u32::try_from(bytes.draw(draws).0).unwrap_or(u32::MAX),
        },
        What::Reset(bytes) => NetFault::Reset {
            after_bytes: u32::try_from(bytes.draw(draws).0).unwrap_or(u32::MAX),
        },
        What::AcceptThenSilence => NetFault::AcceptThenSilence,
        What::ConnectHangs => NetFault::ConnectHangs,
        What::SwallowsPings => NetFault::SwallowsPings,
        What::ReconnectStorm(every) => NetFault::ReconnectStorm {
            every: every.draw(draws),
        },
        _ => return None,
    })
}

fn disk(kind: DiskWhat, draws: &mut Draws) -> DiskFault {
    match kind {
        DiskWhat::TornWrite => DiskFault::TornWrite,
        DiskWhat::ShortWrite => DiskFault::ShortWrite,
        DiskWhat::SyncError => DiskFault::SyncError,
        DiskWhat::SyncLies => DiskFault::SyncLies,
        DiskWhat::ReadError => DiskFault::ReadError,
        DiskWhat::WriteError => DiskFault::WriteError,
        DiskWhat::NoSpace(percent) => DiskFault::NoSpace {
            percent: percent.draw(draws),
        },
        DiskWhat::BitFlip => DiskFault::BitFlip,
        DiskWhat::MisdirectedWrite => DiskFault::MisdirectedWrite,
        DiskWhat::SlowSync(range) => {
            let range = range.narrow(draws);
            DiskFault::SlowSync {
                min: range.min,
                max: range.max,
            }
        }
        DiskWhat::LostEntry => DiskFault::LostEntry,
    }
}

/// When an episode is over for sure.
fn end(at: Micros, span: Micros, kind: &FaultKind) -> Micros {
    match kind {
        FaultKind::Crash { .. } | FaultKind::PowerCut { .. } | FaultKind::Drain { .. } => {
            at.plus(span).plus(STRIKE_AND_START)
        }
        _ => at.plus(span),
    }
}

/// Whether two episodes can't be on at once: the same kind on the same hosts, two that need the same process
/// alive, two that decide whether messages pass, two that end a journal's life.
pub(in crate::scenario) fn exclude(one: &FaultKind, other: &FaultKind) -> bool {
    let same_hosts = {
        let (mut one, mut other) = (one.hosts(), other.hosts());
        one.sort_unstable();
        other.sort_unstable();
        one == other
    };
    same_hosts && sort(one) == sort(other)
}

/// What an episode occupies on its hosts.
fn sort(kind: &FaultKind) -> String {
    match kind {
        FaultKind::Crash { .. }
        | FaultKind::PowerCut { .. }
        | FaultKind::Pause { .. }
        | FaultKind::Drain { .. } => "process".to_owned(),
        FaultKind::Network {
            fault: NetFault::Partition { .. } | NetFault::Hold,
            ..
        } => "passage".to_owned(),
        FaultKind::Network { fault, .. } => format!("network {:?}", std::mem::discriminant(fault)),
        FaultKind::Endpoint { fault, .. } => format!("peer {:?}", std::mem::discriminant(fault)),
        FaultKind::Disk {
            fault:
                DiskFault::TornWrite
                | DiskFault::ShortWrite
                | DiskFault::WriteError
                | DiskFault::SyncError,
            ..
        } => "journal's life".to_owned(),
        FaultKind::Disk { fault, .. } => format!("disk {:?}", std::mem::discriminant(fault)),
        FaultKind::Point { point, .. } => format!("point {point}"),
        kind => format!("{:?}", std::mem::discriminant(kind)),
    }
}
