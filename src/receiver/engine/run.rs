//! Calling the handler.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;

use super::{Engine, EngineState, ExecutionMode, Job, PendingCommit, Phase, full};
use crate::core::DeliveryId;
use crate::coverage::{Site, reached};
use crate::env::Mono;
use crate::receiver::handler::{ERROR_BYTES_MAX, Handler};
use crate::receiver::inbox::RunId;
use crate::watched::{TaskEnd, panic_text, watched};
use crate::wire::{ExecutionOutcome, HandlerError};

impl Engine {
    /// Starts what waits for a handler, as far as handlers are free. It is `now`.
    pub(super) fn start_ready(self: &Arc<Self>, now: Mono) {
        let ExecutionMode::Handler { handler, .. } = &self.work else {
            unreachable!("only commands with a handler become ready");
        };
        loop {
            let mut state = self.state();
            // Stopped as a crash would stop it: what was not started never is.
            let stopped = *self.phase.borrow() == Phase::Stopped || self.failed.get().is_some();
            if state.running >= self.options.handlers_max || stopped {
                return;
            }
            let Some(job) = state.ready.pop_front() else {
                return;
            };
            if !self.starts(&mut state, &job) {
                continue;
            }
            state.running = state.running.saturating_add(1);
            drop(state);
            let (engine, handler) = (Arc::clone(self), Arc::clone(handler));
            let executing = Arc::clone(&engine).run(job, handler, now);
            tokio::spawn(watched(executing, move |end| {
                // Handlers' panics are caught inside: this was one of our own.
                if let TaskEnd::Panicked(why) = end {
                    engine.lose_part("an execution", format!("panicked: {why}"));
                }
            }));
        }
    }

    /// Whether a command is executed now; not if its bridge has taken it back.
    fn starts(&self, state: &mut EngineState, job: &Job) -> bool {
        let delivery = job.command.delivery;
        let starts = state.inbox.on_start(delivery.task, job.run);
        if !starts && !self.forgets() {
            self.submit(state, PendingCommit::NotStarted(delivery));
        }
        starts
    }

    /// Answers what has waited for a handler for too long: not now. Handlers that hang would otherwise hold on
    /// to everything behind them until its leases end, in doubt for something that was never begun.
    pub(in crate::receiver) fn turn_away(&self, now: Mono) {
        let wait_max = self.options.handler_wait_max;
        let mut state = self.state();
        let has_waited = |job: &mut Job| job.since.saturating_add(wait_max) <= now;
        while let Some(job) = state.ready.pop_front_if(has_waited) {
            if self.starts(&mut state, &job) {
                reached!(Site::HandlerWaitEnded);
                self.counters.unavailable.add(1);
                let outcome = full(format!("no handler came free within {wait_max:?}"));
                self.conclude(&mut state, job.run, job.command.delivery, outcome);
            }
        }
    }

    /// A run has ended. A store that survives this process has to know before anybody else does.
    fn conclude(
        &self,
        state: &mut EngineState,
        run: RunId,
        mut delivery: DeliveryId,
        outcome: ExecutionOutcome,
    ) {
        if self.forgets() {
            self.finish(state, delivery.task, run, &outcome);
        } else {
            // A newer epoch may have joined: the outcome is recorded for the newest.
            let newest = state.inbox.bound_epoch(delivery.task);
            delivery.epoch = newest.expect("a running task has somebody waiting");
            self.submit(state, PendingCommit::Finish(run, delivery, outcome));
        }
    }

    /// Whether the inbox dies with this process.
    fn forgets(&self) -> bool {
        matches!(&self.work, ExecutionMode::Handler { store, .. } if store.is_volatile())
    }

    async fn run(self: Arc<Self>, job: Job, handler: Arc<dyn Handler>, started: Mono) {
        let Job { run, command, .. } = job;
        let delivery = command.delivery;
        // The future is made, polled and dropped inside: wherever its code panics, it is caught.
        let handled = AssertUnwindSafe(async move { handler.handle(command).await });
        let outcome = match handled.catch_unwind().await {
            Ok(outcome) => outcome,
            Err(panic) => {
                self.counters.panics.add(1);
                reached!(Site::HandlerPanicked);
                let text = format!("the handler panicked: {}", panic_text(&*panic));
                tracing::error!(%delivery, "{text}");
                Err(HandlerError::Rejected(text))
            }
        };
        let now = self.env.clock.now();
        self.counters
            .handler_time
            .record(now.saturating_since(started));
        let outcome = outcome.map_err(|error| error.capped(ERROR_BYTES_MAX));
        match outcome {
            Ok(_) => self.counters.executed.add(1),
            Err(_) => self.counters.not_executed.add(1),
        }
        {
            let mut state = self.state();
            let running = state.running.checked_sub(1);
            state.running = running.expect("it was counted when it began");
            self.conclude(&mut state, run, delivery, outcome);
        }
        self.changed.notify_waiters();
        self.start_ready(now);
    }
}
