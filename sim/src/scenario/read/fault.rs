//! `[[fault]]`.

use leasebridge::env::Point;

use super::section::{Field, Section};
use super::{SHARE, ScenarioError};
use crate::plan::{Family, HostName, Micros, PeerFault, Ways};
use crate::scenario::{
    Between, Bytes, DiskWhat, FaultRange, Hosts, Percent, Scenario, Shift, What,
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
fn kinds() -> Vec<(&'static str, What)> {
    let both = vec![Ways::Both, Ways::AToB, Ways::BToA];
    let once = |kind| What::Disk {
        kind,
        one_in: Between::new(1, 50),
        times: Between::only(1),
    };
    let while_on = |kind, one_in| What::Disk {
        kind,
        one_in,
        times: Between::only(0),
    };
    let always = Between::only(1);
    let kinds = [
        What::Partition(both),
        What::Hold,
        What::Latency(millis(50, 2_000)),
        What::Loss(Between::new(20, 500)),
        What::SlowLink(Between::new(Bytes::kib(1), Bytes::kib(64))),
        What::Reset(Between::new(Bytes(1), Bytes::kib(2))),
        What::AcceptThenSilence,
        What::ConnectHangs,
        What::SwallowsPings,
        What::ReconnectStorm(millis(200, 2_000)),
        What::Crash(IN_FLIGHT),
        What::PowerCut(IN_FLIGHT),
        What::Pause,
        What::Slow(millis(5, 200)),
        What::Drain,
        What::Peer(PeerFault::Rejects),
        What::Peer(PeerFault::Refuses),
        What::Peer(PeerFault::NeverAnswers),
        What::Peer(PeerFault::AnswersTwice),
        What::AnswersLate(millis(100, 15_000)),
        What::Peer(PeerFault::WrongDeliveryId),
        What::Peer(PeerFault::TalksGarbage),
        What::TakesLate(millis(100, 15_000)),
        What::Peer(PeerFault::BeatsButDoesNotWork),
        What::Peer(PeerFault::WorksButDoesNotBeat),
        once(DiskWhat::TornWrite),
        once(DiskWhat::ShortWrite),
        once(DiskWhat::SyncError),
        once(DiskWhat::WriteError),
        once(DiskWhat::MisdirectedWrite),
        once(DiskWhat::BitFlip),
        once(DiskWhat::LostEntry),
        while_on(DiskWhat::SyncLies, Between::new(1, 4)),
        while_on(DiskWhat::NoSpace(Between::new(20, 90)), always),
        while_on(DiskWhat::SlowSync(millis(5, 500)), always),
        What::Disk {
            kind: DiskWhat::ReadError,
            one_in: Between::new(2, 20),
            times: Between::new(1, 5),
        },
        What::Drift(Between::new(-500, 500)),
        What::Jump(Between::new(Shift(-60_000), Shift(60_000))),
        What::Point {
            points: Vec::new(),
            one_in: Between::new(2, 50),
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
fn parameters(section: &Section<'_>, what: What) -> Result<What, ScenarioError> {
    let any_time = Between::new(Micros(0), Micros::from_secs(3_600));
    Ok(match what {
        What::Partition(default) => {
            let names = [
                ("both", Ways::Both),
                ("a_to_b", Ways::AToB),
                ("b_to_a", Ways::BToA),
            ];
            let ways = section.get("ways").map(|f| f.choices("way", &names));
            What::Partition(ways.transpose()?.unwrap_or(default))
        }
        What::Latency(default) => What::Latency(section.range("latency", any_time, default)?),
        What::Loss(default) => What::Loss(section.range("one_in", ONE_IN, default)?),
        What::SlowLink(default) => {
            let allowed = Between::new(Bytes(1), Bytes::kib(1 << 20));
            What::SlowLink(section.range("bytes_per_s", allowed, default)?)
        }
        What::Reset(default) => {
            let allowed = Between::new(Bytes(0), Bytes::kib(1 << 10));
            What::Reset(section.range("after", allowed, default)?)
        }
        What::ReconnectStorm(default) => {
            let allowed = millis(10, 3_600_000);
            What::ReconnectStorm(section.range("every", allowed, default)?)
        }
        What::Crash(default) => What::Crash(section.one("in_flight", SHARE, default)?),
        What::PowerCut(default) => What::PowerCut(section.one("in_flight", SHARE, default)?),
        What::Slow(default) => What::Slow(section.range("delay", any_time, default)?),
        What::AnswersLate(default) => What::AnswersLate(section.range("delay", any_time, default)?),
        What::TakesLate(default) => What::TakesLate(section.range("delay", any_time, default)?),
        What::Disk {
            kind,
            one_in,
            times,
        } => disk(section, kind, one_in, times)?,
        What::Drift(default) => {
            let allowed = Between::new(-100_000, 100_000);
            What::Drift(section.range("ppm", allowed, default)?)
        }
        What::Jump(default) => {
            let day = 86_400_000;
            let allowed = Between::new(Shift(-day), Shift(day));
            What::Jump(section.range("by", allowed, default)?)
        }
        What::Point { one_in, .. } => What::Point {
            points: points(section)?,
            one_in: section.range("one_in", PASSES, one_in)?,
        },
        plain => plain,
    })
}

fn disk(
    section: &Section<'_>,
    kind: DiskWhat,
    one_in: Between<u32>,
    times: Between<u32>,
) -> Result<What, ScenarioError> {
    let kind = match kind {
        DiskWhat::NoSpace(default) => {
            DiskWhat::NoSpace(section.range("percent", Between::new(1, 100), default)?)
        }
        DiskWhat::SlowSync(default) => {
            let allowed = Between::new(Micros(0), Micros::from_secs(60));
            DiskWhat::SlowSync(section.range("delay", allowed, default)?)
        }
        plain => plain,
    };
    Ok(What::Disk {
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
