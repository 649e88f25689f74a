//! `leasebridge check-config`: is the configuration right, and what does it come to?

use std::path::Path;

use leasebridge::config::{Config, RouteConfig, Span};

use super::exit::{CommandResult, Exit};
use super::out;

/// Prints what was read. A wrong configuration never comes here: it is refused before.
pub(crate) fn run(file: Option<&Path>, config: &Config) -> CommandResult {
    out::print(&report(file, config))?;
    Ok(Exit::Done)
}

fn report(file: Option<&Path>, config: &Config) -> String {
    let source = file.map_or_else(
        || "no file, these are the defaults".into(),
        |file| file.display().to_string(),
    );
    let mut lines = vec![
        format!("configuration is good: {source}"),
        String::new(),
        format!("data               {}", config.data.display()),
        format!("listen             {}", config.listen),
        format!("poison_queue_name  {}", config.poison_queue_name),
        format!("drain_timeout      {}", config.drain_timeout),
        format!("on_missing_route   {:?}", config.on_missing_route).to_lowercase(),
    ];
    let queue = &config.queue;
    lines.push(format!(
        "queue              capacity {} (poison {}), {} % of them guaranteed to routes, lease {} (held at most {}), {} retries, {} in doubt, \
         backoff {}, {} to {} after doubts, tasks up to {}, keys {} or {}",
        queue.capacity,
        queue.poison_capacity,
        queue.guaranteed_percent,
        queue.lease,
        queue.max_hold,
        queue.max_retries,
        queue.max_in_doubt,
        queue.backoff,
        queue.backoff_min,
        queue.backoff_max,
        age(queue.max_age),
        queue.dedupe_window,
        queue.dedupe_keys_max,
    ));
    lines.push(format!(
        "journal            segments of {}, {} in all{}",
        config.journal.segment_size,
        config.journal.max_size,
        match config.journal.require_existing {
            true => ", must be there",
            false => "",
        }
    ));
    for (name, route) in &config.routes {
        let address = |address: &Option<leasebridge::env::Address>| {
            address
                .as_ref()
                .map_or_else(|| "none".into(), ToString::to_string)
        };
        lines.push(format!(
            "route {name:<12} socket {}, gRPC {}, {} in flight, bodies up to {}, lost inbox: {}",
            address(&route.socket),
            address(&route.grpc),
            route.window,
            route.max_body,
            format!("{:?}", route.on_lost_inbox).to_lowercase(),
        ));
        if let Some(own) = own_limits(route) {
            lines.push(format!("{:18} {own}", ""));
        }
    }
    let receiver = &config.receiver;
    lines.push(format!(
        "receiver           socket {}, gRPC {}, bodies up to {}",
        receiver.socket, receiver.grpc, receiver.max_body
    ));
    lines.join("\n")
}

fn age(max_age: Option<Span>) -> String {
    max_age.map_or_else(|| "any age".into(), |age| format!("{age} old"))
}

/// What a route has of its own, if it has anything.
fn own_limits(route: &RouteConfig) -> Option<String> {
    let RouteConfig {
        max_retries,
        max_in_doubt,
        backoff,
        max_age,
        capacity,
        poison_capacity,
        max_size,
        ..
    } = route;
    let own = [
        max_retries.map(|count| format!("{count} retries")),
        max_in_doubt.map(|count| format!("{count} in doubt")),
        backoff.as_ref().map(|backoff| format!("backoff {backoff}")),
        max_age.map(|_| format!("tasks up to {}", age(*max_age))),
        capacity.map(|count| format!("capacity {count}")),
        poison_capacity.map(|count| format!("poison {count}")),
        max_size.map(|size| format!("{size} of the log")),
    ];
    let own: Vec<String> = own.into_iter().flatten().collect();
    (!own.is_empty()).then(|| format!("of its own: {}", own.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_reported() {
        insta::assert_snapshot!(report(None, &Config::default()));
    }

    #[test]
    fn what_a_route_has_of_its_own_is_reported_with_it() {
        let text = "routes.a = { grpc = \"h:1\", max_retries = 9, backoff = [\"5s\", \"1h\"], max_age = \"2d\" }\n\
                    routes.b = { grpc = \"h:1\", max_in_doubt = 0, backoff = \"exponential\", capacity = 5, max_size = \"1MiB\" }";
        let config = leasebridge::config::parse(Path::new("x.toml"), text).expect("it is good");
        let own: Vec<_> = config.routes.values().filter_map(own_limits).collect();
        let expected = [
            "of its own: 9 retries, backoff 5s, 1h (each ± 20 %), tasks up to 2d old",
            "of its own: 0 in doubt, backoff exponential, capacity 5, 1MiB of the log",
        ];
        assert_eq!(own, expected);
    }
}
