//! Scenario files: TOML in, a [`Scenario`] or a precise complaint out.
//!
//! Read by hand rather than through serde, because every value is a range with a unit and bounds, and whatever
//! is wrong is to be pointed at with the nearest valid name.

mod error;
mod fault;
mod knobs;
mod section;
#[cfg(test)]
mod tests;
mod topology;
mod workload;

use std::path::Path;

use leasebridge::coverage::SITES;
use toml::de::DeTable;

pub use error::{ScenarioError, Wrong};

use super::rules::Subject;
use super::{Between, LivenessRange, Percent, Scenario, Swarm};
use crate::plan::{HostName, Invariant, Micros, Speed, Transports};
use error::ScenarioText;
use section::{Field, Section};

/// How long a run may be: a day.
const DURATION: Between<Micros> = Between::new(Micros::from_secs(1), Micros::from_secs(86_400));

/// Steps of simulated time: below, nothing is gained; above, heartbeats and deadlines blur.
const TICK: Between<Micros> = Between::new(Micros(100), Micros::from_millis(100));

/// A share of anything: from none to all.
const SHARE: Between<Percent> = Between::new(Percent(0), Percent(100));

/// Names of transports in scenario files.
const TRANSPORTS: [(&str, Transports); 3] = [
    ("both", Transports::Both),
    ("socket", Transports::Socket),
    ("grpc", Transports::Grpc),
];

/// Reads the whole file.
pub(super) fn scenario(file: &Path, text: &str) -> Result<Scenario, ScenarioError> {
    let source = ScenarioText { file, text };
    let table = DeTable::parse(text).map_err(|error| {
        let place = error.span().unwrap_or(0..0);
        source.wrong(place, "", error.message().to_owned())
    })?;
    let root = Section::root(&source, &table);
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let summary = root.need("summary")?.text()?;
    let mut scenario = Scenario::new(name, summary);
    frame(&root, &mut scenario)?;
    if let Some(field) = root.get("topology") {
        scenario.topology = topology::read(&field.section()?)?;
    }
    if let Some(field) = root.get("workload") {
        let section = field.section()?;
        scenario.workload = workload::read(&section, scenario.duration)?;
    }
    if let Some(field) = root.get("operator") {
        scenario.workload.operators = workload::operators(&field, &scenario)?;
    }
    if let Some(field) = root.get("knobs") {
        scenario.knobs = knobs::read(&field.section()?)?;
    }
    if let Some(field) = root.get("liveness") {
        scenario.liveness = liveness(&field.section()?, &scenario)?;
    }
    if let Some(field) = root.get("swarm") {
        scenario.swarm = swarm(&field.section()?)?;
    }
    let entries = root.get("fault");
    if let Some(field) = &entries {
        scenario.faults = fault::read(field, &scenario)?;
    }
    root.finish()?;
    scenario.check().map_err(|broken| {
        let what = broken.to_string();
        match (broken.subject, &entries) {
            (Subject::Fault(index), Some(field)) => field.items()[index].wrong(what),
            (Subject::Key(key), _) => match root.get(key) {
                Some(field) => field.wrong(what),
                None => root.wrong(what),
            },
            _ => root.wrong(what),
        }
    })?;
    Ok(scenario)
}

/// What stands at the top of the file.
fn frame(root: &Section<'_>, scenario: &mut Scenario) -> Result<(), ScenarioError> {
    if let Some(field) = root.get("speed") {
        scenario.speed = field.choice("speed", &[("core", Speed::Core), ("full", Speed::Full)])?;
    }
    scenario.tick = root.one("tick", TICK, scenario.tick)?;
    scenario.duration = root.one("duration", DURATION, scenario.duration)?;
    if let Some(field) = root.get("lifts") {
        scenario.lifts = invariants(&field)?;
    }
    if let Some(field) = root.get("expects") {
        let sites: Vec<(&str, &str)> = SITES.iter().map(|s| (s.name(), s.name())).collect();
        let names = field.choices("site of the coverage catalogue", &sites)?;
        scenario.expects = names.into_iter().map(str::to_owned).collect();
    }
    Ok(())
}

fn invariants(field: &Field<'_>) -> Result<Vec<Invariant>, ScenarioError> {
    let names: Vec<(String, Invariant)> = Invariant::ALL
        .iter()
        .filter(|guarantee| guarantee.may_be_lifted())
        .filter_map(|guarantee| {
            let name = toml::Value::try_from(guarantee).ok()?;
            Some((name.as_str()?.to_owned(), *guarantee))
        })
        .collect();
    let choices: Vec<(&str, Invariant)> = names.iter().map(|(n, i)| (n.as_str(), *i)).collect();
    field.choices("guarantee", &choices)
}

fn liveness(section: &Section<'_>, scenario: &Scenario) -> Result<LivenessRange, ScenarioError> {
    let default = LivenessRange::default();
    let topology = &scenario.topology;
    let endpoints = topology.endpoints.iter().map(|e| e.host.clone());
    let liveness = LivenessRange {
        budget: section.one("budget", DURATION, default.budget)?,
        bridge: section
            .get("bridge")
            .map(|field| host(&field, "bridge", &topology.bridges))
            .transpose()?,
        endpoint: section
            .get("endpoint")
            .map(|field| host(&field, "endpoint", &endpoints.collect::<Vec<_>>()))
            .transpose()?,
        transports: section
            .get("transports")
            .map(|field| field.choice("transport", &TRANSPORTS))
            .transpose()?,
    };
    section.finish()?;
    Ok(liveness)
}

fn swarm(section: &Section<'_>) -> Result<Swarm, ScenarioError> {
    let default = Swarm::default();
    let swarm = Swarm {
        families: section.one("families", SHARE, default.families)?,
        mix: section
            .get("mix")
            .map_or(Ok(default.mix), |field| field.flag())?,
        moments: section.range("moments", Between::new(0, 20), default.moments)?,
    };
    section.finish()?;
    Ok(swarm)
}

/// The host that the text names among `hosts`.
fn host(field: &Field<'_>, role: &str, hosts: &[HostName]) -> Result<HostName, ScenarioError> {
    let choices: Vec<(&str, HostName)> =
        hosts.iter().map(|host| (&*host.0, host.clone())).collect();
    field.choice(role, &choices)
}
