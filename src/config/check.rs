//! What the grammar can't say: ranges, and fields that depend on each other.

use super::error::ConfigText;
use super::{Config, ConfigError, RouteConfig, Secret, Size, Span};
use crate::bridge::{WINDOW_BYTES_MAX, WINDOW_MAX};
use crate::core::limits::{ROUTE_NAME_BYTES_MAX, ROUTES_MAX};
use crate::env::Address;
use crate::queue::{CAPACITY_MAX, DEFAULT_ROUTE};
use crate::wire::{BODY_BYTES_MAX, CREDENTIALS_BYTES_MAX, HEARTBEAT_MAX, HEARTBEAT_MIN};

/// The smallest and largest segment of the log. A segment must hold the largest record, and the offset
/// within one is 32 bits wide.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = (1 << 20)..=(1 << 30);

/// What a segment is a multiple of: the log's own unit.
const SEGMENT_UNIT: Size = Size::from_bytes(4_096);

/// What a segment must hold beside the largest body: its head with the names of all routes.
const SEGMENT_HEAD: u64 = 1 << 20;

/// Segments the log needs to turn: one being written, one being compacted, and the reserve.
const SEGMENTS_MIN: u64 = 4;

/// Refuses what is well formed and still makes no sense.
pub(super) fn check(config: &Config, source: &ConfigText<'_>) -> Result<(), ConfigError> {
    listenable(&config.listen, &["listen"], source)?;
    if config.poison_queue_name.trim().is_empty() {
        return Err(source.not_allowed(&["poison_queue_name"], "it must not be empty"));
    }
    queue(config, source)?;
    journal(config, source)?;
    listenable(&config.receiver.socket, &["receiver", "socket"], source)?;
    listenable(&config.receiver.grpc, &["receiver", "grpc"], source)?;
    body_limit(config.receiver.max_body, &["receiver", "max_body"], source)?;
    heartbeat(
        config.receiver.heartbeat,
        &["receiver", "heartbeat"],
        source,
    )?;
    secret(
        &config.receiver.credentials,
        &["receiver", "credentials"],
        source,
    )?;
    if config.routes.is_empty() || config.routes.len() > ROUTES_MAX {
        return Err(source.not_allowed(
            &["routes"],
            format!(
                "{} routes are not allowed: from 1 to {ROUTES_MAX}, or leave the table out",
                config.routes.len()
            ),
        ));
    }
    for (name, route_config) in &config.routes {
        route(name, route_config, source)?;
        share(name, route_config, config, source)?;
    }
    Ok(())
}

fn queue(config: &Config, source: &ConfigText<'_>) -> Result<(), ConfigError> {
    let queue = &config.queue;
    let not_below = |small: (&str, Span), large: (&str, Span)| {
        if small.1 <= large.1 {
            return Ok(());
        }
        Err(source.not_allowed(
            &["queue", large.0],
            format!(
                "{} is shorter than `{}` ({}); it must be at least as long",
                large.1, small.0, small.1
            ),
        ))
    };
    for (key, count) in [
        ("capacity", queue.capacity),
        ("poison_capacity", queue.poison_capacity),
        ("dedupe_keys_max", queue.dedupe_keys_max),
    ] {
        if count.get() > CAPACITY_MAX {
            return Err(source.not_allowed(
                &["queue", key],
                format!("{count} is not allowed: from 1 to {CAPACITY_MAX}"),
            ));
        }
    }
    if queue.guaranteed_percent > 100 {
        return Err(source.not_allowed(
            &["queue", "guaranteed_percent"],
            format!("{} is not allowed: from 0 to 100", queue.guaranteed_percent),
        ));
    }
    not_below(("lease", queue.lease), ("max_hold", queue.max_hold))?;
    not_below(
        ("backoff_min", queue.backoff_min),
        ("backoff_max", queue.backoff_max),
    )
}

fn journal(config: &Config, source: &ConfigText<'_>) -> Result<(), ConfigError> {
    let segment = config.journal.segment_size;
    if !SEGMENT_BYTES.contains(&segment.bytes()) {
        return Err(source.not_allowed(
            &["journal", "segment_size"],
            format!(
                "{segment} is not allowed: from {} to {}",
                Size::from_bytes(*SEGMENT_BYTES.start()),
                Size::from_bytes(*SEGMENT_BYTES.end())
            ),
        ));
    }
    if !segment.bytes().is_multiple_of(SEGMENT_UNIT.bytes()) {
        return Err(source.not_allowed(
            &["journal", "segment_size"],
            format!("{segment} is not allowed: a multiple of {SEGMENT_UNIT}"),
        ));
    }
    let bodies = config.routes.values().map(|route| route.max_body.bytes());
    let needed = Size::from_bytes(bodies.max().unwrap_or(0).saturating_add(SEGMENT_HEAD));
    if segment < needed {
        return Err(source.not_allowed(
            &["journal", "segment_size"],
            format!(
                "{segment} is not allowed: at least {needed}, the largest `max_body` of a route and {} \
                 more",
                Size::from_bytes(SEGMENT_HEAD)
            ),
        ));
    }
    let unnamed = usize::from(!config.routes.contains_key(DEFAULT_ROUTE));
    let routes = config.routes.len().saturating_add(unnamed);
    // Sizes that don't go together at all were refused above.
    if let Ok(geometry) = config.queue_options().geometry()
        && routes > geometry.routes_max() as usize
    {
        return Err(source.not_allowed(
            &["journal", "segment_size"],
            format!(
                "{segment} is not allowed: each segment begins with the names of all {routes} routes, and these \
                 have room for {}",
                geometry.routes_max()
            ),
        ));
    }
    let least = Size::from_bytes(segment.bytes().saturating_mul(SEGMENTS_MIN));
    if config.journal.max_size < least {
        return Err(source.not_allowed(
            &["journal", "max_size"],
            format!(
                "{} is not allowed: at least {SEGMENTS_MIN} segments, {least}",
                config.journal.max_size
            ),
        ));
    }
    Ok(())
}

fn route(name: &str, route: &RouteConfig, source: &ConfigText<'_>) -> Result<(), ConfigError> {
    let field = |field| ["routes", name, field];
    if name.is_empty() || name.len() > ROUTE_NAME_BYTES_MAX || name.contains(char::is_control) {
        return Err(source.not_allowed(
            &["routes", name],
            format!(
                "a route's name has 1 to {ROUTE_NAME_BYTES_MAX} bytes and no control characters"
            ),
        ));
    }
    if route.socket.is_none() && route.grpc.is_none() {
        return Err(source.not_allowed(
            &["routes", name],
            "the route has no address; give it `socket`, `grpc` or both",
        ));
    }
    for (key, address) in [("socket", &route.socket), ("grpc", &route.grpc)] {
        if let Some(Address::Tcp { port: 0, .. }) = address {
            return Err(source.not_allowed(
                &field(key),
                "port 0 is not allowed: a port to connect to is from 1 to 65535",
            ));
        }
    }
    let window = route.window.get();
    if window > WINDOW_MAX as u64 {
        return Err(source.not_allowed(
            &field("window"),
            format!("{window} is not allowed: from 1 to {WINDOW_MAX}"),
        ));
    }
    let window_bytes = route.window_bytes;
    if !(1..=WINDOW_BYTES_MAX as u64).contains(&window_bytes.bytes()) {
        let most = Size::from_bytes(WINDOW_BYTES_MAX as u64);
        let why = format!("{window_bytes} is not allowed: from 1 byte to {most}");
        return Err(source.not_allowed(&field("window_bytes"), why));
    }
    heartbeat(route.heartbeat, &field("heartbeat"), source)?;
    secret(&route.credentials, &field("credentials"), source)?;
    body_limit(route.max_body, &field("max_body"), source)
}

/// What a route may fill is a part of what there is: more would never be a limit.
fn share(
    name: &str,
    route: &RouteConfig,
    config: &Config,
    source: &ConfigText<'_>,
) -> Result<(), ConfigError> {
    let queue = &config.queue;
    for (key, own, all) in [
        ("capacity", route.capacity, queue.capacity),
        (
            "poison_capacity",
            route.poison_capacity,
            queue.poison_capacity,
        ),
    ] {
        if let Some(own) = own.filter(|own| own.get() > all.get()) {
            let what = format!("{own} is not allowed: at most `queue.{key}`, {all}");
            return Err(source.not_allowed(&["routes", name, key], what));
        }
    }
    let all = config.journal.max_size;
    match route.max_size.filter(|own| *own > all) {
        None => Ok(()),
        Some(own) => {
            let what = format!("{own} is not allowed: at most `journal.max_size`, {all}");
            Err(source.not_allowed(&["routes", name, "max_size"], what))
        }
    }
}

fn body_limit(size: Size, field: &[&str], source: &ConfigText<'_>) -> Result<(), ConfigError> {
    if size.bytes() <= u64::from(BODY_BYTES_MAX) {
        return Ok(());
    }
    Err(source.not_allowed(
        field,
        format!(
            "{size} is not allowed: at most {}",
            Size::from_bytes(BODY_BYTES_MAX.into())
        ),
    ))
}

fn heartbeat(span: Span, field: &[&str], source: &ConfigText<'_>) -> Result<(), ConfigError> {
    let (least, most) = (Span::new(HEARTBEAT_MIN), Span::new(HEARTBEAT_MAX));
    if (least..=most).contains(&span) {
        return Ok(());
    }
    Err(source.not_allowed(
        field,
        format!("{span} is not allowed: from {least} to {most}"),
    ))
}

fn secret(secret: &Secret, field: &[&str], source: &ConfigText<'_>) -> Result<(), ConfigError> {
    if secret.0.len() <= CREDENTIALS_BYTES_MAX {
        return Ok(());
    }
    Err(source.not_allowed(
        field,
        format!("a secret has at most {CREDENTIALS_BYTES_MAX} bytes"),
    ))
}

/// A Unix socket's path must fit the kernel's field, which is 108 bytes with its end.
fn listenable(
    address: &Address,
    field: &[&str],
    source: &ConfigText<'_>,
) -> Result<(), ConfigError> {
    match address {
        Address::Unix(path) if path.as_os_str().len() > 107 => {
            Err(source.not_allowed(field, "the path of a Unix socket has at most 107 bytes"))
        }
        _ => Ok(()),
    }
}
