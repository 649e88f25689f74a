//! Calling the handler.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;

use super::{Engine, Job, Pending, Phase, Work};
use crate::coverage::{Site, reached};
use crate::receiver::handler::{Handler, HandlerError, capped};
use crate::receiver::inbox::Outcome;

impl Engine {
    /// Starts what waits for a handler, as far as handlers are free.
    pub(super) fn start_ready(self: &Arc<Self>) {
        let Work::Handler { handler, store } = &self.work else {
            unreachable!("only commands with a handler become ready");
        };
        loop {
            let mut state = self.state();
            // Stopped as a crash would stop it: what was not started never is.
            let stopped = *self.phase.borrow() == Phase::Stopped || state.failed.is_some();
            if state.running >= self.options.handlers_max || stopped {
                return;
            }
            let Some(job) = state.ready.pop_front() else {
                return;
            };
            let delivery = job.command.delivery;
            if !state.inbox.on_start(delivery.task, job.run) {
                if !store.is_volatile() {
                    self.submit(&mut state, Pending::NotStarted(delivery));
                }
                continue;
            }
            state.running += 1;
            drop(state);
            let (engine, handler) = (Arc::clone(self), Arc::clone(handler));
            tokio::spawn(async move { engine.run(job, handler).await });
        }
    }

    async fn run(self: Arc<Self>, job: Job, handler: Arc<dyn Handler>) {
        let Job { run, command } = job;
        let mut delivery = command.delivery;
        // The future is made, polled and dropped inside: wherever its code panics, it is caught.
        let handled = AssertUnwindSafe(async move { handler.handle(command).await });
        let outcome = match handled.catch_unwind().await {
            Ok(result) => Outcome::from(result),
            Err(panic) => {
                self.counters.panics.add(1);
                reached!(Site::HandlerPanicked);
                let text = capped(format!("the handler panicked: {}", panic_text(&*panic)));
                tracing::error!(%delivery, "{text}");
                Outcome::from(Err(HandlerError::Rejected(text)))
            }
        };
        match outcome {
            Outcome::Done(_) => self.counters.executed.add(1),
            _ => self.counters.not_executed.add(1),
        }
        {
            let mut state = self.state();
            state.running -= 1;
            if matches!(&self.work, Work::Handler { store, .. } if store.is_volatile()) {
                self.finish(&mut state, delivery.task, run, &outcome);
            } else {
                // A newer epoch may have joined: the outcome is recorded for the newest.
                let newest = state.inbox.bound_epoch(delivery.task);
                delivery.epoch = newest.expect("a running task has somebody waiting");
                self.submit(&mut state, Pending::Finish(run, delivery, outcome));
            }
        }
        self.changed.notify_waiters();
        self.start_ready();
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}
