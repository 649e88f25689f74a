//! A receiver over real TCP and gRPC sockets and real files, driven by a small raw client.

mod client;
mod failed_sync;
mod links;
mod memory;
mod no_room;
mod place;
mod stored;
mod syncs;
mod words;
mod work;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use leasebridge::core::TaskId;
use leasebridge::env::{Address, BoxFuture, Env, timeout};
use leasebridge::receiver::{
    Delivered, Handler, HandlerError, Receiver, ReceiverOptions, RecoverOutcome, RunningReceiver,
};
use tokio::sync::{Semaphore, watch};

/// Far beyond anything a healthy machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A handler that does what the first word of a body says, and counts executions per task.
#[derive(Default)]
struct Worker {
    executions: Mutex<BTreeMap<u64, u32>>,
    started: watch::Sender<u32>,
    /// `wait` takes one of these before it ends.
    gate: Gate,
    knows: Mutex<BTreeMap<u64, RecoverOutcome>>,
}

struct Gate(Semaphore);

impl Default for Gate {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl Worker {
    fn executions(&self, seq: u64) -> u32 {
        *self.executions.lock().unwrap().get(&seq).unwrap_or(&0)
    }

    fn open_gate(&self) {
        self.gate.0.add_permits(1);
    }

    async fn wait_until_started(&self, count: u32) {
        let mut started = self.started.subscribe();
        patiently(started.wait_for(|now| *now >= count))
            .await
            .unwrap();
    }
}

impl Handler for Worker {
    fn handle(&self, command: Delivered) -> BoxFuture<'_, Result<Bytes, HandlerError>> {
        Box::pin(async move {
            let seq = command.delivery.task.seq;
            *self.executions.lock().unwrap().entry(seq.0).or_default() += 1;
            self.started.send_modify(|count| *count += 1);
            match &command.body[..] {
                b"reject" => Err(HandlerError::Rejected("no".into())),
                b"refuse" => Err(HandlerError::Refused("never".into())),
                b"busy" => Err(HandlerError::Unavailable {
                    retry_after: Duration::from_secs(2),
                    text: "later".into(),
                }),
                b"panic" => panic!("the handler's own fault"),
                b"wait" => {
                    self.gate.0.acquire().await.expect("never closed").forget();
                    Ok(Bytes::from_static(b"waited"))
                }
                b"route" => Ok(command.route.into()),
                b"large" => Ok(vec![7; 3 << 20].into()),
                body => Ok(Bytes::copy_from_slice(body)),
            }
        })
    }

    fn recover(&self, task: TaskId) -> BoxFuture<'_, RecoverOutcome> {
        let known = self.knows.lock().unwrap().get(&task.seq.0).cloned();
        Box::pin(async move { known.unwrap_or(RecoverOutcome::Unknown) })
    }
}

fn options() -> ReceiverOptions {
    let mut options = ReceiverOptions::new(Address::tcp("127.0.0.1", 0));
    options.grpc = Some(Address::tcp("127.0.0.1", 0));
    options
}

/// A receiver with its inbox in memory, and its handler.
async fn start(options: ReceiverOptions) -> (RunningReceiver, Arc<Worker>) {
    let worker = Arc::new(Worker::default());
    let handler: Arc<dyn Handler> = worker.clone();
    let receiver = Receiver::new(options, handler).unwrap();
    (receiver.start(Env::real()).await.unwrap(), worker)
}

async fn patiently<F: Future>(operation: F) -> F::Output {
    let env = Env::real();
    let done = timeout(&*env.clock, PATIENCE, operation).await;
    done.expect("it takes no longer than the patience of this test")
}

/// Waits until a reading of the receiver satisfies a condition.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let env = Env::real();
    let started = env.clock.now();
    while !holds() {
        let waited = env.clock.now().saturating_since(started);
        assert!(waited < PATIENCE, "never happened: {what}");
        env.clock.sleep(Duration::from_millis(5)).await;
    }
}
