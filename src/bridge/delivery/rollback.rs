//! Taking a send back, and what the endpoint says to that.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::bridge::link::Link;
use crate::bridge::result::TaskResult;
use crate::bridge::waiters::{KeptAnswer, RollbackState, Sign};
use crate::core::{DeliveryId, SendNumber};
use crate::coverage::{Site, reached};
use crate::pipeline::{BoxError, Context};

/// What rollbacks have found out about one delivery.
#[derive(Default)]
pub(super) struct Learned(Mutex<RollbackFindings>);

#[derive(Default)]
struct RollbackFindings {
    /// One of them found the command executed: nothing is rolled back any more.
    done: Option<TaskResult>,
    last: Option<RollbackState>,
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

/// Registers the rollback of one send. Run, it asks the endpoint over the same link, if that lives, and
/// notes the answer.
pub(super) fn register(
    scope: &Context,
    link: &Arc<Link>,
    delivery: DeliveryId,
    send: SendNumber,
    learned: &Arc<Learned>,
) {
    let link = Arc::clone(link);
    let learned = Arc::clone(learned);
    scope.register_compensation("roll back a send", move || async move {
        roll_back(&link, delivery, send, &learned).await
    });
}

async fn roll_back(
    link: &Link,
    delivery: DeliveryId,
    send: SendNumber,
    learned: &Learned,
) -> Result<(), BoxError> {
    if learned.done().is_some() {
        return Ok(());
    }
    let Ok(mut pending) = link.roll_back(delivery, send) else {
        // The link is dead: nobody can be asked, which is no fault of the compensation.
        return Ok(());
    };
    // Counted as unanswered until it is: the deadline drops this future.
    let unanswered = &link.counters().rollbacks_unanswered;
    let open = UnlessAnswered(Some(unanswered));
    match pending.next().await {
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
