//! `leasebridge check-config`: is the configuration right, and what does it come to?

use std::path::Path;

use leasebridge::config::Config;

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
        "queue              capacity {} (poison {}), lease {} (held at most {}), {} retries, {} in doubt, \
         backoff {} to {}, keys {} or {}",
        queue.capacity,
        queue.poison_capacity,
        queue.lease,
        queue.max_hold,
        queue.max_retries,
        queue.max_in_doubt,
        queue.backoff_min,
        queue.backoff_max,
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
    }
    let receiver = &config.receiver;
    lines.push(format!(
        "receiver           socket {}, gRPC {}, bodies up to {}",
        receiver.socket, receiver.grpc, receiver.max_body
    ));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_reported() {
        insta::assert_snapshot!(report(None, &Config::default()));
    }
}
