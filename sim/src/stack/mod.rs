//! The processes of a full-stack run: a bridge with its queue and producer, and an endpoint.
//!
//! Both are the product's own code over the seams of a [`SimHost`](crate::host::SimHost); only the
//! producer's loop and the handler's body belong to the simulator. Each is the whole life of one
//! process: a crash drops it where it stands.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use leasebridge::bridge::{Bridge, BridgeOptions, RouteOptions};
use leasebridge::env::{Address, BoxFuture, Env};
use leasebridge::queue::{Command, QueueOptions, SafeTaskQueue, TaskOptions};
use leasebridge::receiver::{Delivered, Handler, HandlerError, Receiver, ReceiverOptions};

pub mod happening;

use happening::{Happening, History};

/// The host on which [`endpoint`] runs.
pub const ENDPOINT: &str = "endpoint";
/// The host on which [`bridge`] runs.
pub const BRIDGE: &str = "bridge";

const ROUTE: &str = "orders";
const SOCKET_PORT: u16 = 7420;
const GRPC_PORT: u16 = 7421;
/// Where the queue's log lies on the bridge's disk.
const QUEUE_DIR: &str = "/queue";
/// Small, so that a run of a few hundred commands uses more than one segment.
const SEGMENT_BYTES: u32 = 64 << 10;
/// Bodies are numbers; a segment must hold the largest.
const BODY_BYTES_MAX: u32 = 1 << 10;
const LOG_BYTES_MAX: u64 = 4 << 20;
/// How long the handler works on a command.
const WORK: Duration = Duration::from_millis(5);
/// How often the bridge's process looks whether everything is done.
const LOOK: Duration = Duration::from_millis(50);

/// The life of an endpoint's process: the real receiver on both transports.
///
/// # Errors
/// When it can't start.
pub async fn endpoint(env: Env, history: History) -> turmoil::Result {
    let mut options = ReceiverOptions::new(Address::tcp("0.0.0.0", SOCKET_PORT));
    options.grpc = Some(Address::tcp("0.0.0.0", GRPC_PORT));
    let handler = Recorder {
        env: env.clone(),
        history,
    };
    let receiver = Receiver::new(options, Arc::new(handler))?;
    let _running = receiver.start(env).await?;
    std::future::pending().await
}

/// Writes each execution down.
struct Recorder {
    env: Env,
    history: History,
}

impl Handler for Recorder {
    fn handle(&self, command: Delivered) -> BoxFuture<'_, Result<Bytes, HandlerError>> {
        Box::pin(async move {
            let text = std::str::from_utf8(&command.body).ok();
            let number = text.and_then(|text| text.parse().ok());
            let number = number.ok_or_else(|| HandlerError::Refused("no number".to_owned()))?;
            let what = Happening::Executed {
                number,
                delivery: command.delivery,
                send: command.send.get(),
            };
            self.history.add(elapsed(), what);
            self.env.clock.sleep(WORK).await;
            Ok(command.body)
        })
    }
}

/// What the producer beside a bridge is to do.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// How many commands.
    pub commands: u32,
    /// How long it waits after each.
    pub pause: Duration,
}

/// The life of a bridge's process: the real queue on the host's disk, the real bridge, and a
/// producer that goes on behind the last command it was told is durable.
///
/// A command in doubt is enqueued again by the next process, under the same idempotency key.
///
/// # Errors
/// When the queue can't be opened, or refuses a command.
pub async fn bridge(env: Env, workload: Workload, history: History) -> turmoil::Result {
    let mut options = QueueOptions::new(QUEUE_DIR);
    options.env = env.clone();
    options.body_bytes_max = BODY_BYTES_MAX;
    options.segment_bytes = SEGMENT_BYTES;
    options.log_bytes_max = LOG_BYTES_MAX;
    let queue: SafeTaskQueue<Command> = SafeTaskQueue::open(options).await?;
    queue.define_route(ROUTE).await?;
    let (pending, _) = left(&queue);
    history.add(elapsed(), Happening::BridgeUp { pending });
    let route = RouteOptions::new(ROUTE)
        .socket(Address::tcp(ENDPOINT, SOCKET_PORT))
        .grpc(Address::tcp(ENDPOINT, GRPC_PORT));
    let _running = Bridge::start(env.clone(), queue.clone(), BridgeOptions::new(vec![route]))?;
    let accepted = history.count(|what| matches!(what, Happening::Accepted { .. }));
    for number in u32::try_from(accepted)?..workload.commands {
        let task = TaskOptions::route(ROUTE).key(format!("command {number}"));
        let enqueued = queue
            .enqueue(Command::new(number.to_string()), task)
            .await?;
        let duplicate = enqueued.duplicate;
        history.add(elapsed(), Happening::Accepted { number, duplicate });
        env.clock.sleep(workload.pause).await;
    }
    loop {
        let (pending, poison) = left(&queue);
        if pending == 0 {
            history.add(elapsed(), Happening::Drained { poison });
            return std::future::pending().await;
        }
        env.clock.sleep(LOOK).await;
    }
}

/// Tasks pending, and tasks in poison.
fn left(queue: &SafeTaskQueue<Command>) -> (u64, u64) {
    let counts = queue.status().routes.into_iter().map(|route| route.counts);
    counts.fold((0, 0), |(pending, poison), counts| {
        (pending + counts.pending(), poison + counts.poison)
    })
}

fn elapsed() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}
