//! The one place that gathers what is seen of the process.

use std::convert::Infallible;
use std::sync::Arc;

use super::rates::Samples;
use super::{Besides, Phase, ServerOptions};
use crate::env::{Env, Mono};
use crate::listening::Reception;
use crate::observe::{Beside, Moment, ProcessStatus, Snapshot};
use crate::queue::{Command, SafeTaskQueue};
use tokio::sync::watch;

/// See the module.
pub(super) struct Gatherer {
    env: Env,
    queue: SafeTaskQueue<Command>,
    beside: Besides,
    phase: watch::Receiver<Phase>,
    reception: Arc<Reception>,
    open_files_max: u64,
    started: Mono,
    samples: Samples,
}

impl Gatherer {
    /// A gatherer for a process that starts to serve now.
    pub(super) fn new(
        env: &Env,
        queue: &SafeTaskQueue<Command>,
        options: &ServerOptions,
        reception: &Arc<Reception>,
    ) -> Self {
        Self {
            env: env.clone(),
            queue: queue.clone(),
            beside: options.beside.clone(),
            phase: options.phase.clone(),
            reception: Arc::clone(reception),
            open_files_max: options.open_files_max,
            started: env.clock.now(),
            samples: Samples::default(),
        }
    }

    /// Takes the samples that rates are made of, for as long as it is polled. Cancel safe.
    pub(super) async fn sample(&self) -> Infallible {
        self.samples.take(&*self.env.clock, &self.queue).await
    }

    /// Everything, as of now.
    pub(super) fn snapshot(&self) -> Snapshot {
        let now = self.env.clock.now();
        let mut queue = self.queue.status();
        self.samples.rate(now, &mut queue);
        let Beside { bridge, receiver } = (self.beside)();
        let uptime = now.saturating_since(self.started);
        Snapshot {
            taken: Moment {
                unix_ms: self.env.clock.wall().unix_ms(),
                mono_ms: now.as_millis(),
            },
            process: ProcessStatus {
                version: env!("CARGO_PKG_VERSION").into(),
                uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
                draining: *self.phase.borrow() > Phase::Serving,
                open_files_max: self.open_files_max,
            },
            listener: Some(self.reception.status()),
            queue: Some(queue),
            bridge,
            receiver,
        }
    }
}
