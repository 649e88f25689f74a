//! [`SafeTaskQueue`]: the typed face of the engine.

use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use super::backpressure::BackpressureSignal;
use super::engine::{Core, Granted, Owner, Promise, QueueStage, Unclaimed, Unread};
use super::envelope;
use super::error::{EnqueueError, LeaseError, OpenError};
use super::feed::LifecycleFeed;
use super::kept::KeptLeases;
use super::lease::{Failure, Held, Lease, Lot, Sends};
use super::log::LogFailure;
use super::options::QueueOptions;
use super::payload::Payload;
use crate::core::event::Next;
use crate::core::{Now, Refusal, Reply, Report, RouteId, Settlement};
use crate::env::Env;

/// A durable lease queue of `T`.
///
/// Cheap to clone; clones share the queue. Once [`SafeTaskQueue::enqueue`] has returned, the command is
/// leased to somebody, again and again, until it is acknowledged, or sits in the poison store with its
/// history: no crash, no full disk and no dropped lease loses it.
///
/// Close it with [`SafeTaskQueue::close`]. Dropped without, it is left as a crash would leave it, minus the
/// loss: what is pending is still written.
///
/// ```
/// use leasebridge::queue::{QueueOptions, SafeTaskQueue, TaskOptions};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let queue = SafeTaskQueue::<String>::open(QueueOptions::new(folder.path())).await?;
/// queue.enqueue("open the valve".to_owned(), TaskOptions::default()).await?;
/// let lease = queue.lease("default").await?;
/// assert_eq!(lease.value(), "open the valve");
/// lease.ack().await?;
/// queue.close().await?;
/// # Ok(())
/// # }
/// ```
pub struct SafeTaskQueue<T> {
    pub(crate) owner: Arc<Owner>,
    payload: PhantomData<fn() -> T>,
}

impl<T> Clone for SafeTaskQueue<T> {
    fn clone(&self) -> Self {
        Self {
            owner: self.owner.clone(),
            payload: PhantomData,
        }
    }
}

impl<T> std::fmt::Debug for SafeTaskQueue<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dir = &self.owner.engine.options.dir;
        f.debug_struct("SafeTaskQueue")
            .field("dir", dir)
            .finish_non_exhaustive()
    }
}

impl<T> SafeTaskQueue<T> {
    /// The outside world it lives in.
    pub fn env(&self) -> &Env {
        &self.owner.engine.env
    }

    /// The options it was opened with.
    pub fn options(&self) -> &QueueOptions {
        &self.owner.engine.options
    }

    /// Hears what happens from now on, in order, each thing after it is durable.
    pub fn subscribe(&self) -> LifecycleFeed {
        self.owner.engine.look_and(|core, _| core.told.listen())
    }

    /// The backpressure signal; never active without watermarks.
    pub fn backpressure(&self) -> watch::Receiver<BackpressureSignal> {
        self.owner.engine.look(|core, _| core.told.watch_depth())
    }

    /// Completes when the backpressure signal is clear; at once if it is. Cancel safe.
    ///
    /// # Errors
    /// [`EnqueueError::Closed`] when the queue is gone meanwhile.
    pub async fn wait_for_draining(&self) -> Result<BackpressureSignal, EnqueueError> {
        let mut signal = self.backpressure();
        let ended = self.owner.engine.ended();
        tokio::select! {
            biased;
            clear = signal.wait_for(|signal| !signal.active) => {
                clear.map(|signal| *signal).map_err(|_| EnqueueError::Closed)
            }
            _ = ended => Err(EnqueueError::Closed),
        }
    }

    /// Sets or removes the watermarks: high, and low if not half of that. The state starts anew and the
    /// depth is judged at once.
    pub fn set_watermarks(&self, high: Option<u64>, low: Option<u64>) {
        let options = &self.owner.engine.options;
        let asked = QueueOptions {
            high_watermark: high,
            low_watermark: low,
            ..options.clone()
        };
        self.owner.engine.look_and(|core, _| {
            core.told.set_watermarks(asked.watermarks(), &core.state);
        });
    }

    /// Completes with the reason when the log has failed or is somebody else's: stop, and exit non-zero.
    /// Never completes for a queue that was closed. Cancel safe.
    pub async fn failed(&self) -> LogFailure {
        match self.owner.engine.ended().await {
            super::engine::EngineEnd::Failed(failure) => failure,
            super::engine::EngineEnd::Closed => std::future::pending().await,
        }
    }

    /// Completes when the queue has been closed, by whomever. Never completes for one that has failed. Cancel safe.
    pub async fn closed(&self) {
        if let super::engine::EngineEnd::Failed(_) = self.owner.engine.ended().await {
            std::future::pending().await
        }
    }

    /// Stops taking commands and granting leases, gives back what is held (in doubt, if it may have been
    /// sent), seals the log and lets go of the folder. Once polled, it goes on without its caller.
    ///
    /// # Errors
    /// [`LogFailure`] when the journal fails, or had failed; what is on disk is recovered at the next
    /// opening.
    pub async fn close(&self) -> Result<(), LogFailure> {
        self.owner.engine.close().await
    }

    /// Makes a route known, so that it can be enqueued to and leased from.
    ///
    /// # Errors
    /// [`LeaseError::UnknownRoute`] when its name is empty or too long, or the log's segments have no room
    /// for more routes.
    pub async fn define_route(&self, name: &str) -> Result<(), LeaseError> {
        let options = self.options();
        self.operate(|core, now| core.define_route(options, now, name))
            .await
            .map(drop)
    }

    /// Makes routes known, all with one sync. Those before one that is refused are known then.
    ///
    /// # Errors
    /// The name that was refused, or the first one if none was, and why; as [`SafeTaskQueue::define_route`].
    pub async fn define_routes(&self, names: &[&str]) -> Result<(), (String, LeaseError)> {
        let failed = |name: &str, error| (name.to_owned(), error);
        let defined = self.owner.engine.durably(|core, now| {
            for name in names {
                if core.stage == QueueStage::Closed {
                    return Err(failed(name, LeaseError::Closed));
                }
                core.define_route(self.options(), now, name)
                    .map_err(|refusal| failed(name, refusal.into()))?;
            }
            Ok(())
        });
        let first = names.first().copied().unwrap_or_default();
        let defined = defined.await;
        defined.map_err(|failure| failed(first, LeaseError::InDoubt(failure)))?
    }

    /// Runs one decision durably.
    pub(crate) async fn operate(
        &self,
        operation: impl FnOnce(&mut Core, Now) -> Result<Reply, Refusal>,
    ) -> Result<Reply, LeaseError> {
        let decided = self.owner.engine.durably(|core, now| match core.stage {
            QueueStage::Closed => Err(LeaseError::Closed),
            QueueStage::Open | QueueStage::Closing => {
                operation(core, now).map_err(LeaseError::from)
            }
        });
        decided.await.map_err(LeaseError::InDoubt)?
    }

    pub(crate) fn route_id(&self, name: &str) -> Result<RouteId, LeaseError> {
        let found = self.owner.engine.look(|core, _| core.state.route(name));
        found.ok_or_else(|| LeaseError::UnknownRoute(name.to_owned()))
    }
}

impl<T: Payload> SafeTaskQueue<T> {
    /// Opens the queue in the options' folder, making it if there is none, and recovers what it holds.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong, where, and what to run; nothing was changed then.
    pub async fn open(options: QueueOptions) -> Result<Self, OpenError> {
        let owner = Owner::open(options).await?;
        Ok(Self {
            owner,
            payload: PhantomData,
        })
    }

    /// Leases the oldest ready task of a route, waiting for one. Returns once the lease's epoch is durable.
    ///
    /// # Errors
    /// [`LeaseError::UnknownRoute`], [`LeaseError::Closed`], or [`LeaseError::InDoubt`] when the journal
    /// fails. Cancel safe: a lease that was granted meanwhile goes back to its place.
    pub async fn lease(&self, route: &str) -> Result<Lease<T>, LeaseError> {
        loop {
            // Empty only if what was leased could not be read: that has gone to the poison store.
            if let Some(lease) = self.lease_batch(route, 1).await?.pop() {
                return Ok(lease);
            }
        }
    }

    /// Leases up to `max` of the oldest ready tasks of a route with one sync, waiting for at least one.
    ///
    /// # Errors
    /// As [`SafeTaskQueue::lease`].
    pub async fn lease_batch(&self, route: &str, max: usize) -> Result<Vec<Lease<T>>, LeaseError> {
        let id = self.route_id(route)?;
        self.lease_for(id, &route.into(), max, None).await
    }

    pub(crate) async fn lease_for(
        &self,
        id: RouteId,
        route: &Arc<str>,
        max: usize,
        kept: Option<&Arc<KeptLeases>>,
    ) -> Result<Vec<Lease<T>>, LeaseError> {
        loop {
            let promise = self.granted(id, max.max(1)).await?;
            let leases = self.claim(promise, route, kept).await?;
            if !leases.is_empty() {
                return Ok(leases);
            }
        }
    }

    /// Whether a task of the route could be leased now.
    #[cfg(feature = "bridge")]
    pub(crate) fn has_ready(&self, id: RouteId) -> bool {
        let engine = &self.owner.engine;
        engine.look(|core, _| core.state.counts(id).ready > 0 && !core.state.is_paused(id))
    }

    /// Waits until a task of the route can be leased; for ever once the queue is closed. Cancel safe.
    #[cfg(feature = "bridge")]
    pub(crate) async fn has_come(&self, id: RouteId) {
        let engine = &self.owner.engine;
        let lane = engine.look(|core, _| core.waiting.lane(id));
        loop {
            let mut news = std::pin::pin!(lane.notified());
            news.as_mut().enable();
            if self.has_ready(id) {
                // The wake may have been meant for somebody who leases.
                lane.notify_one();
                return;
            }
            news.await;
        }
    }

    /// What is ready now, without waiting for any to come.
    pub(crate) async fn lease_ready(
        &self,
        id: RouteId,
        route: &Arc<str>,
        max: usize,
    ) -> Result<Vec<Lease<T>>, LeaseError> {
        let promise = self.owner.engine.grant(&self.owner, id, max);
        if !promise.is_empty() {
            return self.claim(promise, route, None).await;
        }
        match self.owner.engine.look(|core, _| core.stage) {
            QueueStage::Open => Ok(Vec::new()),
            _ => Err(self.why_closed()),
        }
    }

    /// Waits until at least one lease is granted.
    async fn granted(&self, id: RouteId, max: usize) -> Result<Promise<Unclaimed>, LeaseError> {
        let engine = &self.owner.engine;
        // Whoever finds something ready waits for no news of it.
        let promise = engine.grant(&self.owner, id, max);
        if !promise.is_empty() {
            return Ok(promise);
        }
        let lane = engine.look(|core, _| core.waiting.lane(id));
        loop {
            // Dropped before the promise is returned. Kept while that waits for the disk, it could take a wake that
            // is meant for another caller, and the task behind it would lie ready for as long.
            let mut ready = std::pin::pin!(lane.notified());
            ready.as_mut().enable();
            let promise = engine.grant(&self.owner, id, max);
            if !promise.is_empty() {
                return Ok(promise);
            }
            if engine.look(|core, _| core.stage) != QueueStage::Open {
                return Err(self.why_closed());
            }
            ready.await;
        }
    }

    /// Makes leases of what was granted, once that is durable. What can't be read is left out: it is in the
    /// poison store then.
    async fn claim(
        &self,
        promise: Promise<Unclaimed>,
        route: &Arc<str>,
        kept: Option<&Arc<KeptLeases>>,
    ) -> Result<Vec<Lease<T>>, LeaseError> {
        let engine = &self.owner.engine;
        let mut unclaimed = engine.kept(promise).await.map_err(LeaseError::InDoubt)?;
        // Read what is not in memory before anything is taken from the guard.
        let missing = unclaimed
            .granted
            .iter()
            .filter(|granted| granted.record.is_none());
        let missing = missing.map(|granted| granted.grant.body).collect();
        let Some(read) = engine.read(missing).await else {
            return Err(self.why_closed());
        };
        let mut read = read.into_iter();
        let mut leases = Vec::with_capacity(unclaimed.granted.len());
        let lot = Arc::new(Lot {
            owner: self.owner.clone(),
            route: route.clone(),
            kept: kept.cloned(),
        });
        // From here on each lease is guarded by itself or still by `unclaimed`.
        unclaimed.granted.reverse();
        while let Some(Granted { grant, record }) = unclaimed.granted.pop() {
            let held = Held {
                lot: lot.clone(),
                delivery: grant.delivery,
                key: None,
                enqueued_at: grant.enqueued_at,
                expires_at: grant.expires_at,
                settled: false,
            };
            if let Some(kept) = kept {
                kept.remember(grant.delivery);
            }
            let record = match record.map_or_else(|| read.next().expect("one answer each"), Ok) {
                Ok(record) => Ok(record),
                // It may only have been moved meanwhile.
                Err(_) => engine.read_record(held.delivery.task, grant.body).await,
            };
            leases.extend(Self::open_lease(held, record));
        }
        Ok(leases)
    }

    /// A command whose record is damaged can't be executed: it is kept, with the reason, in the poison store. One
    /// that the disk would not give up just now comes again, free of charge.
    fn open_lease(mut held: Held, record: Result<Bytes, Unread>) -> Option<Lease<T>> {
        let opened = record.and_then(|record| {
            envelope::open(record)
                .ok_or_else(|| Unread::Damaged("its envelope is damaged".to_owned()))
        });
        let decoded = opened.and_then(|(key, value)| {
            held.key = key;
            T::decode_from(value).map_err(|error| Unread::Damaged(error.to_string()))
        });
        match decoded {
            Ok(value) => Some(Lease::new(value, held)),
            Err(why) => {
                tracing::error!(task = %held.delivery.task, ?why, "a command can't be read");
                held.give_up_on(why);
                None
            }
        }
    }

    /// Acknowledges many leases with one sync; the replies are in order.
    ///
    /// # Errors
    /// [`LeaseError::InDoubt`] when the journal fails. Once polled, dropping the future takes nothing back.
    pub async fn ack_batch(
        &self,
        leases: impl IntoIterator<Item = Lease<T>>,
    ) -> Result<Vec<Result<(), LeaseError>>, LeaseError> {
        let endings = leases
            .into_iter()
            .map(|lease| lease.into_ending(Report::Done, Sends::default(), None));
        let ended = self.settle_all(endings.collect()).await?;
        Ok(ended.into_iter().map(|ended| ended.map(drop)).collect())
    }

    /// Fails many leases with one sync; the replies are in order and say where each task went.
    ///
    /// # Errors
    /// As [`SafeTaskQueue::ack_batch`].
    pub async fn fail_batch(
        &self,
        leases: impl IntoIterator<Item = (Lease<T>, Failure)>,
    ) -> Result<Vec<Result<Next, LeaseError>>, LeaseError> {
        let endings = leases.into_iter().map(|(lease, failure)| {
            let (report, error) = failure.into_report();
            lease.into_ending(report, Sends::default(), Some(error))
        });
        self.settle_all(endings.collect()).await
    }

    /// Settles many leases with one sync, each with the sends it took: `Ok` acknowledges, an error
    /// fails. The replies are in order and say where each task went.
    ///
    /// # Errors
    /// As [`SafeTaskQueue::ack_batch`].
    pub async fn settle_batch(
        &self,
        leases: impl IntoIterator<Item = (Lease<T>, Result<(), Failure>, Sends)>,
    ) -> Result<Vec<Result<Next, LeaseError>>, LeaseError> {
        let endings = leases.into_iter().map(|(lease, outcome, sends)| {
            let (report, error) = match outcome {
                Ok(()) => (Report::Done, None),
                Err(failure) => {
                    let (report, error) = failure.into_report();
                    (report, Some(error))
                }
            };
            lease.into_ending(report, sends, error)
        });
        self.settle_all(endings.collect()).await
    }

    /// Gives many leases back with one sync. Those that are over already went back by themselves.
    pub(crate) async fn release_all(&self, leases: Vec<Lease<T>>) -> Result<(), LeaseError> {
        let endings = leases
            .into_iter()
            .map(|lease| lease.into_ending(Report::Dropped, Sends::default(), None));
        self.settle_all(endings.collect()).await.map(drop)
    }

    async fn settle_all(
        &self,
        endings: Vec<Settlement>,
    ) -> Result<Vec<Result<Next, LeaseError>>, LeaseError> {
        let ended = self.owner.engine.durably(|core, now| {
            endings
                .into_iter()
                .map(|ending| core.settle(now, ending))
                .collect()
        });
        ended.await.map_err(LeaseError::InDoubt)
    }

    fn why_closed(&self) -> LeaseError {
        self.owner
            .engine
            .failure()
            .map_or(LeaseError::Closed, LeaseError::InDoubt)
    }
}
