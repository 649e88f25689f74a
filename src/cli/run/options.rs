//! The configuration as the library wants it.

use std::collections::BTreeMap;

use bytes::Bytes;
use leasebridge::bridge::{BridgeOptions, Credentials, RouteOptions};
use leasebridge::env::Env;
use leasebridge::queue::{BODY_BYTES_LIMIT, QueueOptions};

use crate::cli::config::{Config, OnLostInbox, RouteConfig};

/// What a command may have beside its body: its headers, which the queue keeps with it.
const HEADERS_BYTES: u32 = 64 << 10;

/// The queue's options.
pub(super) fn queue(config: &Config, env: Env) -> QueueOptions {
    let queue = &config.queue;
    let bodies = config.routes.values().map(|route| route.max_body.to_u32());
    let body_bytes_max = bodies.max().unwrap_or(BODY_BYTES_LIMIT);
    QueueOptions {
        env,
        poison_queue_name: config.poison_queue_name.clone(),
        lease: queue.lease.get(),
        max_hold: queue.max_hold.get(),
        max_retries: queue.max_retries,
        max_in_doubt: queue.max_in_doubt,
        backoff_min: queue.backoff_min.get(),
        backoff_max: queue.backoff_max.get(),
        capacity: queue.capacity.get(),
        poison_capacity: queue.poison_capacity.get(),
        dedupe_window: queue.dedupe_window.get(),
        dedupe_keys_max: queue.dedupe_keys_max.to_usize(),
        body_bytes_max: body_bytes_max
            .saturating_add(HEADERS_BYTES)
            .min(BODY_BYTES_LIMIT),
        segment_bytes: config.journal.segment_size.to_u32(),
        log_bytes_max: config.journal.max_size.bytes(),
        ..QueueOptions::new(&config.data)
    }
}

/// The bridge's options.
pub(super) fn bridge(config: &Config) -> BridgeOptions {
    let routes = config
        .routes
        .iter()
        .map(|(name, config)| route(name, config));
    BridgeOptions::new(routes.collect())
}

/// The largest body of each route, in bytes.
pub(super) fn bodies(config: &Config) -> BTreeMap<String, u32> {
    let body = |(name, route): (&String, &RouteConfig)| (name.clone(), route.max_body.to_u32());
    config.routes.iter().map(body).collect()
}

fn route(name: &str, config: &RouteConfig) -> RouteOptions {
    RouteOptions {
        socket: config.socket.clone(),
        grpc: config.grpc.clone(),
        window: config.window.to_usize(),
        first_sign_of_life: config.first_sign_of_life.get(),
        heartbeat: config.heartbeat.get(),
        body_bytes_max: config.max_body.to_u32(),
        credentials: Credentials(Bytes::from(config.credentials.0.clone())),
        on_lost_inbox: match config.on_lost_inbox {
            OnLostInbox::Redeliver => leasebridge::bridge::OnLostInbox::Redeliver,
            OnLostInbox::Hold => leasebridge::bridge::OnLostInbox::Hold,
        },
        ..RouteOptions::new(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_defaults_are_what_the_library_takes() {
        let config = Config::default();
        assert_eq!(queue(&config, Env::real()).validate(), Ok(()));
        assert_eq!(bridge(&config).validate(), Ok(()));
        let library = QueueOptions::new("x");
        let ours = queue(&config, Env::real());
        assert_eq!(ours.capacity, library.capacity);
        assert_eq!(ours.log_bytes_max, library.log_bytes_max);
        assert_eq!(ours.segment_bytes, library.segment_bytes);
    }
}
