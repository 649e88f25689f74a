//! What the tests of delivery share: a queue in a folder of its own, a real endpoint that counts what it
//! executes, an endpoint that misbehaves, and a proxy that cuts.

pub(crate) mod proxy;
pub(crate) mod raw;
pub(crate) mod rogue;
pub(crate) mod shaping;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use leasebridge::bridge::{BreakerOptions, Bridge, BridgeOptions, RouteOptions, RunningBridge};
use leasebridge::core::event::TransportKind;
use leasebridge::core::{LaneCounts, LaneTotals, TaskId};
use leasebridge::env::{Address, BoxFuture, Env};
use leasebridge::observe::{BridgeRouteStatus, LinkStatus, RouteStatus};
use leasebridge::queue::{Backoff, Command, QueueOptions, SafeTaskQueue, TaskOptions};
use leasebridge::receiver::{
    Delivered, Handler, HandlerError, Receiver, ReceiverOptions, RunningReceiver,
};

/// How long a test waits for what must come: far longer than it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let clock = Env::real().clock;
    let give_up = clock.now() + PATIENCE;
    while !condition() {
        assert!(clock.now() < give_up, "waited in vain until {what}");
        clock.sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn local() -> Address {
    Address::tcp("127.0.0.1", 0)
}

/// An address at which nobody listens.
pub(crate) async fn nowhere() -> Address {
    let listener = Env::real().transport.bind(&local()).await.unwrap();
    listener.local_address()
}

/// A queue in a folder that goes with it.
pub(crate) struct TestQueue {
    pub(crate) queue: SafeTaskQueue<Command>,
    _dir: tempfile::TempDir,
}

impl TestQueue {
    pub(crate) async fn open(routes: &[&str]) -> Self {
        Self::open_with(routes, |_| {}).await
    }

    pub(crate) async fn open_with(routes: &[&str], change: impl FnOnce(&mut QueueOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = QueueOptions::new(dir.path());
        options.backoff = Backoff::Exponential;
        options.backoff_min = Duration::from_millis(20);
        options.backoff_max = Duration::from_millis(200);
        options.segment_bytes = 4 << 20;
        change(&mut options);
        let queue = SafeTaskQueue::open(options).await.unwrap();
        for route in routes {
            queue.define_route(route).await.unwrap();
        }
        Self { queue, _dir: dir }
    }

    pub(crate) async fn put(&self, route: &str, body: impl Into<Bytes>) -> TaskId {
        let command = Command::new(body.into());
        let enqueued = self.queue.enqueue(command, TaskOptions::route(route)).await;
        enqueued.unwrap().id
    }

    pub(crate) async fn put_many(&self, route: &str, count: usize) -> Vec<TaskId> {
        let commands = (0..count).map(|number| {
            let command = Command::new(format!("command {number}"));
            (command, TaskOptions::route(route))
        });
        let enqueued = self.queue.enqueue_batch(commands).await.unwrap();
        enqueued.into_iter().map(|one| one.unwrap().id).collect()
    }

    pub(crate) fn counts(&self, route: &str) -> LaneCounts {
        self.route(route).counts
    }

    pub(crate) fn totals(&self, route: &str) -> LaneTotals {
        self.route(route).totals
    }

    fn route(&self, route: &str) -> RouteStatus {
        let status = self.queue.status();
        let found = status.routes.into_iter().find(|found| found.route == route);
        found.unwrap_or_else(|| panic!("no route {route}"))
    }

    /// Waits until a route has executed `count` commands, and nothing is left of it.
    pub(crate) async fn done(&self, route: &str, count: u64) {
        until(&format!("{count} commands of {route} are done"), || {
            self.totals(route).done == count && self.counts(route).pending() == 0
        })
        .await;
    }

    /// Waits until a route has executed `count` commands, whatever else is left of it.
    pub(crate) async fn done_of(&self, route: &str, count: u64) {
        until(&format!("{count} commands of {route} are done"), || {
            self.totals(route).done == count
        })
        .await;
    }

    pub(crate) async fn errors_of(&self, id: TaskId) -> Vec<String> {
        let explained = self.queue.explain(id).await.unwrap().unwrap();
        let history = explained.history.unwrap_or_default();
        history
            .attempts()
            .map(|attempt| attempt.error.as_deref().unwrap_or_default().to_owned())
            .collect()
    }
}

type Script =
    dyn Fn(Delivered, usize) -> BoxFuture<'static, Result<Bytes, HandlerError>> + Send + Sync;

/// A handler that counts its calls per task and does as it is told.
pub(crate) struct Scripted {
    calls: Mutex<BTreeMap<String, usize>>,
    script: Box<Script>,
}

impl Scripted {
    /// Asks `script` with the command and the number of its call, from 1.
    pub(crate) fn new<F, Fut>(script: F) -> Arc<Self>
    where
        F: Fn(Delivered, usize) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Bytes, HandlerError>> + Send + 'static,
    {
        Arc::new(Self {
            calls: Mutex::default(),
            script: Box::new(move |command, call| Box::pin(script(command, call))),
        })
    }

    /// Executes everything at once.
    pub(crate) fn eager() -> Arc<Self> {
        Self::new(|command, _| async move { Ok(command.body) })
    }

    /// How often a task was handed to the handler.
    pub(crate) fn calls(&self, id: TaskId) -> usize {
        let calls = self.calls.lock().unwrap();
        calls.get(&id.to_string()).copied().unwrap_or_default()
    }

    pub(crate) fn all_calls(&self) -> usize {
        self.calls.lock().unwrap().values().sum()
    }
}

impl Handler for Scripted {
    fn handle(&self, command: Delivered) -> BoxFuture<'_, Result<Bytes, HandlerError>> {
        let call = {
            let mut calls = self.calls.lock().unwrap();
            let call = calls.entry(command.delivery.task.to_string()).or_default();
            *call += 1;
            *call
        };
        (self.script)(command, call)
    }
}

/// A receiver on both transports.
pub(crate) async fn receiver(handler: Arc<Scripted>) -> RunningReceiver {
    receiver_with(handler, |_| {}).await
}

pub(crate) async fn receiver_with(
    handler: Arc<Scripted>,
    change: impl FnOnce(&mut ReceiverOptions),
) -> RunningReceiver {
    let mut options = ReceiverOptions::new(local());
    options.grpc = Some(local());
    options.heartbeat = Duration::from_millis(200);
    options.working_after = Duration::from_millis(50);
    change(&mut options);
    let receiver = Receiver::new(options, handler).unwrap();
    receiver.start(Env::real()).await.unwrap()
}

/// A route with short deadlines, so that what has to be waited for is not waited for long.
pub(crate) fn route(name: &str) -> RouteOptions {
    let mut route = RouteOptions::new(name);
    route.first_sign_of_life = Duration::from_millis(400);
    route.rollback = Duration::from_millis(200);
    route.grpc_try = Duration::from_millis(800);
    route.grpc_backoff = Duration::from_millis(20);
    route.heartbeat = Duration::from_millis(200);
    route.connect = Duration::from_secs(2);
    route.route_breaker = BreakerOptions {
        unanswered_max: 3,
        probe_after: Duration::from_millis(100),
        probe_after_max: Duration::from_millis(400),
    };
    route
}

pub(crate) fn both(name: &str, receiver: &RunningReceiver) -> RouteOptions {
    route(name)
        .socket(receiver.socket_address().clone())
        .grpc(receiver.grpc_address().unwrap().clone())
}

pub(crate) fn start(queue: &TestQueue, routes: Vec<RouteOptions>) -> RunningBridge {
    let options = BridgeOptions::new(routes);
    Bridge::start(Env::real(), queue.queue.clone(), options).unwrap()
}

pub(crate) fn route_status(bridge: &RunningBridge, name: &str) -> BridgeRouteStatus {
    let status = bridge.status();
    let found = status.routes.into_iter().find(|route| route.name == name);
    found.unwrap()
}

pub(crate) fn link_status(
    bridge: &RunningBridge,
    name: &str,
    transport: TransportKind,
) -> LinkStatus {
    let route = route_status(bridge, name);
    let mut links = route.links.into_iter();
    links.find(|link| link.transport == transport).unwrap()
}
