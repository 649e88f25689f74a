//! Starting and stopping a receiver: what was remembered comes back first, then the listeners open.

mod grpc;
mod listen;
mod rebuild;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::engine::{Engine, ExecutionMode, Phase};
use super::handler::Handler;
use super::options::{ReceiverOptions, ReceiverOptionsError};
use super::store::{EffectLog, InboxStore, MemoryStore, StoreError};
use crate::env::{Address, Env, timeout};
use crate::observe::{ListenerStatus, ReceiverStats, ReceiverStatus};
use crate::watched::{TaskEnd, watched};
use crate::wire::InboxId;

/// How long a link may take to write what waits in it once it has ended, and how long a shutdown waits
/// for that.
const FLUSH_DEADLINE: Duration = Duration::from_secs(3);

/// A receiver that is configured and not started.
pub struct Receiver {
    options: ReceiverOptions,
    execution: Execution,
}

enum Execution {
    Volatile(Arc<dyn Handler>),
    Remembered(Arc<dyn Handler>, Arc<dyn InboxStore>),
    Effects(Arc<dyn EffectLog>),
}

/// A receiver could not start.
#[derive(Debug, thiserror::Error)]
pub enum ReceiverError {
    /// The inbox's memory could not be read.
    #[error("can't read the inbox: {0}")]
    Store(#[from] StoreError),
    /// A listener could not be opened.
    #[error("can't listen on {address}: {error}")]
    Bind {
        /// The address that was to be bound.
        address: Address,
        /// What the system said.
        error: std::io::Error,
    },
}

/// Why a receiver that served can't go on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReceiverFailure {
    /// Its store failed: what was answered is recorded, the rest is in doubt.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A part of it is gone that should live as long as it does; it has stopped as a crash would stop it.
    #[error("{part} {how}; start the receiver again")]
    Part {
        /// Which part.
        part: &'static str,
        /// What became of it.
        how: String,
    },
}

/// How a shutdown went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Commands received and not answered when the deadline passed: in doubt for their bridges.
    pub unfinished: usize,
}

impl Receiver {
    /// A receiver whose inbox lives in memory: restarted, it has another inbox id and remembers nothing.
    ///
    /// # Errors
    /// [`ReceiverOptionsError`] names the option that makes no sense.
    pub fn new(
        options: ReceiverOptions,
        handler: Arc<dyn Handler>,
    ) -> Result<Self, ReceiverOptionsError> {
        options.validate()?;
        let execution = Execution::Volatile(handler);
        Ok(Self { options, execution })
    }

    /// A receiver whose inbox survives a restart. After a crash the handler's
    /// [`Handler::recover`] decides about what was running.
    ///
    /// # Errors
    /// [`ReceiverOptionsError`] names the option that makes no sense.
    pub fn with_store(
        options: ReceiverOptions,
        handler: Arc<dyn Handler>,
        store: Arc<dyn InboxStore>,
    ) -> Result<Self, ReceiverOptionsError> {
        options.validate()?;
        let execution = Execution::Remembered(handler, store);
        Ok(Self { options, execution })
    }

    /// A receiver that executes commands by recording them, each exactly once whatever crashes.
    ///
    /// # Errors
    /// [`ReceiverOptionsError`] names the option that makes no sense.
    pub fn with_effects(
        options: ReceiverOptions,
        log: Arc<dyn EffectLog>,
    ) -> Result<Self, ReceiverOptionsError> {
        options.validate()?;
        let execution = Execution::Effects(log);
        Ok(Self { options, execution })
    }

    /// Reads what is remembered, opens the listeners and serves until it is shut down or dropped.
    /// Needs a tokio runtime. Not cancel safe: dropped before it is ready, it may leave the store's
    /// file open for a moment.
    ///
    /// # Errors
    /// [`ReceiverError`]; nothing was received.
    pub async fn start(self, env: Env) -> Result<RunningReceiver, ReceiverError> {
        let Self { options, execution } = self;
        let work = match execution {
            Execution::Volatile(handler) => {
                let store = Arc::new(MemoryStore::new(Arc::clone(&env.entropy)));
                ExecutionMode::Handler { handler, store }
            }
            Execution::Remembered(handler, store) => ExecutionMode::Handler { handler, store },
            Execution::Effects(log) => ExecutionMode::Effects(log),
        };
        let (inbox_id, inbox) = rebuild::rebuild(&work, options.inbox).await?;
        let socket = listen::bind(&env, &options.socket).await?;
        let grpc = match &options.grpc {
            Some(address) => Some(listen::bind(&env, address).await?),
            None => None,
        };
        let socket_address = socket.local_address();
        let grpc_address = grpc.as_ref().map(|listener| listener.local_address());
        let engine = Engine::new(env, options, work, inbox_id, inbox);
        let committer = Arc::clone(&engine).commit_all();
        let sockets = listen::serve_sockets(Arc::clone(&engine), socket);
        let mut tasks = vec![
            spawn(&engine, "the committer", committer),
            spawn(&engine, "the socket listener", sockets),
        ];
        if let Some(listener) = grpc {
            let serving = grpc::serve(Arc::clone(&engine), listener);
            tasks.push(spawn(&engine, "the gRPC server", serving));
        }
        tracing::info!(socket = %socket_address, inbox = %inbox_id, "receiver listens");
        Ok(RunningReceiver {
            engine,
            socket_address,
            grpc_address,
            tasks,
        })
    }
}

/// A receiver that serves. Dropping it stops it at once, as a crash would; see
/// [`RunningReceiver::shutdown`] for the orderly way.
pub struct RunningReceiver {
    engine: Arc<Engine>,
    socket_address: Address,
    grpc_address: Option<Address>,
    tasks: Vec<JoinHandle<()>>,
}

impl RunningReceiver {
    /// Where it listens for framed sockets, with the port that was chosen.
    pub fn socket_address(&self) -> &Address {
        &self.socket_address
    }

    /// Where it listens for gRPC, with the port that was chosen.
    pub fn grpc_address(&self) -> Option<&Address> {
        self.grpc_address.as_ref()
    }

    /// The memory of its inbox.
    pub fn inbox_id(&self) -> InboxId {
        self.engine.inbox_id
    }

    /// What it does and has done.
    pub fn status(&self) -> ReceiverStatus {
        self.engine.status()
    }

    /// Its counts alone.
    pub fn stats(&self) -> ReceiverStats {
        self.engine.stats()
    }

    /// Who is connected and what that costs: over the framed socket, and over gRPC.
    pub fn listeners(&self) -> [ListenerStatus; 2] {
        self.engine.receptions.each_ref().map(|one| one.status())
    }

    /// Asks each bridge for a new link in the place of the one that is up: on that nothing new comes, and what was sent is
    /// executed and answered as ever. For what stands between and gives each connection its place: when it has changed
    /// its mind, nobody would move otherwise. Returns at once.
    pub fn renew_links(&self) {
        let renewals = &self.engine.renewals;
        renewals.send_modify(|times| *times = times.saturating_add(1));
    }

    /// How many links are up.
    pub fn links(&self) -> usize {
        self.engine.links()
    }

    /// Ready when the store has failed or a part is gone: the receiver has stopped, and the process should end and
    /// say why. Pending for as long as all is well. Cancel safe.
    pub async fn failed(&self) -> ReceiverFailure {
        loop {
            let mut changed = std::pin::pin!(self.engine.changed.notified());
            changed.as_mut().enable();
            if let Some(error) = self.engine.failure() {
                return error;
            }
            changed.await;
        }
    }

    /// Drains and stops: bridges are told, nothing new runs, what runs is finished and answered, then
    /// the links are closed. After `deadline` what is unfinished is left, in doubt for its bridge.
    /// Takes a few seconds longer than `deadline` at most. Not cancel safe: dropped, it stops at once.
    pub async fn shutdown(mut self, deadline: Duration) -> ShutdownReport {
        let engine = Arc::clone(&self.engine);
        let clock = Arc::clone(&engine.env.clock);
        engine.drain();
        let _ = timeout(&*clock, deadline, finished(&engine)).await;
        let unfinished = engine.unfinished();
        engine.stop();
        let [sockets, grpc] = &engine.receptions;
        let ended = async { tokio::join!(sockets.emptied(), grpc.emptied()) };
        let _ = timeout(&*clock, FLUSH_DEADLINE, ended).await;
        for task in &mut self.tasks {
            // The committer ends by itself once it has recorded what there is.
            if timeout(&*clock, FLUSH_DEADLINE, &mut *task).await.is_err() {
                task.abort();
            }
        }
        engine.close_store().await;
        ShutdownReport { unfinished }
    }
}

impl Drop for RunningReceiver {
    fn drop(&mut self) {
        self.engine.stop();
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Starts a task that is to live as long as its receiver.
fn spawn(
    engine: &Arc<Engine>,
    part: &'static str,
    work: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let engine = Arc::clone(engine);
    tokio::spawn(watched(work, move |end| {
        let how = match end {
            TaskEnd::Ended(()) => "ended".to_owned(),
            TaskEnd::Panicked(why) => format!("panicked: {why}"),
            // With its receiver.
            TaskEnd::CutOff => return,
        };
        if *engine.phase.borrow() == Phase::Running {
            engine.lose_part(part, how);
        }
    }))
}

/// Waits until everything received is answered, or the store has failed.
async fn finished(engine: &Engine) {
    loop {
        let mut changed = std::pin::pin!(engine.changed.notified());
        changed.as_mut().enable();
        if engine.unfinished() == 0 || engine.failure().is_some() {
            return;
        }
        changed.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::BoxFuture;
    use crate::receiver::Delivered;
    use crate::wire::HandlerError;

    struct Idle;

    impl Handler for Idle {
        fn handle(&self, _: Delivered) -> BoxFuture<'_, Result<bytes::Bytes, HandlerError>> {
            Box::pin(std::future::ready(Ok(bytes::Bytes::new())))
        }
    }

    #[tokio::test]
    async fn a_part_that_dies_is_told() {
        let options = ReceiverOptions::new(Address::tcp("127.0.0.1", 0));
        let receiver = Receiver::new(options, Arc::new(Idle)).expect("sound options");
        let running = receiver.start(Env::real()).await.expect("a free port");
        let _task = spawn(&running.engine, "the test", async { panic!("it wants it") });
        let failure = running.failed().await.to_string();
        assert!(
            failure.starts_with("the test panicked: it wants it"),
            "{failure}"
        );
        let report = running.shutdown(Duration::from_secs(1)).await;
        assert_eq!(report.unfinished, 0);
    }
}
