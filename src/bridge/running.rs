//! Starting and stopping a bridge.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::earlier::EarlierLives;
use super::feed::{DeliveryEnds, DeliveryFeed};
use super::lane::DeliveryLane;
use super::limits::LINGER;
use super::options::{BridgeOptions, BridgeOptionsError};
use super::route::Route;
use super::view::BridgeView;
use crate::env::{Env, Mono, timeout};
use crate::observe::BridgeStatus;
use crate::queue::{AdapterError, Command, SafeTaskQueue};
use crate::watched::{TaskEnd, watched};

/// Takes commands out of a queue and delivers them to their routes' endpoints.
#[derive(Debug)]
pub struct Bridge;

/// A bridge was not started. Nothing was taken from the queue.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An option makes no sense.
    #[error(transparent)]
    Options(#[from] BridgeOptionsError),
    /// The queue doesn't have a route, or not so.
    #[error("route `{route}`: {error}")]
    Adapter {
        /// The route's name.
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
        let earlier = Arc::new(EarlierLives::new(queue.clone()));
        let mut lanes = Vec::with_capacity(routes.len());
        for options in routes {
            let name = options.name.clone();
            let route = Route::new(&env, options, &software, &earlier, queue.max_hold());
            let route = Arc::new(route);
            let lane = DeliveryLane::new(Arc::clone(&route), queue.clone(), feed.clone());
            let lane = lane.map_err(|error| StartError::Adapter { route: name, error })?;
            lanes.push((route, lane));
        }
        let stop = CancellationToken::new();
        let (drain, _) = watch::channel(None);
        let mut running = RunningBridge {
            view: BridgeView::new(
                Arc::clone(&env.clock),
                lanes.iter().map(|(route, _)| Arc::clone(route)).collect(),
            ),
            env,
            lanes: Vec::new(),
            keepers: Vec::new(),
            drain,
            stop,
            feed,
            ended: watch::Sender::new(None),
        };
        for (route, lane) in lanes {
            let name = &route.options.name;
            for keeper in route.keepers() {
                let keeping = Arc::clone(keeper).run(running.stop.clone());
                let keeper = running.spawn(format!("a link of route `{name}`"), keeping);
                running.keepers.push(keeper);
            }
            let lane = lane.run(running.drain.subscribe());
            let lane = running.spawn(format!("the lane of route `{name}`"), lane);
            running.lanes.push(lane);
        }
        Ok(running)
    }
}

/// A bridge at work. Dropping it cuts everything off at once, as a crash would: what was sent and not
/// answered is in doubt. See [`RunningBridge::drain`] for the orderly way.
pub struct RunningBridge {
    env: Env,
    view: BridgeView,
    lanes: Vec<JoinHandle<()>>,
    keepers: Vec<JoinHandle<()>>,
    drain: watch::Sender<Option<Mono>>,
    stop: CancellationToken,
    feed: DeliveryFeed,
    /// Which task was the last to end, and how.
    ended: watch::Sender<Option<String>>,
}

impl RunningBridge {
    /// What it does and has done.
    pub fn status(&self) -> BridgeStatus {
        self.view.status()
    }

    /// Looks at the bridge from elsewhere, for as long as anybody likes.
    pub fn view(&self) -> BridgeView {
        self.view.clone()
    }

    /// Completes when a part of the bridge is gone that nobody asked to end, and says which: it panicked, or
    /// the queue was closed or has failed. What is left serves the other routes; end it. Cancel safe.
    pub async fn ended(&self) -> String {
        let mut ended = self.ended.subscribe();
        let last = ended.wait_for(Option::is_some).await;
        let last = last.expect("the bridge holds the sender");
        last.clone().unwrap_or_default()
    }

    fn spawn(
        &self,
        task: String,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let ended = self.ended.clone();
        tokio::spawn(watched(work, move |end| {
            ended.send_replace(Some(match end {
                TaskEnd::Ended(()) => format!("{task} ended"),
                TaskEnd::Panicked(why) => format!("{task} panicked: {why}"),
                TaskEnd::CutOff => format!("{task} was cut off"),
            }));
        }))
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
        let until = self.env.clock.now().saturating_add(deadline);
        self.drain.send_replace(Some(until));
        for lane in &mut self.lanes {
            // Bounded by the deadline and the compensations behind it.
            // One that panicked has been told of.
            let _ended = lane.await;
        }
        let in_time = !self.view.is_cut();
        self.stop.cancel();
        for keeper in &mut self.keepers {
            if timeout(&*self.env.clock, LINGER.saturating_mul(4), &mut *keeper)
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
