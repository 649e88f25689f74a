//! What a run shares: the plan, the time, the history, the machines.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::host::Host;
use super::network::Network;
use super::producer::AcceptedTasks;
use super::stillness::Stillness;
use super::workload::Bodies;
use crate::history::{History, What};
use crate::plan::{FaultId, HostName, Micros, Plan};
use crate::process_time;

/// How often the history says that a fault goes on striking.
const STRUCK_EVERY: Micros = Micros::from_secs(1);

/// How often a fault has struck, and when the history was last told.
#[derive(Clone, Copy, Debug, Default)]
struct Strikes {
    times: u64,
    told: Micros,
}

/// The world of one run. Outlives every process in it.
pub(super) struct World {
    pub(super) plan: Arc<Plan>,
    pub(super) history: History,
    pub(super) network: Network,
    pub(super) bodies: Bodies,
    pub(super) stillness: Stillness,
    pub(super) told: AcceptedTasks,
    pub(super) hosts: Vec<Arc<Host>>,
    pub(super) endpoints: BTreeMap<HostName, Arc<Endpoint>>,
    /// True once the workload has ended: nobody tries anything again.
    pub(super) over: watch::Sender<bool>,
    struck: Mutex<BTreeMap<FaultId, Strikes>>,
    name: HostName,
    start: Instant,
}

impl World {
    /// The world of `plan`, with every machine built and none running.
    pub(super) fn new(plan: Arc<Plan>, start: Instant) -> Self {
        let hosts = plan.topology.bridges.iter();
        let hosts = hosts.map(|name| Arc::new(Host::new(name, &plan, start)));
        let endpoints = plan.topology.endpoints.iter();
        let endpoints =
            endpoints.map(|spec| (spec.host.clone(), Arc::new(Endpoint::new(spec.clone()))));
        Self {
            history: History::default(),
            network: Network::default(),
            bodies: Bodies::of(&plan),
            stillness: Stillness::default(),
            told: AcceptedTasks::default(),
            hosts: hosts.collect(),
            endpoints: endpoints.collect(),
            over: watch::Sender::new(false),
            struck: Mutex::default(),
            name: "world".into(),
            start,
            plan,
        }
    }

    /// True time since the start.
    pub(super) fn now(&self) -> Micros {
        self.start.elapsed().into()
    }

    /// Adds a record of `host`, now.
    pub(super) fn record(&self, host: &HostName, what: What) {
        let now = self.now();
        process_time::set(now);
        self.history.add(now, host, what);
    }

    /// Adds a record of the world itself.
    pub(super) fn tell(&self, what: What) {
        self.record(&self.name, what);
    }

    /// A fault has changed an outcome. Every time counts; the history says so once in a while.
    pub(super) fn strike(&self, fault: FaultId) {
        let now = self.now();
        let is_news = {
            let mut struck = self.strikes();
            let strikes = struck.entry(fault).or_default();
            strikes.times += 1;
            let is_news = strikes.times == 1 || now >= strikes.told.plus(STRUCK_EVERY);
            if is_news {
                strikes.told = now;
            }
            is_news
        };
        if is_news {
            self.tell(What::Struck { fault });
        }
    }

    /// How often each fault has struck so far.
    pub(super) fn struck(&self) -> BTreeMap<FaultId, u64> {
        let strikes = self.strikes();
        strikes
            .iter()
            .map(|(fault, strikes)| (*fault, strikes.times))
            .collect()
    }

    fn strikes(&self) -> MutexGuard<'_, BTreeMap<FaultId, Strikes>> {
        self.struck.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bridge's machine of that name.
    pub(super) fn host(&self, name: &HostName) -> Option<&Arc<Host>> {
        self.hosts.iter().find(|host| host.name == *name)
    }

    /// The endpoint a route leads to.
    pub(super) fn endpoint_of(&self, route: &str) -> Option<&Arc<Endpoint>> {
        let routes = self.plan.topology.routes.iter();
        let route = routes.clone().find(|spec| spec.name == route)?;
        self.endpoints.get(&route.endpoint)
    }

    /// Whether the workload has ended.
    pub(super) fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// Waits until true time is `at`.
    pub(super) async fn sleep_until(&self, at: Micros) {
        sleep_until(self.start + at.as_duration()).await;
    }

    /// Waits for so much of true time.
    pub(super) async fn sleep(&self, span: Micros) {
        self.sleep_until(self.now().plus(span)).await;
    }

    /// The outcome of `work`, or `None` if the workload ends first.
    pub(super) async fn before_the_end<F: Future>(&self, work: F) -> Option<F::Output> {
        let mut over = self.over.subscribe();
        tokio::select! {
            biased;
            _ = over.wait_for(|over| *over) => None,
            output = work => Some(output),
        }
    }
}

/// The one place where the world's own time passes; hosts sleep by their clocks.
#[expect(
    clippy::disallowed_methods,
    reason = "tokio's time is the simulated one here"
)]
async fn sleep_until(at: Instant) {
    tokio::time::sleep_until(at).await;
}
