//! Reads `[[fault]]`: one kind of fault, and the ranges it is drawn from.

use leasebridge::env::Point;

use super::section::{Field, Section};
use super::{SHARE, ScenarioError};
use crate::plan::{Family, Greed, HostName, MarkHarm, Micros, PeerFault, Ways};
use crate::scenario::{
    Between, Bytes, DiskWhat, FaultRange, FaultTemplate, Hosts, MarkHarms, Percent, Scenario, Shift,
};

/// Episodes of one entry.
const COUNT: Between<u32> = Between::new(0, 60);

/// How long one may last.
const SPAN: Between<Micros> = Between::new(Micros(0), Micros::from_secs(86_400));

/// One in so many.
const ONE_IN: Between<u32> = Between::new(1, 1_000_000);

/// One in so many passes, for points: what is done early at every pass may cause the next one, and so never end.
const PASSES: Between<u32> = Between::new(2, 1_000_000);

/// Crashes are ten times likelier while something is in flight than out of the blue.
const IN_FLIGHT: Percent = Percent(91);

const fn millis(min: u64, max: u64) -> Between<Micros> {
    Between::new(Micros::from_millis(min), Micros::from_millis(max))
}

/// Every kind with its default parameters.
fn kinds() -> Vec<(&'static str, FaultTemplate)> {
    let both = vec![Ways::Both, Ways::AToB, Ways::BToA];
    let once = |kind| FaultTemplate::Disk {
        kind,
        one_in: Between::new(1, 50),
        times: Between::only(1),
    };
    let while_on = |kind, one_in| FaultTemplate::Disk {
        kind,
        one_in,
        times: Between::only(0),
    };
    let always = Between::only(1);
    let kinds = [
        FaultTemplate::Partition(both),
        FaultTemplate::Hold,
        FaultTemplate::Latency(millis(50, 2_000)),
        FaultTemplate::Loss(Between::new(20, 500)),
        FaultTemplate::SlowLink(Between::new(Bytes::kib(1), Bytes::kib(64))),
        FaultTemplate::Reset(Between::new(Bytes(1), Bytes::kib(2))),
        FaultTemplate::AcceptThenSilence,
        FaultTemplate::ConnectHangs,
        FaultTemplate::SwallowsPings,
        FaultTemplate::ReconnectStorm(millis(200, 2_000)),
        FaultTemplate::Crash(IN_FLIGHT),
        FaultTemplate::PowerCut(IN_FLIGHT),
        FaultTemplate::Pause,
        FaultTemplate::Slow(millis(5, 200)),
        FaultTemplate::Drain,
        FaultTemplate::RenewLinks,
        FaultTemplate::Peer(PeerFault::Rejects),
        FaultTemplate::Peer(PeerFault::Refuses),
        FaultTemplate::Peer(PeerFault::NeverAnswers),
        FaultTemplate::Peer(PeerFault::AnswersTwice),
        FaultTemplate::AnswersLate(millis(100, 15_000)),
        FaultTemplate::Peer(PeerFault::WrongDeliveryId),
        FaultTemplate::Peer(PeerFault::TalksGarbage),
        FaultTemplate::TakesLate(millis(100, 15_000)),
        FaultTemplate::Peer(PeerFault::BeatsButDoesNotWork),
        FaultTemplate::Peer(PeerFault::WorksButDoesNotBeat),
        once(DiskWhat::TornWrite),
        once(DiskWhat::ShortWrite),
        once(DiskWhat::SyncError),
        once(DiskWhat::WriteError),
        once(DiskWhat::MisdirectedWrite),
        once(DiskWhat::BitFlip),
        once(DiskWhat::LostEntry),
        once(DiskWhat::FolderReplaced),
        once(DiskWhat::MarkHurt(MarkHarms::of(&MarkHarm::ALL))),
        while_on(DiskWhat::SyncLies, Between::new(1, 4)),
        while_on(DiskWhat::NoSpace(Between::new(20, 90)), always),
        while_on(DiskWhat::NoFiles, always),
        while_on(DiskWhat::SlowSync(millis(5, 500)), always),
        FaultTemplate::Disk {
            kind: DiskWhat::ReadError,
            one_in: Between::new(2, 20),
            times: Between::new(1, 5),
        },
        FaultTemplate::Drift(Between::new(-500, 500)),
        FaultTemplate::Jump(Between::new(Shift(-60_000), Shift(60_000))),
        FaultTemplate::Point {
            points: Vec::new(),
            one_in: Between::new(2, 50),
        },
        FaultTemplate::Stranger {
            greed: Greed::ALL.into(),
            connections: Between::new(1, 40),
        },
    ];
    kinds.map(|what| (what.name(), what)).into()
}

/// Reads every entry.
pub(super) fn read(
    field: &Field<'_>,
    scenario: &Scenario,
) -> Result<Vec<FaultRange>, ScenarioError> {
    let entries = field.items();
    let kinds = kinds();
    let read = entries.iter().map(|entry| {
        let section = entry.section()?;
        let what = section.need("kind")?.choice("fault", &kinds)?;
        let mut fault = FaultRange::new(parameters(&section, what)?);
        hosts(&section, &mut fault, scenario)?;
        fault.count = section.range("count", COUNT, fault.count)?;
        let time = Between::new(Micros(0), scenario.duration);
        fault.at = section.get("at").map(|f| f.range(time)).transpose()?;
        if !fault.what.is_instant() {
            fault.span = section.range("span", SPAN, fault.span)?;
        }
        section.finish()?;
        Ok(fault)
    });
    read.collect()
}

/// The kind with the parameters that the entry gives.
fn parameters(section: &Section<'_>, what: FaultTemplate) -> Result<FaultTemplate, ScenarioError> {
    let any_time = Between::new(Micros(0), Micros::from_secs(3_600));
    Ok(match what {
        FaultTemplate::Partition(default) => {
            let names = [
                ("both", Ways::Both),
                ("a_to_b", Ways::AToB),
                ("b_to_a", Ways::BToA),
            ];
            let ways = section.get("ways").map(|f| f.choices("way", &names));
            FaultTemplate::Partition(ways.transpose()?.unwrap_or(default))
        }
        FaultTemplate::Latency(default) => {
            FaultTemplate::Latency(section.range("latency", any_time, default)?)
        }
        FaultTemplate::Loss(default) => {
            FaultTemplate::Loss(section.range("one_in", ONE_IN, default)?)
        }
        FaultTemplate::SlowLink(default) => {
            let allowed = Between::new(Bytes(1), Bytes::kib(1 << 20));
            FaultTemplate::SlowLink(section.range("bytes_per_s", allowed, default)?)
        }
        FaultTemplate::Reset(default) => {
            let allowed = Between::new(Bytes(0), Bytes::kib(1 << 10));
            FaultTemplate::Reset(section.range("after", allowed, default)?)
        }
        FaultTemplate::ReconnectStorm(default) => {
            let allowed = millis(10, 3_600_000);
            FaultTemplate::ReconnectStorm(section.range("every", allowed, default)?)
        }
        FaultTemplate::Crash(default) => {
            FaultTemplate::Crash(section.one("in_flight", SHARE, default)?)
        }
        FaultTemplate::PowerCut(default) => {
            FaultTemplate::PowerCut(section.one("in_flight", SHARE, default)?)
        }
        FaultTemplate::Slow(default) => {
            FaultTemplate::Slow(section.range("delay", any_time, default)?)
        }
        FaultTemplate::AnswersLate(default) => {
            FaultTemplate::AnswersLate(section.range("delay", any_time, default)?)
        }
        FaultTemplate::TakesLate(default) => {
            FaultTemplate::TakesLate(section.range("delay", any_time, default)?)
        }
        FaultTemplate::Disk {
            kind,
            one_in,
            times,
        } => disk(section, kind, one_in, times)?,
        FaultTemplate::Drift(default) => {
            let allowed = Between::new(-100_000, 100_000);
            FaultTemplate::Drift(section.range("ppm", allowed, default)?)
        }
        FaultTemplate::Jump(default) => {
            let century = 100 * 365 * 86_400_000;
            let allowed = Between::new(Shift(-century), Shift(century));
            FaultTemplate::Jump(section.range("by", allowed, default)?)
        }
        FaultTemplate::Point { one_in, .. } => FaultTemplate::Point {
            points: points(section)?,
            one_in: section.range("one_in", PASSES, one_in)?,
        },
        FaultTemplate::Stranger { greed, connections } => {
            let names = Greed::ALL.map(|greed| (greed.name(), greed));
            let chosen = section.get("greed").map(|f| f.choices("greed", &names));
            FaultTemplate::Stranger {
                greed: chosen.transpose()?.unwrap_or(greed),
                connections: section.range("connections", Between::new(1, 200), connections)?,
            }
        }
        plain => plain,
    })
}

fn disk(
    section: &Section<'_>,
    kind: DiskWhat,
    one_in: Between<u32>,
    times: Between<u32>,
) -> Result<FaultTemplate, ScenarioError> {
    let kind = match kind {
        DiskWhat::NoSpace(default) => {
            DiskWhat::NoSpace(section.range("percent", Between::new(1, 100), default)?)
        }
        DiskWhat::SlowSync(default) => {
            let allowed = Between::new(Micros(0), Micros::from_secs(60));
            DiskWhat::SlowSync(section.range("delay", allowed, default)?)
        }
        DiskWhat::MarkHurt(default) => {
            let names = MarkHarm::ALL.map(|harm| (harm.name(), harm));
            let chosen = section.get("how").map(|f| f.choices("harm", &names));
            let chosen = chosen.transpose()?;
            DiskWhat::MarkHurt(chosen.map_or(default, |chosen| MarkHarms::of(&chosen)))
        }
        plain => plain,
    };
    Ok(FaultTemplate::Disk {
        kind,
        one_in: section.range("one_in", ONE_IN, one_in)?,
        times: section.range("times", Between::new(0, 1_000), times)?,
    })
}

/// The points that the entry names, or all there are.
fn points(section: &Section<'_>) -> Result<Vec<String>, ScenarioError> {
    let names = Point::ALL.map(|point| (point.name(), point.name().to_owned()));
    match section.get("point") {
        Some(field) => field.choices("point", &names),
        None => Ok(names.map(|(_, name)| name).into()),
    }
}

/// Where the entry's episodes strike.
fn hosts(
    section: &Section<'_>,
    fault: &mut FaultRange,
    scenario: &Scenario,
) -> Result<(), ScenarioError> {
    let choices = choices(scenario);
    if fault.what.family() == Family::Network {
        if let Some(field) = section.get("between") {
            let [a, b] = field.items().try_into().map_err(|_| {
                field.wrong("a network fault lies between two: `[\"bridges\", \"endpoints\"]`")
            })?;
            fault.on = a.choices("host", &choices)?;
            fault.to = b.choices("host", &choices)?;
        }
    } else if let Some(field) = section.get("host") {
        fault.on = field.choices("host", &choices)?;
    }
    Ok(())
}

/// What a host can be called.
fn choices(scenario: &Scenario) -> Vec<(&str, Hosts)> {
    let topology = &scenario.topology;
    let endpoints = topology.endpoints.iter().map(|e| &e.host);
    let named = |host: &'_ HostName| Hosts::Named(host.clone());
    let hosts = topology.bridges.iter().chain(endpoints);
    let hosts = hosts.chain(&topology.producers);
    let mut choices: Vec<(&str, Hosts)> = hosts.map(|h| (&*h.0, named(h))).collect();
    choices.push(("bridges", Hosts::Bridges));
    choices.push(("endpoints", Hosts::Endpoints));
    choices.push(("producers", Hosts::Producers));
    choices
}
