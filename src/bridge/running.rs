//! Starting and stopping a bridge.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::feed::{DeliveryEnds, DeliveryFeed};
use super::lane::Lane;
use super::limits::LINGER;
use super::options::{BridgeOptions, OptionsError};
use super::route::Route;
use super::status::BridgeStatus;
use crate::env::{Env, Mono, timeout};
use crate::queue::{AdapterError, Command, SafeTaskQueue};

/// Takes commands out of a queue and delivers them to their routes' endpoints.
#[derive(Debug)]
pub struct Bridge;

/// A bridge was not started. Nothing was taken from the queue.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An option makes no sense.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The queue doesn't have a route, or not so.
    #[error("route `{route}`: {error}")]
    Adapter {
        /// The route.
        route: String,
        /// What the queue says.
        #[source]
        error: AdapterError,
    },
}

/// How a drain went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainReport {
    /// Whether everything in flight was finished and settled in time. What was not has been cut off:
    /// given back if it was never sent, else settled as in doubt.
    pub in_time: bool,
}

impl Bridge {
    /// Starts a lane and the links of every route. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`]; nothing was started.
    pub fn start(
        env: Env,
        queue: SafeTaskQueue<Command>,
        options: BridgeOptions,
    ) -> Result<RunningBridge, StartError> {
        options.validate()?;
        let BridgeOptions { software, routes } = options;
        let feed = DeliveryFeed::new();
        let mut lanes = Vec::with_capacity(routes.len());
        for options in routes {
            let name = options.name.clone();
            let route = Arc::new(Route::new(&env, options, &software));
            let lane = Lane::new(Arc::clone(&route), queue.clone(), feed.clone());
            let lane = lane.map_err(|error| StartError::Adapter { route: name, error })?;
            lanes.push((route, lane));
        }
        let stop = CancellationToken::new();
        let (drain, _) = watch::channel(None);
        let mut running = RunningBridge {
            env,
            routes: Vec::new(),
            lanes: Vec::new(),
            keepers: Vec::new(),
            drain,
            stop,
            feed,
        };
        for (route, lane) in lanes {
            for keeper in route.keepers() {
                let keeping = Arc::clone(keeper).run(running.stop.clone());
                running.keepers.push(tokio::spawn(keeping));
            }
            let lane = lane.run(running.drain.subscribe());
            running.lanes.push(tokio::spawn(lane));
            running.routes.push(route);
        }
        Ok(running)
    }
}

/// A bridge at work. Dropping it cuts everything off at once, as a crash would: what was sent and not
/// answered is in doubt. See [`RunningBridge::drain`] for the orderly way.
pub struct RunningBridge {
    env: Env,
    routes: Vec<Arc<Route>>,
    lanes: Vec<JoinHandle<()>>,
    keepers: Vec<JoinHandle<()>>,
    drain: watch::Sender<Option<Mono>>,
    stop: CancellationToken,
    feed: DeliveryFeed,
}

impl RunningBridge {
    /// What it does and has done.
    pub fn status(&self) -> BridgeStatus {
        BridgeStatus {
            routes: self.routes.iter().map(|route| route.status()).collect(),
        }
    }

    /// Listens to how deliveries end from here on, each told after its settlement is durable. A delivery whose
    /// lease was lost is settled by nobody and not told of.
    pub fn ends(&self) -> DeliveryEnds {
        self.feed.subscribe()
    }

    /// Leases nothing more, gives back what was not sent, finishes what is in flight for up to
    /// `deadline`, cuts off the rest, then closes the links. Takes a few seconds longer at most: what is
    /// cut off is rolled back. The queue stays open.
    ///
    /// Not cancel safe: dropped, it cuts everything off at once.
    pub async fn drain(mut self, deadline: Duration) -> DrainReport {
        let until = self.env.clock.now() + deadline;
        self.drain.send_replace(Some(until));
        for lane in &mut self.lanes {
            // Bounded by the deadline and the compensations behind it.
            if let Err(error) = lane.await {
                tracing::error!(%error, "a lane ended badly");
            }
        }
        let in_time = self.routes.iter().all(|route| !route.cut.is_cancelled());
        self.stop.cancel();
        for keeper in &mut self.keepers {
            if timeout(&*self.env.clock, 4 * LINGER, &mut *keeper)
                .await
                .is_err()
            {
                keeper.abort();
            }
        }
        DrainReport { in_time }
    }
}

impl Drop for RunningBridge {
    fn drop(&mut self) {
        for task in self.lanes.iter().chain(&self.keepers) {
            task.abort();
        }
    }
}

impl std::fmt::Debug for RunningBridge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningBridge")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
