//! Taking a send back, and what the endpoint says to that.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::bridge::link::Link;
use crate::bridge::patience::Patience;
use crate::bridge::result::TaskResult;
use crate::bridge::waiters::{KeptAnswer, RollbackState, Sign};
use crate::core::{DeliveryId, SendNumber};
use crate::coverage::{Site, reached};
use crate::env::timeout;
use crate::pipeline::{BoxError, Context};

/// What rollbacks have found out about one delivery.
#[derive(Default)]
pub(super) struct Learned(Mutex<RollbackFindings>);

#[derive(Default)]
struct RollbackFindings {
    /// One of them found the command executed: nothing is rolled back any more.
    done: Option<TaskResult>,
    last: Option<RollbackState>,
    /// Sends that were taken back before they left, one bit each.
    withdrawn: u64,
}

impl Learned {
    /// The result, if the command was found executed.
    pub(super) fn done(&self) -> Option<TaskResult> {
        self.found().done.clone()
    }

    /// What the last rollback found, if it was answered.
    pub(super) fn take_last(&self) -> Option<RollbackState> {
        self.found().last.take()
    }

    /// This send never left: there is nothing to roll back.
    pub(super) fn withdrawn(&self, send: u32) {
        self.found().withdrawn |= 1 << (send % u64::BITS);
    }

    fn was_withdrawn(&self, send: u32) -> bool {
        self.found().withdrawn & (1 << (send % u64::BITS)) != 0
    }

    fn note(&self, state: RollbackState) {
        reached!(match state {
            RollbackState::RolledBack => Site::RollbackTookBack,
            RollbackState::Unknown => Site::RollbackUnknown,
            RollbackState::InProgress => Site::RollbackInProgress,
            RollbackState::AlreadyDone(_) => Site::RollbackAlreadyDone,
        });
        let mut found = self.found();
        if let RollbackState::AlreadyDone(result) = &state {
            found.done = Some(result.clone());
        }
        found.last = Some(state);
    }

    fn found(&self) -> MutexGuard<'_, RollbackFindings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A link's silence to a rollback.
#[derive(Debug, thiserror::Error)]
#[error("the link died before the rollback of send {0} was answered")]
struct LinkDied(SendNumber);

/// The endpoint's silence to a rollback.
#[derive(Debug, thiserror::Error)]
#[error("no answer to the rollback of send {send} within {after:?}")]
struct NoAnswer {
    send: SendNumber,
    after: Duration,
}

/// How long a rollback waits.
#[derive(Clone, Copy)]
pub(super) struct RollbackWaits {
    /// For its answer, once it has left.
    pub(super) limit: Duration,
    /// For a link that stands still, before that.
    pub(super) stall: Duration,
}

/// Registers the rollback of one send. Run, it asks the endpoint over the same link, if that lives, and
/// notes the answer.
pub(super) fn register(
    scope: &Context,
    link: &Arc<Link>,
    delivery: DeliveryId,
    send: SendNumber,
    learned: &Arc<Learned>,
    waits: RollbackWaits,
) {
    let link = Arc::clone(link);
    let learned = Arc::clone(learned);
    scope.register_compensation("roll back a send", move || async move {
        roll_back(&link, delivery, send, &learned, waits).await
    });
}

async fn roll_back(
    link: &Link,
    delivery: DeliveryId,
    send: SendNumber,
    learned: &Learned,
    waits: RollbackWaits,
) -> Result<(), BoxError> {
    if learned.done().is_some() || learned.was_withdrawn(send.get()) {
        return Ok(());
    }
    let Ok(mut pending) = link.roll_back(delivery, send) else {
        // The link is dead: nobody can be asked, which is no fault of the compensation.
        return Ok(());
    };
    // Counted as unanswered until it is, whatever drops this future.
    let unanswered = &link.counters().rollbacks_unanswered;
    let open = UnlessAnswered(Some(unanswered));
    let clock = link.clock();
    let mut patience = Patience::new(link, clock.now(), waits.limit, waits.stall);
    let mut wait = patience.at_first();
    let sign = loop {
        match timeout(&**clock, wait, pending.next()).await {
            Ok(sign) => break sign,
            Err(_) => match patience.goes_on(link, pending.ticket(), clock.now()) {
                Some(more) => wait = more,
                None => {
                    let after = waits.limit;
                    return Err(Box::new(NoAnswer { send, after }));
                }
            },
        }
    };
    match sign {
        Sign::Answer(KeptAnswer::RolledBack(state)) => {
            open.answered();
            learned.note(state);
            Ok(())
        }
        Sign::LinkDied { .. } => Err(Box::new(LinkDied(send))),
        other => unreachable!("a rollback is answered by its reply, not by {other:?}"),
    }
}

/// Counts a rollback that was not answered, however it ends.
struct UnlessAnswered<'a>(Option<&'a crate::bridge::counters::Counter>);

impl UnlessAnswered<'_> {
    fn answered(mut self) {
        self.0 = None;
    }
}

impl Drop for UnlessAnswered<'_> {
    fn drop(&mut self) {
        if let Some(counter) = self.0 {
            counter.increment();
            reached!(Site::RollbackUnanswered);
        }
    }
}
