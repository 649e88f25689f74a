//! Queue and bridge, which can be dropped together as in a crash and opened again from disk.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leasebridge::bridge::{Bridge, BridgeOptions, RouteOptions, RunningBridge};
use leasebridge::core::event::TransportKind;
use leasebridge::env::Env;
use leasebridge::queue::{Command, QueueOptions, SafeTaskQueue};
use tokio::sync::watch;

use crate::cli::exit::{Exit, Failure};

/// A queue of commands.
pub(super) type Queue = SafeTaskQueue<Command>;

/// How long the queue's folder may take to be let go by the life before.
const UNLOCK_PATIENCE: Duration = Duration::from_secs(20);

/// How long what is in flight may take at the end.
const DRAIN: Duration = Duration::from_secs(5);

/// What queue and bridge did for one route, over all their lives.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    pub(super) leases: u64,
    pub(super) by_socket: u64,
    pub(super) by_grpc: u64,
}

/// See the module's description.
pub(super) struct House {
    env: Env,
    dir: PathBuf,
    routes: Vec<RouteOptions>,
    /// The queue while it lives; whoever holds a clone lets go of it when this says `None`.
    pub(super) queue: watch::Sender<Option<Queue>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bridge: Option<RunningBridge>,
    /// By route, in the order of the options: what the lives before did.
    past: Vec<Traffic>,
}

impl House {
    /// Opens the queue in `dir` and starts the bridge.
    pub(super) async fn open(
        env: &Env,
        dir: PathBuf,
        routes: Vec<RouteOptions>,
    ) -> Result<Self, Failure> {
        let past = vec![Traffic::default(); routes.len()];
        let house = Self {
            env: env.clone(),
            dir,
            routes,
            queue: watch::Sender::new(None),
            state: Mutex::new(State { bridge: None, past }),
        };
        house.reopen().await?;
        Ok(house)
    }

    /// Opens the queue from disk and starts a new bridge, as soon as the life before has let go.
    pub(super) async fn reopen(&self) -> Result<(), Failure> {
        let clock = &self.env.clock;
        let give_up = clock.now() + UNLOCK_PATIENCE;
        let queue = loop {
            let mut options = QueueOptions::new(&self.dir);
            options.env = self.env.clone();
            options.backoff_min = Duration::from_millis(50);
            options.backoff_max = Duration::from_millis(400);
            options.segment_bytes = 4 << 20;
            match Queue::open(options).await {
                Ok(queue) => break queue,
                Err(error) if error.is_locked() && clock.now() < give_up => {
                    clock.sleep(Duration::from_millis(5)).await;
                }
                Err(error) => return Err(Failure::new(Exit::Journal, error.to_string())),
            }
        };
        for route in &self.routes {
            let defined = queue.define_route(&route.name).await;
            defined.map_err(|error| Failure::new(Exit::Journal, error.to_string()))?;
        }
        let options = BridgeOptions::new(self.routes.clone());
        let bridge = Bridge::start(self.env.clone(), queue.clone(), options)
            .map_err(|error| Failure::failed(error.to_string()))?;
        self.state().bridge = Some(bridge);
        self.queue.send_replace(Some(queue));
        Ok(())
    }

    /// Drops bridge and queue where they stand; nothing is said to anybody. Returns how many commands
    /// were in flight.
    pub(super) fn crash(&self) -> usize {
        self.remember();
        let queue = self.queue.send_replace(None);
        let bridge = self.state().bridge.take();
        let in_flight = bridge.as_ref().map_or(0, |bridge| {
            bridge
                .status()
                .routes
                .iter()
                .map(|route| route.in_flight)
                .sum()
        });
        drop((queue, bridge));
        in_flight
    }

    /// Ends both in good order.
    pub(super) async fn close(&self) -> Result<(), Failure> {
        self.remember();
        let bridge = self.state().bridge.take();
        if let Some(bridge) = bridge {
            bridge.drain(DRAIN).await;
        }
        let queue = self.queue.send_replace(None);
        if let Some(queue) = queue {
            let closed = queue.close().await;
            closed.map_err(|failure| Failure::new(Exit::Journal, failure.to_string()))?;
        }
        Ok(())
    }

    /// What was done for each route, in the order of the options.
    pub(super) fn traffic(&self) -> Vec<Traffic> {
        let state = self.state();
        let queue = self.queue.borrow();
        let totals = queue.as_ref().map(|queue| queue.status().routes);
        let links = state.bridge.as_ref().map(|bridge| bridge.status().routes);
        let mut traffic = state.past.clone();
        for (route, sum) in self.routes.iter().zip(&mut traffic) {
            let mut found = totals.iter().flatten();
            if let Some(lane) = found.find(|lane| lane.route == route.name) {
                sum.leases += lane.totals.granted;
            }
            let mut found = links.iter().flatten();
            let links = found.find(|found| found.name == route.name);
            for link in links.iter().flat_map(|route| &route.links) {
                *match link.transport {
                    TransportKind::Socket => &mut sum.by_socket,
                    TransportKind::Grpc => &mut sum.by_grpc,
                } += link.counts.replies;
            }
        }
        traffic
    }

    fn remember(&self) {
        let traffic = self.traffic();
        self.state().past = traffic;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
