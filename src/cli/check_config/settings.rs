//! Every setting with its value, written as a configuration that can be read again.
//!
//! The tables are taken apart field by field, so that a setting that is added here does not compile until it is
//! printed. Secrets are never printed: a comment says whether there is one.

use std::fmt::Display;

use leasebridge::bridge::OnLostInbox;
use leasebridge::config::{
    Backoff, Config, Count, JournalConfig, QueueConfig, ReceiverConfig, RouteConfig, Secret, Size,
    Span,
};
use leasebridge::env::Address;
use leasebridge::node::OnMissingRoute;

/// The whole configuration, in lines.
pub(super) fn all(config: &Config) -> Vec<String> {
    let default = Config::default();
    let mut settings = Settings::default();
    let Config {
        data,
        listen,
        poison_queue_name,
        drain_timeout,
        on_missing_route,
        queue,
        journal,
        routes,
        receiver,
    } = config;
    settings.set(
        "data",
        &quoted(data.display()),
        &quoted(default.data.display()),
    );
    settings.value("listen", listen, &default.listen);
    settings.value(
        "poison_queue_name",
        poison_queue_name,
        &default.poison_queue_name,
    );
    settings.value("drain_timeout", drain_timeout, &default.drain_timeout);
    settings.value(
        "on_missing_route",
        on_missing_route,
        &default.on_missing_route,
    );
    of_queue(&mut settings, queue);
    of_journal(&mut settings, journal);
    for (name, route) in routes {
        settings.table(&format!("routes.{}", key(name)));
        of_route(&mut settings, route);
    }
    of_receiver(&mut settings, receiver);
    settings.lines
}

fn of_queue(settings: &mut Settings, queue: &QueueConfig) {
    let default = QueueConfig::default();
    let QueueConfig {
        capacity,
        lease,
        max_hold,
        max_retries,
        max_in_doubt,
        backoff,
        backoff_min,
        backoff_max,
        max_age,
        poison_capacity,
        guaranteed_percent,
        dedupe_window,
        dedupe_keys_max,
        clock_jump_max,
    } = queue;
    settings.table("queue");
    settings.value("capacity", capacity, &default.capacity);
    settings.value("lease", lease, &default.lease);
    settings.value("max_hold", max_hold, &default.max_hold);
    settings.value("max_retries", max_retries, &default.max_retries);
    settings.value("max_in_doubt", max_in_doubt, &default.max_in_doubt);
    settings.value("backoff", backoff, &default.backoff);
    settings.value("backoff_min", backoff_min, &default.backoff_min);
    settings.value("backoff_max", backoff_max, &default.backoff_max);
    settings.own("max_age", max_age.as_ref(), "any age");
    settings.value("poison_capacity", poison_capacity, &default.poison_capacity);
    settings.value(
        "guaranteed_percent",
        guaranteed_percent,
        &default.guaranteed_percent,
    );
    settings.value("dedupe_window", dedupe_window, &default.dedupe_window);
    settings.value("dedupe_keys_max", dedupe_keys_max, &default.dedupe_keys_max);
    settings.value("clock_jump_max", clock_jump_max, &default.clock_jump_max);
}

fn of_journal(settings: &mut Settings, journal: &JournalConfig) {
    let default = JournalConfig::default();
    let JournalConfig {
        segment_size,
        max_size,
        require_existing,
    } = journal;
    settings.table("journal");
    settings.value("segment_size", segment_size, &default.segment_size);
    settings.value("max_size", max_size, &default.max_size);
    settings.value(
        "require_existing",
        require_existing,
        &default.require_existing,
    );
}

fn of_route(settings: &mut Settings, route: &RouteConfig) {
    let default = RouteConfig::default();
    let RouteConfig {
        socket,
        grpc,
        window,
        window_bytes,
        max_body,
        on_lost_inbox,
        first_sign_of_life,
        heartbeat,
        credentials,
        max_retries,
        max_in_doubt,
        backoff,
        max_age,
        capacity,
        poison_capacity,
        max_size,
    } = route;
    settings.own("socket", socket.as_ref(), "by gRPC alone");
    settings.own("grpc", grpc.as_ref(), "no fallback");
    settings.value("window", window, &default.window);
    settings.value("window_bytes", window_bytes, &default.window_bytes);
    settings.value("max_body", max_body, &default.max_body);
    settings.value("on_lost_inbox", on_lost_inbox, &default.on_lost_inbox);
    settings.value(
        "first_sign_of_life",
        first_sign_of_life,
        &default.first_sign_of_life,
    );
    settings.value("heartbeat", heartbeat, &default.heartbeat);
    settings.secret("credentials", credentials);
    settings.own("max_retries", max_retries.as_ref(), AS_QUEUE);
    settings.own("max_in_doubt", max_in_doubt.as_ref(), AS_QUEUE);
    settings.own("backoff", backoff.as_ref(), AS_QUEUE);
    settings.own("max_age", max_age.as_ref(), AS_QUEUE);
    settings.own("capacity", capacity.as_ref(), WHAT_IS_LEFT);
    settings.own("poison_capacity", poison_capacity.as_ref(), WHAT_IS_LEFT);
    settings.own("max_size", max_size.as_ref(), WHAT_IS_LEFT);
}

fn of_receiver(settings: &mut Settings, receiver: &ReceiverConfig) {
    let default = ReceiverConfig::default();
    let ReceiverConfig {
        socket,
        grpc,
        max_body,
        heartbeat,
        credentials,
    } = receiver;
    settings.table("receiver");
    settings.value("socket", socket, &default.socket);
    settings.value("grpc", grpc, &default.grpc);
    settings.value("max_body", max_body, &default.max_body);
    settings.value("heartbeat", heartbeat, &default.heartbeat);
    settings.secret("credentials", credentials);
}

const AS_QUEUE: &str = "as [queue] says";
const WHAT_IS_LEFT: &str = "what the other routes leave";

/// The lines so far.
#[derive(Default)]
struct Settings {
    lines: Vec<String>,
}

impl Settings {
    fn table(&mut self, name: &str) {
        self.lines.push(String::new());
        self.lines.push(format!("[{name}]"));
    }

    /// A setting that always has a value; the default is told where it is another one.
    fn value<T: InToml>(&mut self, key: &str, value: &T, default: &T) {
        self.set(key, &value.in_toml(), &default.in_toml());
    }

    fn set(&mut self, key: &str, value: &str, default: &str) {
        let line = match value == default {
            true => format!("{key} = {value}"),
            false => format!("{key} = {value} # default: {default}"),
        };
        self.lines.push(line);
    }

    /// A setting that may be left out, and what it means to do so.
    fn own<T: InToml>(&mut self, key: &str, value: Option<&T>, left_out: &str) {
        let line = match value {
            Some(value) => format!("{key} = {}", value.in_toml()),
            None => format!("# {key}: {left_out}"),
        };
        self.lines.push(line);
    }

    fn secret(&mut self, key: &str, secret: &Secret) {
        let is = if secret.0.is_empty() { "none" } else { "set" };
        self.lines.push(format!("# {key}: {is}"));
    }
}

/// How a value is written in a configuration.
trait InToml {
    fn in_toml(&self) -> String;
}

/// A basic string: what JSON escapes, TOML reads.
fn quoted(text: impl Display) -> String {
    serde_json::Value::from(text.to_string()).to_string()
}

/// A name as a key: bare if it can be.
fn key(name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    match !name.is_empty() && name.bytes().all(bare) {
        true => name.to_owned(),
        false => quoted(name),
    }
}

macro_rules! in_toml {
    ($write:expr => $($kind:ty),*) => {
        $(impl InToml for $kind {
            fn in_toml(&self) -> String {
                $write(self)
            }
        })*
    };
}

in_toml!(quoted => String, Address, Span, Size);
in_toml!(ToString::to_string => u8, u16, bool, Count);

impl InToml for Backoff {
    fn in_toml(&self) -> String {
        match self {
            Self::Exponential => quoted("exponential"),
            Self::Schedule(steps) => {
                let steps: Vec<String> = steps.iter().map(InToml::in_toml).collect();
                format!("[{}]", steps.join(", "))
            }
        }
    }
}

impl InToml for OnLostInbox {
    fn in_toml(&self) -> String {
        quoted(match self {
            Self::Redeliver => "redeliver",
            Self::Hold => "hold",
        })
    }
}

impl InToml for OnMissingRoute {
    fn in_toml(&self) -> String {
        quoted(match self {
            Self::Refuse => "refuse",
            Self::Hold => "hold",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(text: &str) -> Config {
        leasebridge::config::parse(Path::new("x.toml"), text).expect("it is good")
    }

    #[test]
    fn what_is_printed_reads_as_what_it_was() {
        let text = r#"
            data = "/var/lib/a \"b\""
            listen = "unix:/run/leasebridge"
            poison_queue_name = "pills"
            drain_timeout = "9s"
            on_missing_route = "hold"
            [queue]
            capacity = 9
            lease = "1m"
            max_hold = "2h"
            max_retries = 0
            max_in_doubt = 1
            backoff = "exponential"
            backoff_min = "2s"
            backoff_max = "3s"
            max_age = "4d"
            poison_capacity = 8
            guaranteed_percent = 7
            dedupe_window = "1h"
            dedupe_keys_max = 6
            clock_jump_max = "3d"
            [journal]
            segment_size = "2MiB"
            max_size = "1GiB"
            require_existing = true
            [routes."a b"]
            socket = "[::1]:1"
            window = 2
            window_bytes = "3MiB"
            max_body = "4KiB"
            on_lost_inbox = "hold"
            first_sign_of_life = "1s"
            heartbeat = "2s"
            [routes.c]
            grpc = "unix:/run/c"
            max_retries = 3
            max_in_doubt = 4
            backoff = ["1s", "1h30m"]
            max_age = "5d"
            capacity = 5
            poison_capacity = 6
            max_size = "7MiB"
            [receiver]
            socket = "127.0.0.1:1"
            grpc = "127.0.0.1:2"
            max_body = "1MiB"
            heartbeat = "1s"
        "#;
        for config in [Config::default(), read(text)] {
            let again = read(&all(&config).join("\n"));
            assert_eq!(format!("{config:?}"), format!("{again:?}"));
        }
    }

    #[test]
    fn a_secret_is_told_to_be_there_and_no_more() {
        let config = read(
            "receiver.credentials = \"hush\"\nroutes.a = { grpc = \"h:1\", credentials = \"hush\" }",
        );
        let lines = all(&config);
        assert!(!lines.iter().any(|line| line.contains("hush")));
        let told = lines
            .iter()
            .filter(|line| line.as_str() == "# credentials: set");
        assert_eq!(told.count(), 2);
    }
}
