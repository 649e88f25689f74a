//! The endpoint of one route: it can be killed and comes back with the inbox it left on disk.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leasebridge::bridge::{BreakerOptions, RouteOptions};
use leasebridge::env::Env;
use leasebridge::receiver::{
    FileStore, Receiver, ReceiverError, ReceiverOptions, RunningReceiver, StoreError,
};

use super::ledger::ExecutionLedger;
use super::proxy::Proxy;
use crate::cli::exit::CommandFailure;

/// Commands that an endpoint executes at once.
const HANDLERS: usize = 16;

/// Commands in flight on a route: enough that each cut and each kill hits some.
const WINDOW: usize = 64;

/// How often heartbeats go out: short, so that a silent death costs the demo little time.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// How long a dead endpoint's file may take to be let go.
const UNLOCK_PATIENCE: Duration = Duration::from_secs(20);

/// One route's endpoint with the proxies before it.
pub(super) struct DemoEndpoint {
    pub(super) name: &'static str,
    pub(super) ledger: Arc<ExecutionLedger>,
    pub(super) socket: Proxy,
    grpc: Proxy,
    env: Env,
    inbox: PathBuf,
    alive: Mutex<Alive>,
}

#[derive(Default)]
struct Alive {
    running: Option<RunningReceiver>,
    /// Commands received by the lives that are over.
    commands_before: u64,
}

impl DemoEndpoint {
    /// Starts the endpoint of route `name` with its inbox in `inbox`.
    pub(super) async fn start(
        env: &Env,
        name: &'static str,
        inbox: PathBuf,
    ) -> Result<Self, CommandFailure> {
        let proxy = || Proxy::start(env);
        let failed =
            |error| CommandFailure::failed(format!("can't listen on the loopback: {error}"));
        let endpoint = Self {
            name,
            ledger: Arc::default(),
            socket: proxy().await.map_err(failed)?,
            grpc: proxy().await.map_err(failed)?,
            env: env.clone(),
            inbox,
            alive: Mutex::default(),
        };
        endpoint.rise().await?;
        Ok(endpoint)
    }

    /// Comes to life with what the inbox on disk remembers.
    pub(super) async fn rise(&self) -> Result<(), CommandFailure> {
        let clock = &self.env.clock;
        let give_up = clock.now() + UNLOCK_PATIENCE;
        let running = loop {
            match self.receiver()?.start(self.env.clone()).await {
                Ok(running) => break running,
                Err(ReceiverError::Store(StoreError::Locked { .. })) if clock.now() < give_up => {
                    clock.sleep(Duration::from_millis(5)).await;
                }
                Err(error) => return Err(self.failed(&error)),
            }
        };
        self.socket.lead_to(Some(running.socket_address().clone()));
        self.grpc.lead_to(running.grpc_address().cloned());
        self.alive().running = Some(running);
        Ok(())
    }

    fn receiver(&self) -> Result<Receiver, CommandFailure> {
        let options = ReceiverOptions {
            grpc: Some(super::loopback()),
            handlers_max: HANDLERS,
            heartbeat: HEARTBEAT,
            working_after: Duration::from_millis(200),
            ..ReceiverOptions::new(super::loopback())
        };
        let store = FileStore::new(&self.env, &self.inbox).map_err(|error| self.failed(&error))?;
        let hands = Arc::new(self.ledger.hands(&self.env));
        Receiver::with_store(options, hands, Arc::new(store)).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> CommandFailure {
        CommandFailure::failed(format!("the endpoint of {}: {error}", self.name))
    }

    /// Dies as a killed process would.
    pub(super) fn kill(&self) {
        self.socket.lead_to(None);
        self.grpc.lead_to(None);
        self.ledger.die();
        let mut alive = self.alive();
        if let Some(running) = alive.running.take() {
            alive.commands_before += running.stats().commands;
        }
    }

    /// Ends in good order.
    pub(super) async fn shutdown(&self) {
        let running = self.alive().running.take();
        if let Some(running) = running {
            self.alive().commands_before += running.stats().commands;
            running.shutdown(Duration::from_secs(1)).await;
        }
    }

    /// Commands that reached the endpoint since the demo began, restarts and repetitions included.
    pub(super) fn deliveries(&self) -> u64 {
        let alive = self.alive();
        let now = alive
            .running
            .as_ref()
            .map_or(0, |running| running.stats().commands);
        alive.commands_before + now
    }

    fn alive(&self) -> MutexGuard<'_, Alive> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the bridge reaches it: through the proxies, with deadlines fit for a loopback.
    pub(super) fn route(&self) -> RouteOptions {
        let mut route = RouteOptions::new(self.name)
            .socket(self.socket.address())
            .grpc(self.grpc.address());
        route.window = WINDOW;
        route.first_sign_of_life = Duration::from_millis(1_000);
        route.grpc_try = Duration::from_millis(1_500);
        route.grpc_backoff = Duration::from_millis(50);
        route.heartbeat = HEARTBEAT;
        route.connect = Duration::from_secs(2);
        route.route_breaker = BreakerOptions {
            unanswered_max: 5,
            probe_after: Duration::from_millis(200),
            probe_after_max: Duration::from_millis(800),
        };
        route
    }
}
