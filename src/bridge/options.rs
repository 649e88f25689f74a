//! What a bridge is told: its routes, their addresses and their limits.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use super::breaker::BreakerOptions;
use super::limits;
use crate::env::Address;
use crate::pipeline::{Exponential, RetryPolicy};
use crate::wire::{
    BODY_BYTES_DEFAULT, BODY_BYTES_MAX, BridgeHello, CREDENTIALS_BYTES_MAX, HEARTBEAT_DEFAULT,
    HEARTBEAT_MAX, HEARTBEAT_MIN, HEARTBEAT_MISSES_DEFAULT, ROUTE_BYTES_MAX, SOFTWARE_BYTES_MAX,
    frame_bytes_for,
};

/// What a bridge is told.
#[derive(Clone, Debug)]
pub struct BridgeOptions {
    /// Software and version, told to endpoints for their logs. Up to 256 bytes.
    pub software: String,
    /// The routes it serves, each with a name of its own.
    pub routes: Vec<RouteOptions>,
}

/// One route: where its endpoint is and how to treat it.
#[derive(Clone, Debug)]
pub struct RouteOptions {
    /// Its name, as in the queue. Not empty, up to 256 bytes.
    pub name: String,
    /// Where the framed socket is, if there is one.
    pub socket: Option<Address>,
    /// Where the gRPC fallback is, if there is one. At least one of the two is needed.
    pub grpc: Option<Address>,
    /// How many commands may be in flight, until settled. The endpoint's own limit holds as well. What a link that drains has
    /// not answered yet takes no room from the next one.
    pub window: usize,
    /// How many bytes of commands may be on their way over one link, until the endpoint is known to have received them.
    /// The last command may overshoot it, so that none is too large. To an endpoint that doesn't tell what it has
    /// received, 256 KiB at most.
    pub window_bytes: usize,
    /// How long the socket waits for the first sign of life of a command, once that has left.
    pub first_sign_of_life: Duration,
    /// How long a rollback may take, once it has left.
    pub rollback: Duration,
    /// How long one try over gRPC waits for a sign of life, once the command has left.
    pub grpc_try: Duration,
    /// How often gRPC is tried for one lease.
    pub grpc_tries: u32,
    /// The wait after the first try over gRPC; doubles with each, with full jitter.
    pub grpc_backoff: Duration,
    /// Sends of one lease over all transports: 1 to 4.
    pub sends_max: u32,
    /// How often a heartbeat is sent: 10 ms to 60 s.
    pub heartbeat: Duration,
    /// After how many heartbeats without any frame from the endpoint a link is dead.
    pub heartbeat_misses: u32,
    /// How long a connect may take, and then the exchange of `Hello`.
    pub connect: Duration,
    /// The largest body sent, in bytes: 1 byte to 16 MiB. The endpoint's own limit holds as well.
    pub body_bytes_max: u32,
    /// The secret that the endpoint wants; empty if none.
    pub credentials: Credentials,
    /// What becomes of a command in doubt when the endpoint has lost the memory of its inbox.
    pub on_lost_inbox: OnLostInbox,
    /// The breaker of each link: after how many unanswered sends in a row to prefer the other one.
    pub link_breaker: BreakerOptions,
    /// The breaker of the route: after how many unanswered tasks in a row to stop leasing.
    pub route_breaker: BreakerOptions,
}

/// What becomes of a command in doubt when nobody is left who knows whether it was executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnLostInbox {
    /// It is sent again: it may be executed twice.
    #[default]
    Redeliver,
    /// It goes to the poison store for a person to decide: it may never have been executed.
    Hold,
}

/// A shared secret, kept out of logs.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials(pub Bytes);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "hidden" })
    }
}

/// Options that no bridge can run with. Nothing was started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}`{field}` {problem}", route_prefix(.route))]
pub struct BridgeOptionsError {
    /// The route, if it is about one.
    pub route: Option<String>,
    /// The option's name.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

fn route_prefix(route: &Option<String>) -> String {
    route
        .as_ref()
        .map_or_else(String::new, |name| format!("route `{name}`: "))
}

impl BridgeOptions {
    /// Options for `routes` with the library's own name and version as software.
    pub fn new(routes: Vec<RouteOptions>) -> Self {
        Self {
            software: concat!("leasebridge/", env!("CARGO_PKG_VERSION")).to_owned(),
            routes,
        }
    }

    /// Checks every option.
    ///
    /// # Errors
    /// [`BridgeOptionsError`] with the first one that is wrong.
    pub fn validate(&self) -> Result<(), BridgeOptionsError> {
        let wrong = |field, problem| BridgeOptionsError {
            route: None,
            field,
            problem,
        };
        if self.software.len() > SOFTWARE_BYTES_MAX {
            let problem = format!("is longer than {SOFTWARE_BYTES_MAX} bytes");
            return Err(wrong("software", problem));
        }
        if self.routes.is_empty() {
            return Err(wrong("routes", "names no route".into()));
        }
        if self.routes.len() > limits::ROUTES_MAX {
            let problem = format!("names more than {} routes", limits::ROUTES_MAX);
            return Err(wrong("routes", problem));
        }
        for (index, route) in self.routes.iter().enumerate() {
            route.validate()?;
            if self.routes[..index].iter().any(|r| r.name == route.name) {
                return Err(route.wrong("name", "is used twice"));
            }
        }
        Ok(())
    }
}

impl RouteOptions {
    /// A route with no address yet and the defaults for everything else.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            socket: None,
            grpc: None,
            window: limits::WINDOW_DEFAULT,
            window_bytes: limits::WINDOW_BYTES_DEFAULT,
            first_sign_of_life: limits::FIRST_SIGN_OF_LIFE_DEFAULT,
            rollback: limits::ROLLBACK_DEFAULT,
            grpc_try: limits::GRPC_TRY_DEFAULT,
            grpc_tries: limits::GRPC_TRIES_DEFAULT,
            grpc_backoff: limits::GRPC_BACKOFF_DEFAULT,
            sends_max: limits::SENDS_MAX,
            heartbeat: HEARTBEAT_DEFAULT,
            heartbeat_misses: HEARTBEAT_MISSES_DEFAULT,
            connect: limits::CONNECT_DEFAULT,
            body_bytes_max: BODY_BYTES_DEFAULT,
            credentials: Credentials::default(),
            on_lost_inbox: OnLostInbox::default(),
            link_breaker: BreakerOptions::for_link(),
            route_breaker: BreakerOptions::for_route(),
        }
    }

    /// With a socket at `address`.
    #[must_use]
    pub fn socket(mut self, address: Address) -> Self {
        self.socket = Some(address);
        self
    }

    /// With a gRPC endpoint at `address`.
    #[must_use]
    pub fn grpc(mut self, address: Address) -> Self {
        self.grpc = Some(address);
        self
    }

    /// Checks every option.
    ///
    /// # Errors
    /// [`BridgeOptionsError`] with the first one that is wrong.
    pub fn validate(&self) -> Result<(), BridgeOptionsError> {
        self.validate_names()?;
        self.validate_numbers()?;
        let above_zero = [
            ("first_sign_of_life", self.first_sign_of_life),
            ("rollback", self.rollback),
            ("grpc_try", self.grpc_try),
            ("grpc_backoff", self.grpc_backoff),
            ("connect", self.connect),
        ];
        for (field, value) in above_zero {
            if value.is_zero() {
                return Err(self.wrong(field, "must be above zero"));
            }
        }
        for (field, breaker) in [
            ("link_breaker", &self.link_breaker),
            ("route_breaker", &self.route_breaker),
        ] {
            breaker
                .validate()
                .map_err(|problem| self.wrong(field, problem))?;
        }
        Ok(())
    }

    fn validate_names(&self) -> Result<(), BridgeOptionsError> {
        if self.name.trim().is_empty() || self.name.len() > ROUTE_BYTES_MAX {
            let problem = format!("must have 1 to {ROUTE_BYTES_MAX} bytes");
            return Err(self.wrong("name", problem));
        }
        if self.socket.is_none() && self.grpc.is_none() {
            return Err(self.wrong("socket", "and `grpc` are both absent: one is needed"));
        }
        if self.credentials.0.len() > CREDENTIALS_BYTES_MAX {
            let problem = format!("is longer than {CREDENTIALS_BYTES_MAX} bytes");
            return Err(self.wrong("credentials", problem));
        }
        Ok(())
    }

    fn validate_numbers(&self) -> Result<(), BridgeOptionsError> {
        if !(1..=limits::WINDOW_MAX).contains(&self.window) {
            let problem = format!("must lie in 1..={}", limits::WINDOW_MAX);
            return Err(self.wrong("window", problem));
        }
        if !(1..=limits::WINDOW_BYTES_MAX).contains(&self.window_bytes) {
            let problem = format!("must lie in 1..={}", limits::WINDOW_BYTES_MAX);
            return Err(self.wrong("window_bytes", problem));
        }
        if !(1..=limits::SENDS_MAX).contains(&self.sends_max) {
            let problem = format!("must lie in 1..={}", limits::SENDS_MAX);
            return Err(self.wrong("sends_max", problem));
        }
        if !(1..=limits::SENDS_MAX).contains(&self.grpc_tries) {
            let problem = format!("must lie in 1..={}", limits::SENDS_MAX);
            return Err(self.wrong("grpc_tries", problem));
        }
        if !(HEARTBEAT_MIN..=HEARTBEAT_MAX).contains(&self.heartbeat) {
            let problem = format!("must lie in {HEARTBEAT_MIN:?}..={HEARTBEAT_MAX:?}");
            return Err(self.wrong("heartbeat", problem));
        }
        if self.heartbeat_misses == 0 {
            return Err(self.wrong("heartbeat_misses", "must be at least 1"));
        }
        if !(1..=BODY_BYTES_MAX).contains(&self.body_bytes_max) {
            let problem = format!("must lie in 1..={BODY_BYTES_MAX}");
            return Err(self.wrong("body_bytes_max", problem));
        }
        Ok(())
    }

    fn wrong(&self, field: &'static str, problem: impl Into<String>) -> BridgeOptionsError {
        BridgeOptionsError {
            route: Some(self.name.clone()),
            field,
            problem: problem.into(),
        }
    }

    /// What is said first on each link of this route.
    pub(super) fn hello(&self, software: &str) -> BridgeHello {
        BridgeHello {
            software: software.to_owned(),
            route: self.name.clone(),
            frame_bytes_max: frame_bytes_for(self.body_bytes_max),
            body_bytes_max: self.body_bytes_max,
            credentials: self.credentials.0.clone(),
            heartbeat: self.heartbeat,
            tells_received: true,
        }
    }

    /// How gRPC is tried when `sends` sends are left, at least one.
    pub(super) fn grpc_policy(&self, sends: u32) -> RetryPolicy {
        let numbers = Exponential {
            max_tries: self.grpc_tries.min(sends).max(1),
            initial: self.grpc_backoff,
            multiplier: 2.0,
            cap: limits::GRPC_BACKOFF_MAX,
        };
        RetryPolicy::exponential(numbers)
            .expect("the tries were validated and the multiplier is 2")
            .with_full_jitter()
    }

    /// After how long without a sign a command that was executing counts as silent: an endpoint
    /// repeats the sign at least once per heartbeat interval of its own.
    pub(super) fn working_silence(&self, their_heartbeat: Duration) -> Duration {
        self.heartbeat
            .max(their_heartbeat)
            .saturating_mul(self.heartbeat_misses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route() -> RouteOptions {
        RouteOptions::new("orders").socket(Address::tcp("127.0.0.1", 1))
    }

    #[test]
    fn the_defaults_are_valid_and_secrets_are_not_printed() {
        let mut route = route();
        route.credentials = Credentials(Bytes::from_static(b"secret"));
        let options = BridgeOptions::new(vec![route]);
        assert_eq!(options.validate(), Ok(()));
        assert!(!format!("{options:?}").contains("secret"));
    }

    #[test]
    fn each_wrong_option_is_named() {
        type Change = fn(&mut RouteOptions);
        let cases: [(&str, Change); 16] = [
            ("name", |r| r.name = " ".into()),
            ("socket", |r| r.socket = None),
            ("window", |r| r.window = 0),
            ("window_bytes", |r| r.window_bytes = 0),
            ("first_sign_of_life", |r| {
                r.first_sign_of_life = Duration::ZERO
            }),
            ("rollback", |r| r.rollback = Duration::ZERO),
            ("grpc_try", |r| r.grpc_try = Duration::ZERO),
            ("grpc_tries", |r| r.grpc_tries = 0),
            ("grpc_backoff", |r| r.grpc_backoff = Duration::ZERO),
            ("sends_max", |r| r.sends_max = 5),
            ("heartbeat", |r| r.heartbeat = Duration::from_secs(61)),
            ("heartbeat_misses", |r| r.heartbeat_misses = 0),
            ("connect", |r| r.connect = Duration::ZERO),
            ("body_bytes_max", |r| r.body_bytes_max = BODY_BYTES_MAX + 1),
            ("credentials", |r| {
                r.credentials = Credentials(vec![0; 4097].into())
            }),
            ("link_breaker", |r| r.link_breaker.unanswered_max = 0),
        ];
        for (field, change) in cases {
            let mut route = route();
            change(&mut route);
            let error = BridgeOptions::new(vec![route]).validate().unwrap_err();
            assert_eq!(error.field, field);
            assert!(error.to_string().contains(field), "{error}");
        }
    }

    #[test]
    fn a_bridge_needs_routes_with_names_of_their_own() {
        let none = BridgeOptions::new(vec![]).validate().unwrap_err();
        assert_eq!(none.field, "routes");
        let twice = BridgeOptions::new(vec![route(), route()]).validate();
        assert_eq!(twice.unwrap_err().field, "name");
    }

    #[test]
    fn grpc_is_never_tried_more_often_than_sends_are_left() {
        let route = route();
        assert_eq!(route.grpc_policy(4).max_tries().get(), 3);
        assert_eq!(route.grpc_policy(2).max_tries().get(), 2);
    }
}
