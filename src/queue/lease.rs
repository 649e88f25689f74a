//! A lease: the exclusive, time-limited right to deliver one task.

use std::sync::Arc;
use std::time::Duration;

use super::engine::{Core, Engine, Owner, Promise, QueueStage, Unread, ending};
use super::error::LeaseError;
use super::kept::KeptLeases;
use crate::core::event::{Doubt, Next, TransportKind};
use crate::core::{
    DeliveryId, Input, Now, QueueMs, Reply, Report, Settlement, SpanMs, TaskId, TaskState,
};
use crate::coverage::{Site, reached};
use crate::env::Mono;

/// When a record that the disk did not give up is asked for again: long enough for a path to fail over.
const UNREAD_RETRY: SpanMs = SpanMs(1_000);

/// How an attempt failed, in the words of whoever holds the lease: the history keeps them beside the outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The endpoint answered no: again after a wait, at most `max_retries` times.
    Rejected(String),
    /// No for good: to the poison store.
    Refused(String),
    /// The endpoint asks to be spared for a while; costs nothing.
    Unavailable {
        /// Not before so long from now is it leased again.
        retry_after: Duration,
        /// What it said.
        reason: String,
    },
    /// It was sent, or may have been, and no definite answer came: again after a backoff.
    InDoubt(String),
    /// The code that delivers it panicked. As in doubt, and charged even if nobody was answered: it is this command on which
    /// that code fails, and given back it would do so for ever.
    Panicked(String),
    /// It certainly never reached the endpoint: back to its old place; costs nothing.
    NotSent(String),
}

/// The sends made under a lease, for the task's history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sends {
    /// How many were made; zero if nothing was sent.
    pub count: u8,
    /// The transport of the last.
    pub transport: Option<TransportKind>,
}

/// What an extension achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension {
    /// When the lease ends now.
    pub until: Mono,
    /// Whether that is later than before; not once `max_hold` is reached.
    pub extended: bool,
}

/// The right to deliver one task, until it is settled or its deadline passes.
///
/// Settle it with exactly one of [`Lease::ack`], [`Lease::fail`], [`Lease::move_to_poison`] and
/// [`Lease::release`]. Dropped without, it counts as in doubt if [`Lease::mark_sent`] was called, and
/// goes back to its old place otherwise, free of charge.
#[derive(Debug)]
pub struct Lease<T> {
    /// `None` only while it is being taken apart.
    value: Option<T>,
    held: Held,
}

/// What leases that were granted together have in common.
pub(crate) struct Lot {
    pub(crate) owner: Arc<Owner>,
    pub(crate) route: Arc<str>,
    /// Present if somebody extends them while they are held.
    pub(crate) kept: Option<Arc<KeptLeases>>,
}

/// A lease's identity and its way back.
pub(crate) struct Held {
    pub(crate) lot: Arc<Lot>,
    pub(crate) delivery: DeliveryId,
    pub(crate) key: Option<String>,
    pub(crate) enqueued_at: QueueMs,
    pub(crate) expires_at: Option<QueueMs>,
    pub(crate) settled: bool,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held")
            .field("delivery", &self.delivery)
            .finish_non_exhaustive()
    }
}

impl Held {
    fn engine(&self) -> &Engine {
        &self.lot.owner.engine
    }

    /// Ends the lease, now: what remains is to wait until that is durable.
    fn end(
        &mut self,
        report: Report,
        sends: Sends,
        error: Option<String>,
    ) -> Promise<SettleResult> {
        self.settled = true;
        let settlement = self.settlement(report, sends, error);
        self.engine().with(|core, now| core.settle(now, settlement))
    }

    /// Ends the lease of a task whose record was not read, without waiting for that to be durable.
    pub(crate) fn give_up_on(mut self, why: Unread) {
        let (report, why) = match why {
            Unread::Damaged(why) => (Report::Refused, why),
            Unread::ForNow(why) => (
                Report::Unavailable {
                    retry_after: UNREAD_RETRY,
                },
                why,
            ),
        };
        let error = Some(format!("its record can't be read: {why}"));
        let _rests = self.end(report, Sends::default(), error);
    }

    fn settlement(&self, report: Report, sends: Sends, error: Option<String>) -> Settlement {
        // The generator stands behind a lock, and most leases end well.
        let jitter = match report.may_back_off() {
            true => self.engine().env.entropy.next_u64(),
            false => 0,
        };
        Settlement {
            delivery: self.delivery,
            report,
            sends: sends.count,
            transport: sends.transport,
            error: error.map(String::into_boxed_str),
            jitter,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(kept) = &self.lot.kept {
            kept.forget(self.delivery);
        }
        if !self.settled {
            reached!(Site::LeaseDropped);
            let settlement = Settlement {
                jitter: self.engine().env.entropy.next_u64(),
                ..ending(self.delivery, Report::Dropped)
            };
            let _rests = self
                .engine()
                .with(|core, now| core.end(now, settlement, None));
        }
    }
}

type SettleResult = Result<Next, LeaseError>;

impl Core {
    /// Ends a lease for its holder.
    pub(crate) fn settle(&mut self, now: Now, settlement: Settlement) -> SettleResult {
        if self.stage == QueueStage::Closed {
            return Err(LeaseError::Closed);
        }
        match self.run(now, Input::Settle(settlement), &[])? {
            Reply::Settled(next) => Ok(next),
            other => unreachable!("a settlement is answered by a place to go, not by {other:?}"),
        }
    }

    fn is_held(&self, delivery: DeliveryId) -> bool {
        self.stage != QueueStage::Closed
            && self.state.view(delivery.task).is_some_and(|view| {
                view.epoch == Some(delivery.epoch) && matches!(view.state, TaskState::Leased(_))
            })
    }
}

impl<T> Lease<T> {
    pub(crate) fn new(value: T, held: Held) -> Self {
        Self {
            value: Some(value),
            held,
        }
    }

    /// What was enqueued.
    pub fn value(&self) -> &T {
        self.value.as_ref().expect("there until it is taken apart")
    }

    /// The id of the task that is leased.
    pub fn id(&self) -> TaskId {
        self.held.delivery.task
    }

    /// The task and the lease's epoch: what travels to the endpoint.
    pub fn delivery(&self) -> DeliveryId {
        self.held.delivery
    }

    /// The route it was leased from.
    pub fn route(&self) -> &str {
        &self.held.lot.route
    }

    /// The producer's idempotency key.
    pub fn key(&self) -> Option<&str> {
        self.held.key.as_deref()
    }

    /// When the command was enqueued, in queue time.
    pub fn enqueued_at(&self) -> QueueMs {
        self.held.enqueued_at
    }

    /// How long until the command's own deadline; zero if it has passed, `None` if it has none.
    pub fn expires_in(&self) -> Option<Duration> {
        let at = self.held.expires_at?;
        let now = self.held.engine().look(|_, now| now.queue);
        Some(at.since(now).as_duration())
    }

    /// How long it may still be held, however often it is extended; zero if it is over.
    pub fn hold_left(&self) -> Duration {
        let task = self.held.delivery.task;
        self.held.engine().look(|core, now| {
            let slot = core.state.slot_of(task);
            let granted = slot.and_then(|slot| core.state.granted_at(slot));
            let hold_max = SpanMs::from_duration(self.held.engine().options.max_hold);
            granted.map_or(Duration::ZERO, |granted| {
                granted.after(hold_max).since(now.mono).as_duration()
            })
        })
    }

    /// Notes that the delivery is about to be written to a transport: from here on, a lease that is lost
    /// is in doubt. Volatile and cheap; call it before the first byte.
    ///
    /// # Errors
    /// [`LeaseError::Stale`] or [`LeaseError::Closed`] if the lease is over, [`LeaseError::InDoubt`] if the log
    /// may not be ours any more: then send nothing.
    pub fn mark_sent(&self) -> Result<(), LeaseError> {
        let delivery = self.held.delivery;
        let engine = self.held.engine();
        // Whoever has the log now may have leased the task to somebody else.
        engine.holds().map_err(LeaseError::InDoubt)?;
        // Rests on nothing durable: nothing is promised to anybody.
        engine.look_and(|core, now| {
            if core.stage == QueueStage::Closed {
                return Err(LeaseError::Closed);
            }
            core.run(now, Input::Send { delivery }, &[])
                .map(drop)
                .map_err(LeaseError::from)
        })
    }

    /// Whether the lease can't be used any more: expired, settled by somebody else, or its queue closed.
    pub fn is_lost(&self) -> bool {
        self.held
            .engine()
            .look(|core, _| !core.is_held(self.held.delivery))
    }

    /// Completes when the lease can't be used any more: cancel the send. Cancel safe.
    pub async fn lost(&self) {
        let engine = self.held.engine();
        loop {
            let mut loss = std::pin::pin!(engine.lost.notified());
            loss.as_mut().enable();
            if self.is_lost() {
                return;
            }
            loss.await;
        }
    }

    /// Asks for the lease to last its full duration from now, within `max_hold`.
    ///
    /// # Errors
    /// [`LeaseError::Stale`] if it is over. Cancel safe.
    pub async fn extend(&self) -> Result<Extension, LeaseError> {
        let delivery = self.held.delivery;
        let engine = self.held.engine();
        let extended = engine.durably(|core, now| core.extend(now, delivery)).await;
        extended.map_err(LeaseError::InDoubt)?
    }

    /// The command was executed. Returns once that is durable: then it is never delivered again.
    ///
    /// Also welcome late: if the lease has been lost and no other was granted meanwhile, the task is done.
    ///
    /// # Errors
    /// [`LeaseError::Stale`] if another lease is current; nothing was changed.
    /// [`LeaseError::InDoubt`] if the journal failed under it. Once polled, dropping the future takes
    /// nothing back.
    pub async fn ack(self) -> Result<(), LeaseError> {
        self.ack_after(Sends::default()).await
    }

    /// [`Lease::ack`], with the sends it took.
    ///
    /// # Errors
    /// As [`Lease::ack`].
    pub async fn ack_after(self, sends: Sends) -> Result<(), LeaseError> {
        self.settle(Report::Done, sends, None).await.map(drop)
    }

    /// The attempt failed. Returns where the task went, once that is durable.
    ///
    /// # Errors
    /// As [`Lease::ack`].
    pub async fn fail(self, failure: Failure) -> Result<Next, LeaseError> {
        self.fail_after(failure, Sends::default()).await
    }

    /// [`Lease::fail`], with the sends it took.
    ///
    /// # Errors
    /// As [`Lease::ack`].
    pub async fn fail_after(self, failure: Failure, sends: Sends) -> Result<Next, LeaseError> {
        let (report, error) = failure.into_report();
        self.settle(report, sends, Some(error)).await
    }

    /// Never again: the task goes to the poison store with its history.
    ///
    /// # Errors
    /// As [`Lease::ack`].
    pub async fn move_to_poison(self, reason: impl Into<String>) -> Result<(), LeaseError> {
        let reason = Some(reason.into());
        self.settle(Report::Refused, Sends::default(), reason)
            .await
            .map(drop)
    }

    /// Gives the lease back unused: the task returns to its old place, free of charge. Only for what was
    /// never sent.
    ///
    /// # Errors
    /// As [`Lease::ack`].
    pub async fn release(self) -> Result<(), LeaseError> {
        self.settle(Report::Dropped, Sends::default(), None)
            .await
            .map(drop)
    }

    async fn settle(
        mut self,
        report: Report,
        sends: Sends,
        error: Option<String>,
    ) -> Result<Next, LeaseError> {
        let ending = self.held.end(report, sends, error);
        self.held
            .engine()
            .kept(ending)
            .await
            .map_err(LeaseError::InDoubt)?
    }

    /// Takes the lease apart: its value, and the settlement that whoever settles many will make.
    pub(crate) fn into_ending(
        mut self,
        report: Report,
        sends: Sends,
        error: Option<String>,
    ) -> Settlement {
        self.held.settled = true;
        self.held.settlement(report, sends, error)
    }

    /// The lease without its value; for drains.
    pub(crate) fn into_held(mut self) -> (T, Held) {
        let value = self.value.take().expect("there until it is taken apart");
        (value, self.held)
    }
}

impl Core {
    pub(crate) fn extend(
        &mut self,
        now: Now,
        delivery: DeliveryId,
    ) -> Result<Extension, LeaseError> {
        if self.stage == QueueStage::Closed {
            return Err(LeaseError::Closed);
        }
        match self.run(now, Input::Extend { delivery }, &[])? {
            Reply::Until { deadline, extended } => {
                let until = Mono::from_start(Duration::from_millis(deadline.0));
                Ok(Extension { until, extended })
            }
            other => unreachable!("an extension is answered by a deadline, not by {other:?}"),
        }
    }
}

impl Failure {
    pub(crate) fn into_report(self) -> (Report, String) {
        match self {
            Self::Rejected(text) => (Report::Rejected, text),
            Self::Refused(text) => (Report::Refused, text),
            Self::Unavailable {
                retry_after,
                reason,
            } => {
                let retry_after = SpanMs::from_duration(retry_after);
                (Report::Unavailable { retry_after }, reason)
            }
            Self::InDoubt(text) => (Report::InDoubt(Doubt::NoAnswer), text),
            Self::Panicked(text) => (Report::Panicked, text),
            Self::NotSent(text) => (Report::NotSent, text),
        }
    }
}
