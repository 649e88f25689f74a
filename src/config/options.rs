//! The configuration as a node wants it.

use bytes::Bytes;

use super::{Backoff, Config, Count, RouteConfig, Size, Span};
use crate::bridge::{BridgeOptions, Credentials, RouteOptions};
use crate::listening::CONNECTIONS_DEFAULT;
use crate::node::NodeOptions;
use crate::queue::log::files::NewLog;
use crate::queue::{BODY_BYTES_LIMIT, QueueOptions, RouteLimits};

/// What a command may have beside its body: its headers, which the queue keeps with it.
const HEADERS_BYTES: u32 = 64 << 10;

impl Config {
    /// What a node with this configuration is told.
    pub fn node_options(&self) -> NodeOptions {
        NodeOptions {
            queue: self.queue_options(),
            bridge: self.bridge_options(),
            listen: self.listen.clone(),
            connections_max: CONNECTIONS_DEFAULT,
            open_files_max: 0,
            on_missing_route: self.on_missing_route,
            drain_timeout: self.drain_timeout.get(),
        }
    }

    /// The options of the queue, in the real world. Its bodies are as large as the largest of a route, and 64 KiB
    /// more for what a command has beside its body.
    pub fn queue_options(&self) -> QueueOptions {
        let queue = &self.queue;
        let bodies = self.routes.values().map(|route| route.max_body.to_u32());
        let body_bytes_max = bodies.max().unwrap_or(BODY_BYTES_LIMIT);
        QueueOptions {
            poison_queue_name: self.poison_queue_name.clone(),
            lease: queue.lease.get(),
            max_hold: queue.max_hold.get(),
            max_retries: queue.max_retries,
            max_in_doubt: queue.max_in_doubt,
            backoff: queue.backoff.get(),
            backoff_min: queue.backoff_min.get(),
            backoff_max: queue.backoff_max.get(),
            max_age: queue.max_age.map(Span::get),
            routes: self
                .routes
                .iter()
                .map(|(name, route)| (name.clone(), limits(route)))
                .collect(),
            capacity: queue.capacity.get(),
            poison_capacity: queue.poison_capacity.get(),
            guaranteed_percent: queue.guaranteed_percent,
            dedupe_window: queue.dedupe_window.get(),
            dedupe_keys_max: queue.dedupe_keys_max.to_usize(),
            clock_jump_max: queue.clock_jump_max.get(),
            body_bytes_max: body_bytes_max
                .saturating_add(HEADERS_BYTES)
                .min(BODY_BYTES_LIMIT),
            segment_bytes: self.journal.segment_size.to_u32(),
            log_bytes_max: self.journal.max_size.bytes(),
            new_log: match self.journal.require_existing {
                true => NewLog::Refuse,
                false => NewLog::UnlessMarked,
            },
            ..QueueOptions::new(&self.data)
        }
    }

    /// The options of the bridge: its routes, in the order of their names.
    pub fn bridge_options(&self) -> BridgeOptions {
        let routes = self.routes.iter();
        let routes = routes.map(|(name, config)| route(name, config));
        BridgeOptions::new(routes.collect())
    }
}

fn limits(config: &RouteConfig) -> RouteLimits {
    RouteLimits {
        max_retries: config.max_retries,
        max_in_doubt: config.max_in_doubt,
        backoff: config.backoff.as_ref().map(Backoff::get),
        max_age: config.max_age.map(Span::get),
        capacity: config.capacity.map(Count::get),
        poison_capacity: config.poison_capacity.map(Count::get),
        log_bytes_max: config.max_size.map(Size::bytes),
    }
}

fn route(name: &str, config: &RouteConfig) -> RouteOptions {
    RouteOptions {
        socket: config.socket.clone(),
        grpc: config.grpc.clone(),
        window: config.window.to_usize(),
        window_bytes: usize::try_from(config.window_bytes.bytes()).unwrap_or(usize::MAX),
        first_sign_of_life: config.first_sign_of_life.get(),
        heartbeat: config.heartbeat.get(),
        body_bytes_max: config.max_body.to_u32(),
        credentials: Credentials(Bytes::from(config.credentials.0.clone())),
        on_lost_inbox: config.on_lost_inbox,
        ..RouteOptions::new(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_defaults_are_what_the_library_takes() {
        let config = Config::default();
        let NodeOptions {
            queue: ours,
            bridge,
            ..
        } = config.node_options();
        assert_eq!(ours.validate(), Ok(()));
        assert_eq!(bridge.validate(), Ok(()));
        let library = QueueOptions::new("x");
        assert_eq!(ours.capacity, library.capacity);
        assert_eq!(ours.log_bytes_max, library.log_bytes_max);
        assert_eq!(ours.segment_bytes, library.segment_bytes);
    }
}
