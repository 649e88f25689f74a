//! What a listener admits, before it knows with whom it deals: the one place that says so.
//!
//! ```text
//! listener ──► Places ──► AcceptedConnection ──► tonic ──► Guarded ──► the services
//!              who goes     fails when it        streams,   RequestBody: whole messages, a least rate
//!              when it      has to go            keepalive  ReplyBody: as the reader reads
//!              is full                                      ByteBudget: who makes room for whom
//! ```
//!
//! Anybody may connect. So until something of a connection was accepted, it has deadlines and may have to go; what it has
//! sent is charged to one budget over all connections; nothing is made of a length that it claims. Progress is measured
//! as a rate: who is slow is not given up, who has stopped is. Once something was accepted, only its own silence to
//! keepalives ends it, and nobody takes its place while a request of it is under way.

// Numbers of others are added up here.
#![warn(clippy::arithmetic_side_effects)]

mod assembler;
mod budget;
mod connection;
mod guard;
#[cfg(feature = "receiver")]
mod guesses;
mod limits;
mod places;
mod reply;
mod request;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_core::Stream;
use tonic::transport::Server;
use tower::layer::util::{Identity, Stack};

use crate::env::{Clock, Env, Listener, Mono};
use crate::observe::ListenerStatus;
use crate::repeated::Repeated;
use budget::ByteBudget;
use limits::{
    ACCEPT_PAUSE, HEADER_BYTES_MAX, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, REQUEST_BYTES_MAX,
    SWEEP_INTERVAL,
};
use places::Places;

pub(crate) use assembler::MessageRule;
pub use connection::{AcceptedConnection, Visitor};
pub(crate) use guard::{GuardLayer, RequestRule, Rules};
#[cfg(feature = "receiver")]
pub(crate) use guesses::Guesses;
pub use limits::CONNECTIONS_DEFAULT;
pub(crate) use limits::STREAMS_MAX;
pub use places::Guest;
#[cfg(feature = "server")]
pub(crate) use request::RequestCharge;

/// What the peers of a listener speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// HTTP/2, whose connections begin with a preface.
    Http2,
    /// Anything else; whoever serves a connection sees to its first words.
    Other,
}

/// One listener's connections and what they cost.
pub struct Reception {
    clock: Arc<dyn Clock>,
    places: Arc<Places>,
    budget: Arc<ByteBudget>,
    /// When the deadlines are looked at next, in milliseconds of the clock.
    next_sweep_ms: AtomicU64,
    failures: Repeated,
    turned_away: Repeated,
    accepted: AtomicU64,
    refused: AtomicU64,
}

impl Reception {
    /// A listener that has up to `connections_max` connections at once.
    pub fn new(env: &Env, connections_max: usize, speech: Speech) -> Arc<Self> {
        Arc::new(Self {
            clock: Arc::clone(&env.clock),
            places: Places::new(connections_max, speech == Speech::Http2),
            budget: ByteBudget::new(REQUEST_BYTES_MAX),
            next_sweep_ms: AtomicU64::default(),
            failures: Repeated::default(),
            turned_away: Repeated::default(),
            accepted: AtomicU64::default(),
            refused: AtomicU64::default(),
        })
    }

    /// The next connection that finds a place. What has to go meanwhile goes. Cancel safe.
    ///
    /// Never fails: an accept that fails is logged and tried again.
    pub async fn accept(&self, listener: &mut dyn Listener) -> AcceptedConnection {
        loop {
            let next_sweep = Duration::from_millis(self.next_sweep_ms.load(Ordering::Relaxed));
            let accepted = tokio::select! {
                biased;
                () = self.clock.sleep_until(Mono::from_start(next_sweep)) => {
                    self.sweep();
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            let now = self.clock.now();
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    if let Some(unsaid) = self.failures.happened(now) {
                        tracing::warn!(%error, unsaid, "a connection could not be accepted");
                    }
                    self.clock.sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(place) = self.places.take(now) else {
                self.refused.fetch_add(1, Ordering::Relaxed);
                if let Some(unsaid) = self.turned_away.happened(now) {
                    tracing::warn!(
                        peer,
                        unsaid,
                        "connection refused: there are as many as may be"
                    );
                }
                continue;
            };
            self.accepted.fetch_add(1, Ordering::Relaxed);
            return AcceptedConnection::new(stream, peer, place, Arc::clone(&self.clock));
        }
    }

    /// The connections that arrive at `listener`, for tonic's servers. Never ends and never fails.
    pub fn connections(
        self: &Arc<Self>,
        listener: Box<dyn Listener>,
    ) -> impl Stream<Item = io::Result<AcceptedConnection>> + Send + use<> {
        let reception = Arc::clone(self);
        futures_util::stream::unfold(listener, move |mut listener| {
            let reception = Arc::clone(&reception);
            async move {
                let accepted = reception.accept(&mut *listener).await;
                Some((Ok(accepted), listener))
            }
        })
    }

    /// A server for its connections: few streams each, small windows that grow with what is taken, keepalive, and every
    /// request under guard.
    pub(crate) fn server(&self, rules: Rules) -> Server<Stack<GuardLayer, Identity>> {
        let budget = Arc::clone(&self.budget);
        Server::builder()
            .max_concurrent_streams(STREAMS_MAX)
            .http2_max_header_list_size(HEADER_BYTES_MAX)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .layer(GuardLayer { budget, rules })
    }

    /// Completes when nobody is connected. Cancel safe.
    pub async fn emptied(&self) {
        self.places.emptied().await;
    }

    /// What it does and has done.
    pub fn status(&self) -> ListenerStatus {
        let (connections, given_up) = self.places.counted();
        let (request_bytes, requests_given_up) = self.budget.counted();
        ListenerStatus {
            connections: connections as u64,
            connections_max: self.places.places_max() as u64,
            request_bytes: request_bytes as u64,
            request_bytes_max: REQUEST_BYTES_MAX as u64,
            accepted: self.accepted.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            given_up,
            requests_given_up,
        }
    }

    fn sweep(&self) {
        let now = self.clock.now();
        self.places.sweep(now);
        self.budget.sweep(now);
        let next = now.since_start().saturating_add(SWEEP_INTERVAL);
        let next_ms = Mono::from_start(next).as_millis();
        self.next_sweep_ms.store(next_ms, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Reception {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reception")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
