//! What the deliveries of one route share: options, links, counters, breaker, and the signal to stop.

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::breaker::Breaker;
use super::counters::RouteCounters;
use super::doubts::Doubts;
use super::earlier::EarlierLives;
use super::keeper::{Keeper, KeeperOptions};
use super::link::Link;
use super::options::RouteOptions;
use crate::core::event::TransportKind;
use crate::core::{DeliveryId, TaskId};
use crate::env::{Env, Mono};
use crate::observe::BridgeRouteStatus;
use crate::pipeline::AbandonedCounter;
use crate::repeated::Repeated;
use crate::said::said;

/// See the module's description.
pub(super) struct Route {
    pub(super) env: Env,
    pub(super) options: Arc<RouteOptions>,
    pub(super) socket: Option<Arc<Keeper>>,
    pub(super) grpc: Option<Arc<Keeper>>,
    pub(super) counters: RouteCounters,
    /// Told whenever a link comes up or stops taking commands.
    pub(super) changed: Arc<Notify>,
    /// Whether the route has anything to do for its links; else they are in no hurry.
    pub(super) demand: Arc<watch::Sender<bool>>,
    /// Cuts off what is in flight: the time to drain is over.
    pub(super) cut: CancellationToken,
    pub(super) abandoned: AbandonedCounter,
    pub(super) in_flight: AtomicUsize,
    pub(super) open: AtomicBool,
    pub(super) max_hold: Duration,
    breaker: Mutex<Breaker>,
    doubts: Mutex<Doubts>,
    last_error: Mutex<Option<String>>,
    /// Deliveries that failed, as far as it was said.
    failures: Repeated,
}

impl Route {
    /// A route whose leases may be held for `max_hold`, from their grant on.
    pub(super) fn new(
        env: &Env,
        options: RouteOptions,
        software: &str,
        earlier: &Arc<EarlierLives>,
        max_hold: Duration,
    ) -> Self {
        let options = Arc::new(options);
        let changed = Arc::new(Notify::new());
        let demand = Arc::new(watch::Sender::new(true));
        let keeper = |transport, address: &Option<_>| {
            let address = address.clone()?;
            let keeper = KeeperOptions {
                transport,
                address,
                software: software.to_owned(),
                max_hold,
                changed: Arc::clone(&changed),
                earlier: Arc::clone(earlier),
                demand: Arc::clone(&demand),
            };
            Some(Arc::new(Keeper::new(env, &options, keeper)))
        };
        Self {
            env: env.clone(),
            socket: keeper(TransportKind::Socket, &options.socket),
            grpc: keeper(TransportKind::Grpc, &options.grpc),
            counters: RouteCounters::default(),
            changed: Arc::clone(&changed),
            demand: Arc::clone(&demand),
            cut: CancellationToken::new(),
            abandoned: AbandonedCounter::default(),
            in_flight: AtomicUsize::new(0),
            open: AtomicBool::new(false),
            breaker: Mutex::new(Breaker::new(options.route_breaker.clone())),
            doubts: Mutex::new(Doubts::default()),
            last_error: Mutex::new(None),
            failures: Repeated::default(),
            max_hold,
            options,
        }
    }

    pub(super) fn keepers(&self) -> impl Iterator<Item = &Arc<Keeper>> {
        self.socket.iter().chain(&self.grpc)
    }

    /// The link that the next command goes over first, if any takes commands.
    pub(super) fn first_link(&self) -> Option<Arc<Link>> {
        let grpc = || self.grpc.as_ref().and_then(|keeper| keeper.link());
        let socket = self.socket.as_ref();
        match socket.and_then(|keeper| keeper.link()) {
            Some(link) if socket.is_some_and(|keeper| keeper.is_trusted()) => Some(link),
            Some(link) => grpc().or(Some(link)),
            None => grpc(),
        }
    }

    /// A link to each inbox there is: usually both transports lead to the same. Links that take no commands any more
    /// are links, too.
    pub(super) fn links_by_inbox(&self) -> Vec<Arc<Link>> {
        let mut links: Vec<Arc<Link>> = Vec::new();
        let accepting = self.keepers().filter_map(|keeper| keeper.link());
        let leaving = self.keepers().flat_map(|keeper| keeper.leaving());
        for link in accepting.chain(leaving) {
            if links
                .iter()
                .all(|other| other.inbox_id() != link.inbox_id())
            {
                links.push(link);
            }
        }
        links
    }

    /// The link that takes nothing new on which a send of the task has no answer yet.
    pub(super) fn leaving_with(&self, task: TaskId) -> Option<Arc<Link>> {
        self.keepers().find_map(|keeper| keeper.leaving_with(task))
    }

    /// Sends without an answer on links that take nothing new.
    pub(super) fn leaving_in_flight(&self) -> usize {
        self.keepers()
            .map(|keeper| keeper.leaving_in_flight())
            .sum()
    }

    pub(super) fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn doubts(&self) -> MutexGuard<'_, Doubts> {
        self.doubts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A command was not delivered. What an endpoint may cause again and again is said once in a while.
    pub(super) fn note_failure(&self, delivery: DeliveryId, outcome: &'static str, why: &str) {
        if let Some(unsaid) = self.failures.happened(self.env.clock.now()) {
            let route = &self.options.name;
            let why = said(why);
            tracing::warn!(route, %delivery, outcome, why, unsaid, "a command was not delivered");
        }
        self.note_error(why.to_owned());
    }

    pub(super) fn note_error(&self, error: String) {
        *self.last_error() = Some(error);
    }

    fn last_error(&self) -> MutexGuard<'_, Option<String>> {
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self, now: Mono) -> BridgeRouteStatus {
        use std::sync::atomic::Ordering::Relaxed;
        let (breaker, breaker_opened) = {
            let breaker = self.breaker();
            (breaker.status(now), breaker.opened())
        };
        BridgeRouteStatus {
            name: self.options.name.clone(),
            open: self.open.load(Relaxed),
            in_flight: self.in_flight.load(Relaxed) as u64,
            breaker,
            breaker_opened,
            links: self.keepers().map(|keeper| keeper.status(now)).collect(),
            counts: self.counters.snapshot(),
            compensations_abandoned: self.abandoned.count(),
            last_error: self.last_error().clone(),
        }
    }
}
