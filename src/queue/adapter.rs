//! Pumps: leases taken from a route ahead of a reader, into a bounded channel.
//!
//! A pump leases only as many tasks as it has credits, one for each free place in the channel: what is leased
//! always has a place to go. A reader that frees a place gives back a credit and wakes one pump. Leases in
//! the channel and in the reader's hands are extended until they are settled, or reach `max_hold`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::credits::Credits;
use super::engine::vital;
use super::error::LeaseError;
use super::kept::KeptLeases;
use super::lease::Lease;
use super::options::DEFAULT_ROUTE;
use super::payload::Payload;
use super::queue::SafeTaskQueue;
use crate::coverage::{Site, sometimes};

/// Leases an adapter may have taken and not yet handed out: above this, memory is better spent elsewhere.
pub const CONCURRENCY_MAX: usize = 65_536;

/// An adapter was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdapterError {
    /// Out of range.
    #[error("option `concurrency` must be between 1 and 65536, not {0}")]
    Concurrency(usize),
    /// No such route.
    #[error("there is no route `{0}`")]
    UnknownRoute(String),
}

/// A stream of leases from one route of a queue.
///
/// Ends when the queue closes; ends with an error when its journal fails. Dropped, or stopped, the leases
/// nobody has read go back to their places, free of charge.
#[derive(Debug)]
pub struct TaskQueueChannelAdapter<T> {
    leases: mpsc::Receiver<Result<Lease<T>, LeaseError>>,
    credits: Arc<Credits>,
    open: watch::Sender<bool>,
    ahead: watch::Sender<usize>,
    pump: JoinHandle<()>,
    queue: SafeTaskQueue<T>,
    owns_queue: bool,
}

impl<T: Payload> TaskQueueChannelAdapter<T> {
    /// An adapter for the default route, with up to `concurrency` leases taken ahead of the reader. With
    /// `owns_queue`, [`TaskQueueChannelAdapter::stop`] closes the queue as well.
    ///
    /// # Errors
    /// [`AdapterError`] when `concurrency` is out of range.
    pub fn create(
        queue: SafeTaskQueue<T>,
        concurrency: usize,
        owns_queue: bool,
    ) -> Result<Self, AdapterError> {
        Self::create_for_route(queue, DEFAULT_ROUTE, concurrency, owns_queue)
    }

    /// The same, for any route.
    ///
    /// # Errors
    /// [`AdapterError`] when `concurrency` is out of range or there is no such route.
    pub fn create_for_route(
        queue: SafeTaskQueue<T>,
        route: &str,
        concurrency: usize,
        owns_queue: bool,
    ) -> Result<Self, AdapterError> {
        if concurrency == 0 || concurrency > CONCURRENCY_MAX {
            return Err(AdapterError::Concurrency(concurrency));
        }
        let id = queue.route_id(route);
        let id = id.map_err(|_| AdapterError::UnknownRoute(route.to_owned()))?;
        // One place more than there are credits: the word that the journal has failed always fits.
        let (sender, leases) = mpsc::channel(concurrency + 1);
        let credits = Arc::new(Credits::new(concurrency));
        let (open, is_open) = watch::channel(true);
        let (ahead, ahead_max) = watch::channel(concurrency);
        let kept = Arc::new(KeptLeases::default());
        let keeper = KeptLeases::keep(
            Arc::downgrade(&kept),
            Arc::downgrade(&queue.owner),
            queue.options().lease,
        );
        let engine = Arc::downgrade(&queue.owner.engine);
        tokio::spawn(vital(engine.clone(), "extender of leases", keeper));
        let pump = Pump {
            queue: queue.clone(),
            id,
            route: route.into(),
            sender,
            credits: credits.clone(),
            is_open,
            concurrency,
            ahead_max,
            kept,
        };
        let pump = tokio::spawn(vital(engine, "pump", pump.run()));
        Ok(Self {
            leases,
            credits,
            open,
            ahead,
            pump,
            queue,
            owns_queue,
        })
    }

    /// The next lease; `None` once the queue has closed or the adapter was stopped. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<Lease<T>, LeaseError>> {
        let lease = self.leases.recv().await;
        self.credits.give_back(usize::from(lease.is_some()));
        lease
    }

    /// Up to `max` leases that are there, waiting for at least one; empty once there will be no more.
    /// Cancel safe.
    pub async fn next_batch(&mut self, max: usize) -> Vec<Result<Lease<T>, LeaseError>> {
        let mut batch = Vec::new();
        let read = self.leases.recv_many(&mut batch, max.max(1)).await;
        self.credits.give_back(read);
        batch
    }

    /// Stops or resumes leasing. Those already in the channel stay there, and are extended.
    pub fn set_open(&self, open: bool) {
        self.open
            .send_if_modified(|now| std::mem::replace(now, open) != open);
    }

    /// So many leases may be taken ahead of the reader, within what the adapter was made for. Those that are there stay.
    pub fn set_ahead(&self, leases: usize) {
        self.ahead
            .send_if_modified(|now| std::mem::replace(now, leases) != leases);
    }

    /// Ends the pump and gives back what nobody has read; with `owns_queue`, closes the queue.
    ///
    /// # Errors
    /// [`LeaseError::InDoubt`] when the journal fails meanwhile.
    pub async fn stop(mut self) -> Result<(), LeaseError> {
        self.pump.abort();
        self.leases.close();
        let mut unread = Vec::new();
        while let Some(lease) = self.leases.recv().await {
            unread.extend(lease);
        }
        sometimes!(Site::UnreadReleased, !unread.is_empty());
        let released = self.queue.release_all(unread).await;
        if self.owns_queue {
            self.queue.close().await.map_err(LeaseError::InDoubt)?;
        }
        released
    }
}

impl<T> Drop for TaskQueueChannelAdapter<T> {
    fn drop(&mut self) {
        // The channel goes with the pump; each lease in it gives itself back.
        self.pump.abort();
    }
}

impl<T> Stream for TaskQueueChannelAdapter<T> {
    type Item = Result<Lease<T>, LeaseError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.leases.poll_recv(context);
        self.credits
            .give_back(usize::from(matches!(polled, Poll::Ready(Some(_)))));
        polled
    }
}

/// The loop that leases. One serves any concurrency: it takes as many leases at once as there are
/// credits.
struct Pump<T> {
    queue: SafeTaskQueue<T>,
    id: crate::core::RouteId,
    route: Arc<str>,
    sender: mpsc::Sender<Result<Lease<T>, LeaseError>>,
    credits: Arc<Credits>,
    is_open: watch::Receiver<bool>,
    concurrency: usize,
    /// How many leases may lie in the channel.
    ahead_max: watch::Receiver<usize>,
    kept: Arc<KeptLeases>,
}

impl<T: Payload> Pump<T> {
    /// Waits until a lease may be taken and says how many may be; `None` once the adapter is gone.
    async fn room(&mut self) -> Option<usize> {
        loop {
            let most = *self.ahead_max.borrow_and_update();
            // Of so many places that many stay free.
            let kept_free = self.concurrency.saturating_sub(most.max(1));
            tokio::select! {
                biased;
                free = self.credits.more_than(kept_free) => return Some(free - kept_free),
                changed = self.ahead_max.changed() => changed.ok()?,
            }
        }
    }

    async fn run(mut self) {
        loop {
            if self.is_open.wait_for(|open| *open).await.is_err() {
                return;
            }
            // Room first, then leases: what is leased always has a place to go.
            let Some(room) = self.room().await else {
                return;
            };
            let leasing = self
                .queue
                .lease_for(self.id, &self.route, room, Some(&self.kept));
            let leased = tokio::select! {
                biased;
                _ = self.is_open.wait_for(|open| !*open) => continue,
                leased = leasing => leased,
            };
            let over = match leased {
                Ok(leases) => {
                    self.credits.spend(leases.len());
                    leases
                        .into_iter()
                        .try_for_each(|lease| self.sender.try_send(Ok(lease)))
                }
                Err(LeaseError::Closed) => return,
                Err(error) => {
                    let _heard = self.sender.try_send(Err(error));
                    return;
                }
            };
            if over.is_err() {
                // The reader has gone; the leases have given themselves back.
                return;
            }
        }
    }
}
