//! The committer: makes durable what has gathered, then does what had to wait for it.

use std::sync::Arc;

use super::{Engine, EngineState, ExecutionMode, Job, PendingCommit, Phase};
use crate::core::TaskId;
use crate::coverage::{Site, reached};
use crate::env::Mono;
use crate::receiver::inbox::RunId;
use crate::receiver::store::{EffectLog, InboxRecord, InboxStore, StoreError};
use crate::wire::ExecutionOutcome;
use bytes::Bytes;

impl Engine {
    /// Runs until the receiver stops or its store fails.
    pub(in crate::receiver) async fn commit_all(self: Arc<Self>) {
        loop {
            let batch = {
                let mut state = self.state();
                let batch = std::mem::take(&mut state.pending);
                state.committing = !batch.is_empty();
                batch
            };
            if batch.is_empty() {
                if *self.phase.borrow() == Phase::Stopped {
                    return;
                }
                self.commit.notified().await;
                continue;
            }
            let committed = match &self.work {
                ExecutionMode::Effects(log) => self.commit_effects(&**log, batch).await,
                ExecutionMode::Handler { store, .. } => self.commit_records(&**store, batch).await,
            };
            if let Err(error) = committed {
                reached!(Site::StoreFailed);
                tracing::error!(%error, "the inbox can record nothing any more: stopping");
                {
                    let mut state = self.state();
                    state.pending.clear();
                    state.committing = false;
                }
                self.fail(error.into());
                return;
            }
            self.changed.notify_waiters();
        }
    }

    async fn commit_effects(
        &self,
        log: &dyn EffectLog,
        batch: Vec<PendingCommit>,
    ) -> Result<(), StoreError> {
        let mut started = Vec::with_capacity(batch.len());
        let mut commands = Vec::with_capacity(batch.len());
        {
            let mut state = self.state();
            for pending in batch {
                let PendingCommit::Effect(Job { run, command, .. }) = pending else {
                    unreachable!("an effect log has nothing else to record");
                };
                // From here on a rollback comes too late; what was taken back before is left out.
                if state.inbox.on_start(command.delivery.task, run) {
                    started.push((command.delivery.task, run));
                    commands.push(command);
                }
            }
        }
        if planted!(Bug::AnswerBeforeEffect) {
            self.executed(std::mem::take(&mut started));
        }
        if !commands.is_empty() {
            let begun = self.env.clock.now();
            log.append(commands).await?;
            self.committed(begun);
        }
        self.executed(started);
        Ok(())
    }

    /// These effects are recorded.
    fn executed(&self, started: Vec<(TaskId, RunId)>) {
        self.counters.executed.add(started.len());
        let mut state = self.state();
        for (task, run) in started {
            self.finish(&mut state, task, run, &Ok(Bytes::new()));
        }
    }

    async fn commit_records(
        self: &Arc<Self>,
        store: &dyn InboxStore,
        mut batch: Vec<PendingCommit>,
    ) -> Result<(), StoreError> {
        let records = batch.iter().map(record).collect();
        if planted!(Bug::AnswerBeforeEffect) {
            let is_end = |pending: &PendingCommit| matches!(pending, PendingCommit::Finish(..));
            let (ended, rest) = batch.into_iter().partition(is_end);
            self.recorded(ended);
            batch = rest;
        }
        let begun = self.env.clock.now();
        store.append(records).await?;
        let now = self.committed(begun);
        self.recorded(batch);
        self.start_ready(now);
        Ok(())
    }

    /// A commit that began then is through; says when.
    fn committed(&self, begun: Mono) -> Mono {
        let now = self.env.clock.now();
        self.counters
            .commit_time
            .record(now.saturating_since(begun));
        now
    }

    /// These records are durable: what had to wait for that is done.
    fn recorded(&self, batch: Vec<PendingCommit>) {
        let mut state = self.state();
        for pending in batch {
            match pending {
                PendingCommit::Start(job) => state.ready.push_back(job),
                PendingCommit::Finish(run, delivery, outcome) => {
                    self.finish(&mut state, delivery.task, run, &outcome);
                }
                PendingCommit::NotStarted(_) | PendingCommit::Settled(_) => {}
                PendingCommit::Effect(_) => unreachable!("effects have a log of their own"),
            }
        }
    }

    /// An outcome is as durable as it will ever be: remembers it and answers everybody who waits.
    pub(super) fn finish(
        &self,
        state: &mut EngineState,
        task: TaskId,
        run: RunId,
        outcome: &ExecutionOutcome,
    ) {
        for waiter in state.inbox.on_finished(task, run, outcome) {
            self.answer(state, waiter, outcome.clone().into());
        }
    }
}

fn record(pending: &PendingCommit) -> InboxRecord {
    match pending {
        PendingCommit::Start(job) | PendingCommit::Effect(job) => {
            InboxRecord::Started(job.command.delivery)
        }
        PendingCommit::Finish(_, delivery, outcome) => {
            InboxRecord::Finished(*delivery, outcome.clone())
        }
        PendingCommit::NotStarted(delivery) => InboxRecord::NotStarted(*delivery),
        PendingCommit::Settled(range) => InboxRecord::Settled(*range),
    }
}
