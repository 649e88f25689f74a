//! What an endpoint executes, told around the execution.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use leasebridge::env::BoxFuture;
use leasebridge::history::{TaskName, What};
use leasebridge::receiver::store::{InboxRecord, StoredInbox};
use leasebridge::receiver::{Delivered, EffectLog, Handler, HandlerError, InboxStore, StoreError};
use leasebridge::wire::InboxId;

use super::op::op_of;
use super::{HistorySink, Past};

fn executing(command: &Delivered) -> What {
    What::Executing {
        task: TaskName::from(command.delivery.task),
        epoch: command.delivery.epoch.get(),
        send: command.send.get(),
        op: op_of(&command.key, &command.body),
        bridge: None,
    }
}

fn executed(command: &Delivered, result: &str) -> What {
    What::Executed {
        task: TaskName::from(command.delivery.task),
        epoch: command.delivery.epoch.get(),
        result: result.to_owned(),
        op: op_of(&command.key, &command.body),
    }
}

/// A log of effects whose executions are told.
///
/// A process that is killed after an effect and before its record leaves an execution without an end in the
/// history. The next process answers *done* for that effect, so it first tells which of these executions the log
/// remembers.
pub(crate) struct ToldEffects<L> {
    pub(crate) inner: L,
    pub(crate) history: HistorySink,
    pub(crate) past: Mutex<Past>,
}

impl<L: EffectLog> EffectLog for ToldEffects<L> {
    fn load(&self) -> BoxFuture<'_, Result<(InboxId, StoredInbox), StoreError>> {
        Box::pin(async move {
            let (inbox, stored) = self.inner.load().await?;
            let (mut whats, boots) = {
                let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
                (ended_by(&stored, &mut past), past.boots)
            };
            whats.push(up(boots, inbox));
            tell(&self.history, whats).await?;
            Ok((inbox, stored))
        })
    }

    fn append(&self, commands: Vec<Delivered>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let ended = commands.iter().map(|command| executed(command, "done"));
            let ended = ended.collect();
            tell(&self.history, commands.iter().map(executing).collect()).await?;
            self.inner.append(commands).await?;
            tell(&self.history, ended).await
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}

/// An endpoint that can't give evidence any more stops like one that can't remember.
async fn tell(history: &HistorySink, whats: Vec<What>) -> Result<(), StoreError> {
    history.tell(whats).await.map_err(|lost| {
        tracing::error!(%lost, "stopping");
        StoreError::Stopped
    })
}

fn up(boots: u32, inbox: InboxId) -> What {
    What::Up {
        boot: boots + 1,
        inbox: inbox.to_string(),
    }
}

/// The ends of executions that nobody has told, as far as the log remembers them.
fn ended_by(stored: &StoredInbox, past: &mut Past) -> Vec<What> {
    let unfinished = std::mem::take(&mut past.unfinished);
    let remembered = unfinished
        .into_iter()
        .filter(|(task, _)| stored.done.contains((*task).into()));
    let end = |(task, (epoch, op))| What::Executed {
        task,
        epoch,
        result: "done".to_owned(),
        op,
    };
    remembered.map(end).collect()
}

/// A memory that is told of when it is made.
pub(crate) struct ToldStore<S> {
    pub(crate) inner: S,
    pub(crate) history: HistorySink,
    pub(crate) boots: u32,
}

impl<S: InboxStore> InboxStore for ToldStore<S> {
    fn load(&self) -> BoxFuture<'_, Result<(InboxId, StoredInbox), StoreError>> {
        Box::pin(async move {
            let (inbox, stored) = self.inner.load().await?;
            tell(&self.history, vec![up(self.boots, inbox)]).await?;
            Ok((inbox, stored))
        })
    }

    fn append(&self, records: Vec<InboxRecord>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.append(records)
    }

    fn is_volatile(&self) -> bool {
        self.inner.is_volatile()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}

/// A handler whose executions are told.
pub(crate) struct ToldHandler<H> {
    pub(crate) inner: H,
    pub(crate) history: HistorySink,
}

impl<H: Handler> Handler for ToldHandler<H> {
    fn handle(&self, command: Delivered) -> BoxFuture<'_, Result<Bytes, HandlerError>> {
        Box::pin(async move {
            let lost = |_| HandlerError::Refused("the history can't be written any more".into());
            let begin = self.history.tell(vec![executing(&command)]).await;
            begin.map_err(lost)?;
            let result = self.inner.handle(command.clone()).await;
            let word = match &result {
                Ok(_) => "done",
                Err(HandlerError::Rejected(_)) => "rejected",
                Err(HandlerError::Refused(_)) => "refused",
                Err(HandlerError::Unavailable { .. }) => "unavailable",
            };
            let end = self.history.tell(vec![executed(&command, word)]).await;
            if let Err(lost) = end {
                // It was executed, and is answered as what it is; only the evidence ends here.
                tracing::error!(%lost, "an execution is not told of");
            }
            result
        })
    }
}

#[cfg(test)]
mod tests {
    use leasebridge::core::IdRange;
    use leasebridge::history::OpId;

    use super::*;

    #[test]
    fn what_the_log_remembers_of_cut_off_executions_is_told_and_nothing_else() {
        let task = |seq: u64| -> TaskName {
            let task = format!("{seq}-00000000000000aa").parse();
            task.expect("a task's name")
        };
        let mut past = Past::default();
        past.unfinished.insert(task(1), (2, OpId(11)));
        past.unfinished.insert(task(2), (1, OpId(12)));
        let mut stored = StoredInbox::default();
        let remembered = IdRange::one(task(1).into());
        assert!(stored.done.insert(remembered, usize::MAX));
        let told = ended_by(&stored, &mut past);
        let told = serde_json::to_value(told).expect("records are JSON");
        let only = serde_json::json!([
            {"what": "executed", "task": task(1), "epoch": 2, "result": "done", "op": 11}
        ]);
        assert_eq!(told, only);
    }
}
