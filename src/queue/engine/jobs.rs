//! The task that goes on with jobs on the poison store, step by step.
//!
//! Each step is bounded and waits until it is durable, so that others get their turn under the lock and on the disk.

use std::sync::{Arc, Weak};

use tokio::sync::Notify;

use super::{Core, Engine, QueueStage};
use crate::core::{Input, JobId, Now, Reply};

/// Tasks that one step of a job looks at under the lock: a few hundred microseconds of it.
const STEP_TASKS: usize = 256;

impl Core {
    /// One step of each job that runs; whether there was any.
    fn step_jobs(&mut self, now: Now) -> bool {
        if self.stage != QueueStage::Open {
            return false;
        }
        let running = self.state.jobs().filter(|job| job.ended.is_none());
        let running: Vec<JobId> = running.map(|job| job.id).collect();
        let limit = STEP_TASKS;
        for id in &running {
            let stepped = self.run(now, Input::StepJob { id: *id, limit }, &[]);
            debug_assert_eq!(stepped, Ok(Reply::Changed), "it takes what is in poison");
        }
        !running.is_empty()
    }
}

/// Goes on with jobs until the engine is gone. Begins when it is first woken, which is after the opening's first events.
pub(super) async fn go_on(engine: Weak<Engine>, begun: Arc<Notify>) {
    begun.notified().await;
    loop {
        let Some(engine) = engine.upgrade() else {
            return;
        };
        if engine.is_closed() {
            return;
        }
        let stepped = engine.with(Core::step_jobs);
        // A failure is told by whoever has failed.
        let Ok(stepped) = engine.kept(stepped).await else {
            return;
        };
        engine.job_news.notify_waiters();
        drop(engine);
        match stepped {
            true => tokio::task::yield_now().await,
            false => begun.notified().await,
        }
    }
}
