//! From what a store remembers to an inbox: the handler is asked about what a crash cut off.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

use crate::core::{DeliveryId, TaskId};
use crate::coverage::{Site, reached, sometimes};
use crate::receiver::engine::ExecutionMode;
use crate::receiver::handler::{Handler, RecoverOutcome};
use crate::receiver::inbox::{Inbox, InboxLimits, Remembered};
use crate::receiver::store::{InboxRecord, StoreError, StoredInbox, StoredTask};
use crate::wire::InboxId;

/// Reads the store and builds the inbox. What the handler decided is durable when this is ready.
pub(super) async fn rebuild(
    work: &ExecutionMode,
    limits: InboxLimits,
) -> Result<(InboxId, Inbox), StoreError> {
    let (inbox_id, stored) = match work {
        ExecutionMode::Handler { store, .. } => store.load().await?,
        ExecutionMode::Effects(log) => log.load().await?,
    };
    let StoredInbox {
        tasks,
        done,
        settled,
    } = stored;
    let remembers = !tasks.is_empty() || done.iter().next().is_some();
    sometimes!(Site::InboxRebuilt, remembers);
    let mut inbox = Inbox::new(limits);
    for range in settled.iter() {
        inbox.remember_settled(range);
    }
    inbox.remember_done_before(done);
    let mut decided = Vec::new();
    for (task, epoch, what) in tasks {
        let what = match what {
            StoredTask::Finished(Ok(result)) => Remembered::Done(result),
            StoredTask::Finished(Err(error)) => Remembered::Answered(error),
            StoredTask::NotStarted => Remembered::NotDone,
            StoredTask::Started => {
                reached!(Site::RecoverAsked);
                let delivery = DeliveryId { task, epoch };
                match recover(work, task).await {
                    RecoverOutcome::Done(result) => {
                        decided.push(InboxRecord::Finished(delivery, Ok(result.clone())));
                        Remembered::Done(result)
                    }
                    RecoverOutcome::NotDone => {
                        decided.push(InboxRecord::NotStarted(delivery));
                        Remembered::NotDone
                    }
                    RecoverOutcome::Unknown => {
                        tracing::warn!(
                            %task,
                            "executing when the receiver crashed, and nobody can say whether it was \
                             executed: its next delivery is refused"
                        );
                        Remembered::InDoubt
                    }
                }
            }
        };
        inbox.remember(task, epoch, what);
    }
    if let (ExecutionMode::Handler { store, .. }, false) = (work, decided.is_empty()) {
        store.append(decided).await?;
    }
    Ok((inbox_id, inbox))
}

async fn recover(work: &ExecutionMode, task: TaskId) -> RecoverOutcome {
    let ExecutionMode::Handler { handler, .. } = work else {
        unreachable!("an effect log remembers nothing as merely started");
    };
    let asked: &dyn Handler = &**handler;
    // A handler that panics here has not said that it knows.
    let answer = AssertUnwindSafe(async { asked.recover(task).await });
    answer
        .catch_unwind()
        .await
        .unwrap_or(RecoverOutcome::Unknown)
}
