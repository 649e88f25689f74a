//! Reads `[topology]`: which hosts there are, and which routes lead where.

use super::section::{Field, Section};
use super::{ScenarioError, TRANSPORTS, host};
use crate::plan::{HostName, Inbox, OnLost};
use crate::scenario::{Between, EndpointRange, RouteRange, TopologyRange};

/// Hosts of one role: each costs a step of simulated time.
const HOSTS: Between<u32> = Between::new(1, 8);

/// Handlers of one endpoint.
const HANDLERS: Between<u32> = Between::new(1, 1_024);

/// Commands under way on one connection.
const IN_FLIGHT: Between<u32> = Between::new(1, 65_536);

const INBOXES: [(&str, Inbox); 4] = [
    ("memory", Inbox::Memory),
    ("file", Inbox::File),
    ("blind", Inbox::Blind),
    ("effect", Inbox::Effect),
];

const ON_LOST: [(&str, OnLost); 2] = [("redeliver", OnLost::Redeliver), ("hold", OnLost::Hold)];

/// Reads it; what is not given has one of each.
pub(super) fn read(section: &Section<'_>) -> Result<TopologyRange, ScenarioError> {
    let default = TopologyRange::default();
    let hosts = |key, default: Vec<HostName>| match section.get(key) {
        Some(field) => {
            let count = field.one(HOSTS)?;
            Ok((1..=count).map(|n| numbered(&default[0].0, n)).collect())
        }
        None => Ok(default),
    };
    let producers = hosts("producers", default.producers)?;
    let bridges = hosts("bridges", default.bridges)?;
    let endpoints = match section.get("endpoint") {
        Some(field) => {
            let sections = field.items();
            let read = sections.iter().map(|field| endpoint(&field.section()?));
            read.collect::<Result<_, ScenarioError>>()?
        }
        None => default.endpoints,
    };
    let routes = match section.get("route") {
        Some(field) => {
            let sections = field.items();
            let read = sections.iter().map(|field| route(field, &endpoints));
            read.collect::<Result<_, ScenarioError>>()?
        }
        None => (1..)
            .zip(&endpoints)
            .map(|(n, endpoint)| route_to(endpoint, n))
            .collect(),
    };
    section.finish()?;
    Ok(TopologyRange {
        producers,
        bridges,
        endpoints,
        routes,
    })
}

/// `bridge`, `bridge-2`, `bridge-3`, …
fn numbered(role: &str, number: u32) -> HostName {
    match number {
        1 => HostName::from(role),
        number => HostName(format!("{role}-{number}").into()),
    }
}

fn route_to(endpoint: &EndpointRange, number: u32) -> RouteRange {
    RouteRange {
        endpoint: endpoint.host.clone(),
        ..RouteRange::new(&*numbered("orders", number).0, "")
    }
}

fn endpoint(section: &Section<'_>) -> Result<EndpointRange, ScenarioError> {
    let mut endpoint = EndpointRange::new("");
    endpoint.host = HostName::from(section.need("name")?.text()?);
    if let Some(field) = section.get("inbox") {
        endpoint.inbox = field.choices("inbox", &INBOXES)?;
    }
    endpoint.handlers = section.range("handlers", HANDLERS, endpoint.handlers)?;
    endpoint.in_flight = section.range("in_flight", IN_FLIGHT, endpoint.in_flight)?;
    section.finish()?;
    Ok(endpoint)
}

fn route(field: &Field<'_>, endpoints: &[EndpointRange]) -> Result<RouteRange, ScenarioError> {
    let section = field.section()?;
    let mut route = RouteRange::new(section.need("name")?.text()?, "");
    let hosts: Vec<HostName> = endpoints.iter().map(|e| e.host.clone()).collect();
    route.endpoint = match section.get("endpoint") {
        Some(field) => host(&field, "endpoint", &hosts)?,
        None => hosts[0].clone(),
    };
    if let Some(field) = section.get("transports") {
        route.transports = field.choices("transport", &TRANSPORTS)?;
    }
    if let Some(field) = section.get("on_lost_inbox") {
        route.on_lost_inbox = field.choices("choice", &ON_LOST)?;
    }
    section.finish()?;
    Ok(route)
}
