//! Keeps one link of a route up.
//!
//! When its endpoint drains, a link takes nothing new and finishes what it has, however long that takes; the next one is
//! made meanwhile. So there are two at the most, of which one takes commands.
//!
//! The breaker outlives the links: an endpoint that takes connections and answers nothing would else
//! start with a clean slate each time.

mod life;
mod pace;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::breaker::{Breaker, BreakerPass};
use super::counters::LinkCounters;
use super::earlier::EarlierLives;
use super::link::{Connector, Link};
use super::options::RouteOptions;
use crate::core::TaskId;
use crate::core::event::TransportKind;
use crate::env::{Address, Env, Mono};
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
    /// Whether the route has anything to do for a link.
    demand: Arc<watch::Sender<bool>>,
}

struct Slot {
    /// The newest. It takes commands until its endpoint drains.
    link: Option<Arc<Link>>,
    /// The one before it, which takes nothing new and finishes what it has.
    leaving: Option<Arc<Link>>,
    stage: LinkStage,
    last_error: Option<String>,
}

/// The breaker's consent to one send. Dropped, it says nothing about the link: the send was not made, the link died
/// under it, it was answered, which the breaker was told then, or whoever made it is gone. So a probe that comes to
/// nothing, however that happens, leaves its place to the next.
pub(super) struct LinkPass<'a> {
    keeper: &'a Keeper,
    pass: BreakerPass,
}

impl LinkPass<'_> {
    /// The send got no sign of life in time.
    pub(super) fn unanswered(self) {
        let now = self.keeper.env.clock.now();
        let opened = self.keeper.breaker().unanswered(now, self.pass);
        if opened {
            self.keeper.tell("breaker opened");
        }
    }
}

impl Drop for LinkPass<'_> {
    fn drop(&mut self) {
        if self.pass == BreakerPass::Probe {
            let now = self.keeper.env.clock.now();
            self.keeper.breaker().withdrawn(now, self.pass);
        }
    }
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
    pub(super) demand: Arc<watch::Sender<bool>>,
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
                leaving: None,
                stage: LinkStage::Connecting,
                last_error: None,
            }),
            breaker: Mutex::new(Breaker::new(route.link_breaker.clone())),
            counters,
            first_sign: Histogram::default(),
            changed: options.changed,
            earlier: options.earlier,
            demand: options.demand,
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

    /// The links that take nothing new and are not closed.
    pub(super) fn leaving(&self) -> Vec<Arc<Link>> {
        let slot = self.slot();
        slot.leaving().cloned().collect()
    }

    /// The link that takes nothing new on which a send of the task has no answer yet.
    pub(super) fn leaving_with(&self, task: TaskId) -> Option<Arc<Link>> {
        let slot = self.slot();
        let found = slot.leaving().find(|link| link.has_unanswered(task));
        found.cloned()
    }

    /// Sends without an answer on links that take nothing new.
    pub(super) fn leaving_in_flight(&self) -> usize {
        self.slot().leaving().map(|link| link.in_flight()).sum()
    }

    /// Whether the breaker is closed.
    pub(super) fn is_trusted(&self) -> bool {
        self.breaker().is_closed()
    }

    /// Asks the breaker. Without an alternative there is nothing to gain by waiting: then what the
    /// breaker holds back passes all the same, and the route's breaker has the say.
    pub(super) fn pass(&self, alternative: bool) -> Option<LinkPass<'_>> {
        let pass = self.breaker().pass(self.env.clock.now());
        let pass = pass.or((!alternative).then_some(BreakerPass::Free))?;
        let keeper = self;
        Some(LinkPass { keeper, pass })
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

    pub(super) fn status(&self, now: Mono) -> LinkStatus {
        let slot = self.slot();
        let links = || slot.link.iter().chain(&slot.leaving);
        let link = links().find(|link| !link.is_dead());
        let breaker = self.breaker();
        LinkStatus {
            transport: self.connector.transport,
            address: self.connector.address.to_string(),
            // Told by the link itself, whose task may be gone before the keeper knows.
            state: match (link, slot.stage) {
                (Some(link), _) if !link.is_accepting() => LinkState::Draining,
                (None, LinkStage::Up { .. }) => LinkState::Connecting,
                (_, stage) => stage.at(now),
            },
            software: link.map(|link| link.hello().software.clone()),
            inbox_id: link.map(|link| link.inbox_id().to_string()),
            in_flight: links().map(|link| link.in_flight() as u64).sum(),
            breaker: breaker.status(now),
            breaker_opened: breaker.opened(),
            last_error: slot.last_error.clone(),
            counts: self.counters.snapshot(),
            first_sign_of_life: self.first_sign.snapshot(),
        }
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

impl Slot {
    /// Links that take nothing new and are not closed.
    fn leaving(&self) -> impl Iterator<Item = &Arc<Link>> {
        let links = self.link.iter().chain(&self.leaving);
        links.filter(|link| link.is_leaving())
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
