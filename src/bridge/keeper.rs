//! Keeps one link of a route up: connects, watches it to its end, waits, connects again.
//!
//! The breaker outlives the links: an endpoint that takes connections and answers nothing would else
//! start with a clean slate each time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::breaker::{Breaker, BreakerPass};
use super::counters::LinkCounters;
use super::earlier::EarlierLives;
use super::limits::{LINGER, RECONNECT_FIRST, RECONNECT_MAX};
use super::link::{Connector, Driver, Link, LinkEnd};
use super::options::RouteOptions;
use crate::core::event::TransportKind;
use crate::env::{Address, Entropy, Env, Mono, timeout};
use crate::observe::{Histogram, LinkState, LinkStatus};

/// See the module's description.
pub(super) struct Keeper {
    env: Env,
    route: Arc<RouteOptions>,
    connector: Connector,
    slot: Mutex<Slot>,
    breaker: Mutex<Breaker>,
    counters: Arc<LinkCounters>,
    /// From the start of a send to the endpoint's first word about it.
    first_sign: Histogram,
    /// Told whenever a link comes up or stops taking commands.
    changed: Arc<Notify>,
    earlier: Arc<EarlierLives>,
}

struct Slot {
    link: Option<Arc<Link>>,
    stage: LinkStage,
    last_error: Option<String>,
}

/// How far the link has come.
#[derive(Clone, Copy, Debug)]
enum LinkStage {
    Connecting,
    Up { since: Mono },
    Waiting { until: Mono },
    Closed,
}

/// Where and how to connect.
pub(super) struct KeeperOptions {
    pub(super) transport: TransportKind,
    pub(super) address: Address,
    pub(super) software: String,
    /// How long a lease may be held.
    pub(super) max_hold: Duration,
    pub(super) changed: Arc<Notify>,
    /// What its endpoint is told of the lives before this one.
    pub(super) earlier: Arc<EarlierLives>,
}

impl Keeper {
    /// A keeper that has not connected yet: see [`Keeper::run`].
    pub(super) fn new(env: &Env, route: &Arc<RouteOptions>, options: KeeperOptions) -> Self {
        let counters = Arc::new(LinkCounters::default());
        Self {
            env: env.clone(),
            route: Arc::clone(route),
            connector: Connector {
                env: env.clone(),
                transport: options.transport,
                address: options.address,
                software: options.software,
                max_hold: options.max_hold,
                counters: Arc::clone(&counters),
                changed: Arc::clone(&options.changed),
            },
            slot: Mutex::new(Slot {
                link: None,
                stage: LinkStage::Connecting,
                last_error: None,
            }),
            breaker: Mutex::new(Breaker::new(route.link_breaker.clone())),
            counters,
            first_sign: Histogram::default(),
            changed: options.changed,
            earlier: options.earlier,
        }
    }

    /// The link that takes commands now, if there is one.
    pub(super) fn link(&self) -> Option<Arc<Link>> {
        let slot = self.slot();
        slot.link
            .as_ref()
            .filter(|link| link.is_accepting())
            .cloned()
    }

    /// Whether the breaker is closed.
    pub(super) fn is_trusted(&self) -> bool {
        self.breaker().is_closed()
    }

    /// Asks the breaker. Without an alternative there is nothing to gain by waiting: then what the
    /// breaker holds back passes all the same, and the route's breaker has the say.
    pub(super) fn pass(&self, alternative: bool) -> Option<BreakerPass> {
        let pass = self.breaker().pass(self.env.clock.now());
        pass.or((!alternative).then_some(BreakerPass::Free))
    }

    /// A send got its first sign of life, so long after it was made.
    pub(super) fn first_sign(&self, took: Duration) {
        self.first_sign.record(took);
    }

    /// A send with this breaker's consent got a sign of life in time.
    pub(super) fn answered(&self) {
        if self.breaker().answered() {
            self.tell("breaker closed");
        }
    }

    /// A send got no sign of life in time.
    pub(super) fn unanswered(&self, pass: BreakerPass) {
        let now = self.env.clock.now();
        if self.breaker().unanswered(now, pass) {
            self.tell("breaker opened");
        }
    }

    /// A send with this pass says nothing about the link: it was not made, or the link died under it.
    pub(super) fn withdrawn(&self, pass: BreakerPass) {
        self.breaker().withdrawn(self.env.clock.now(), pass);
    }

    pub(super) fn status(&self, now: Mono) -> LinkStatus {
        let slot = self.slot();
        let link = slot.link.as_deref();
        let breaker = self.breaker();
        LinkStatus {
            transport: self.connector.transport,
            address: self.connector.address.to_string(),
            state: match link {
                Some(link) if !link.is_accepting() => LinkState::Draining,
                _ => slot.stage.at(now),
            },
            software: link.map(|link| link.hello().software.clone()),
            inbox_id: link.map(|link| link.inbox_id().to_string()),
            in_flight: link.map_or(0, Link::in_flight) as u64,
            breaker: breaker.status(now),
            breaker_opened: breaker.opened(),
            last_error: slot.last_error.clone(),
            counts: self.counters.snapshot(),
            first_sign_of_life: self.first_sign.snapshot(),
        }
    }

    /// Keeps the link up until `stop`; then closes it in order. Dropping this cuts the link.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut failures = 0;
        loop {
            self.set(LinkStage::Connecting, None);
            let connected = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                connected = self.connector.connect(&self.route) => connected,
            };
            match connected {
                Ok((link, driver)) => {
                    let since = self.env.clock.now();
                    let death = self.watch(link, driver, &stop, since).await;
                    // A link that dies at once, again and again, is not hurried back.
                    let lasted = self.env.clock.now().saturating_since(since);
                    failures = failures_after(failures, lasted, self.route.heartbeat);
                    self.lose(death.to_string());
                }
                Err(error) => {
                    failures += 1;
                    self.counters.connect_failures.increment();
                    self.lose(error.to_string());
                }
            }
            let wait = backoff(failures, &*self.env.entropy);
            let until = self.env.clock.now() + wait;
            self.set(LinkStage::Waiting { until }, None);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.env.clock.sleep_until(until) => {}
            }
        }
        self.set(LinkStage::Closed, None);
    }

    /// Publishes a new link and runs it to its end.
    async fn watch(
        &self,
        link: Arc<Link>,
        driver: Driver,
        stop: &CancellationToken,
        since: Mono,
    ) -> LinkEnd {
        self.counters.connects.increment();
        self.breaker().hurry(since);
        self.set(LinkStage::Up { since }, Some(Arc::clone(&link)));
        self.tell("link up");
        self.changed.notify_one();
        let mut running = std::pin::pin!(driver.run());
        let told = async {
            self.earlier.tell(&link).await;
            std::future::pending::<std::convert::Infallible>().await
        };
        let reason = tokio::select! {
            biased;
            death = &mut running => return death,
            never = told => match never {},
            () = stop.cancelled() => "the bridge stops",
            () = link.drained() => "everything asked was answered",
        };
        link.close(reason);
        let ended = timeout(&*self.env.clock, 2 * LINGER, running).await;
        ended.unwrap_or(LinkEnd::Closed)
    }

    fn lose(&self, error: String) {
        let mut slot = self.slot();
        let was_up = slot.link.take().is_some();
        let is_news = was_up || slot.last_error.as_ref() != Some(&error);
        slot.last_error = Some(error.clone());
        drop(slot);
        // An endpoint that stays away is tried every few seconds: the same line each time would bury the rest.
        if is_news {
            self.tell_loss(&error);
        }
        self.changed.notify_one();
    }

    fn tell_loss(&self, error: &str) {
        tracing::info!(
            route = %self.route.name,
            transport = self.connector.transport.as_str(),
            address = %self.connector.address,
            %error,
            "no link"
        );
    }

    fn set(&self, stage: LinkStage, link: Option<Arc<Link>>) {
        let mut slot = self.slot();
        slot.stage = stage;
        slot.link = link;
    }

    fn tell(&self, what: &'static str) {
        tracing::info!(
            route = %self.route.name,
            transport = self.connector.transport.as_str(),
            address = %self.connector.address,
            "{what}"
        );
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LinkStage {
    fn at(self, now: Mono) -> LinkState {
        match self {
            Self::Connecting => LinkState::Connecting,
            Self::Up { since } => LinkState::Up {
                for_ms: now.as_millis().saturating_sub(since.as_millis()),
            },
            Self::Waiting { until } => LinkState::Waiting {
                again_in_ms: until.as_millis().saturating_sub(now.as_millis()),
            },
            Self::Closed => LinkState::Closed,
        }
    }
}

/// Failures in a row, when a link has ended that lasted so long. One that lasted for a heartbeat was none.
fn failures_after(failures: u32, lasted: Duration, heartbeat: Duration) -> u32 {
    match lasted >= heartbeat {
        true => 0,
        false => failures.saturating_add(1),
    }
}

/// How long to wait before the next connect: doubling, between a half and the whole of it, so that the
/// bridges of a restarted endpoint don't all come at once.
fn backoff(failures: u32, entropy: &dyn Entropy) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let whole = (RECONNECT_FIRST * (1 << doublings)).min(RECONNECT_MAX);
    let half = whole / 2;
    let micros = u64::try_from(half.as_micros()).unwrap_or(u64::MAX);
    half + Duration::from_micros(entropy.below(micros.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_lasted_for_a_heartbeat_ends_the_row_of_failures() {
        let beat = Duration::from_secs(5);
        assert_eq!(failures_after(7, beat, beat), 0);
        assert_eq!(failures_after(7, beat - Duration::from_millis(1), beat), 8);
        assert_eq!(failures_after(0, Duration::ZERO, beat), 1);
    }

    #[test]
    fn reconnects_wait_longer_each_time_and_never_too_long() {
        let env = Env::real();
        for (failures, whole_ms) in [(0, 50), (1, 50), (2, 100), (4, 400), (99, 5000)] {
            for _ in 0..50 {
                let wait = backoff(failures, &*env.entropy);
                let whole = Duration::from_millis(whole_ms);
                assert!(wait >= whole / 2 && wait <= whole, "{failures}: {wait:?}");
            }
        }
    }
}
