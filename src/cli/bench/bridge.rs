//! The bridge's figures: commands per second to an endpoint in a process of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use leasebridge::bridge::{Bridge, BridgeOptions, RouteOptions};
use leasebridge::env::{Address, BoxFuture, Env};
use leasebridge::queue::{Command, SafeTaskQueue, TaskOptions};
use leasebridge::receiver::{Delivered, Handler, HandlerError, Receiver, ReceiverOptions};

use super::BenchError;
use super::cost::Stopwatch;
use super::helper::{self, HelperProcess};
use super::queue::BODY_BYTES;

/// The transport under test; the other one is not configured.
#[derive(Clone, Copy, Debug)]
pub(super) enum Over {
    Socket,
    Grpc,
}

impl Over {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Socket => "the socket",
            Self::Grpc => "gRPC",
        }
    }
}

/// Commands that one enqueue call brings.
const ENQUEUE_BATCH: usize = 512;

/// Commands in flight.
const WINDOW: usize = 4096;

/// Executes nothing, at once.
struct Nothing;

impl Handler for Nothing {
    fn handle(&self, _: Delivered) -> BoxFuture<'_, Result<Bytes, HandlerError>> {
        Box::pin(std::future::ready(Ok(Bytes::new())))
    }
}

/// Runs an endpoint until stdin closes; says on stdout where it listens.
pub(super) async fn endpoint() -> Result<(), BenchError> {
    let any = Address::tcp("127.0.0.1", 0);
    let options = ReceiverOptions {
        grpc: Some(any.clone()),
        ..ReceiverOptions::new(any)
    };
    let receiver = Receiver::new(options, Arc::new(Nothing)).map_err(std::io::Error::other)?;
    let running = receiver
        .start(Env::real())
        .await
        .map_err(std::io::Error::other)?;
    let grpc = running.grpc_address().expect("it was asked for");
    helper::ready(format_args!("{} {grpc}", running.socket_address()));
    helper::told_to_end().await
}

/// Who answers.
#[derive(Clone, Copy, Debug)]
enum EndpointKind {
    /// `leasebridge::receiver`.
    Ours,
    /// See [`super::foreign`].
    Foreign,
}

impl EndpointKind {
    fn subcommand(self) -> &'static str {
        match self {
            Self::Ours => "endpoint",
            Self::Foreign => "foreign",
        }
    }
}

/// An endpoint process; ends with this value.
struct EndpointProcess {
    process: HelperProcess,
    socket: Address,
    grpc: Address,
}

impl EndpointProcess {
    async fn start(kind: EndpointKind) -> Result<Self, BenchError> {
        let mut process = HelperProcess::start([kind.subcommand()])?;
        let line = process.line(helper::PATIENCE).await?;
        let parse = || {
            let (socket, grpc) = line.split_once(' ')?;
            Some((socket.parse().ok()?, grpc.parse().ok()?))
        };
        let (socket, grpc) = parse().ok_or_else(|| BenchError::Helper(line.clone()))?;
        Ok(Self {
            process,
            socket,
            grpc,
        })
    }

    fn route(&self, over: Over) -> RouteOptions {
        let route = RouteOptions {
            window: WINDOW,
            ..RouteOptions::new("default")
        };
        match over {
            Over::Socket => route.socket(self.socket.clone()),
            Over::Grpc => route.grpc(self.grpc.clone()),
        }
    }
}

async fn enqueue(queue: SafeTaskQueue<Command>, commands: usize) -> Result<(), BenchError> {
    let mut left = commands;
    while left > 0 {
        let batch = left.min(ENQUEUE_BATCH);
        let command = || Command::new(vec![b'x'; BODY_BYTES]);
        let batched = (0..batch).map(|_| (command(), TaskOptions::default()));
        queue.enqueue_batch(batched).await?;
        left -= batch;
    }
    Ok(())
}

async fn drained(env: &Env, queue: &SafeTaskQueue<Command>) {
    while queue.counts().pending() > 0 {
        env.clock.sleep(Duration::from_millis(1)).await;
    }
}

/// Commands per second from the first enqueue to the last durable acknowledgement.
pub(super) async fn deliver(dir: &Path, commands: usize, over: Over) -> Result<f64, BenchError> {
    let endpoint = EndpointProcess::start(EndpointKind::Ours).await?;
    let env = Env::real();
    let queue = super::queue::open(dir).await?;
    let route = endpoint.route(over);
    let bridge = Bridge::start(env.clone(), queue.clone(), BridgeOptions::new(vec![route]))?;
    let watch = Stopwatch::start();
    let producer = tokio::spawn(enqueue(queue.clone(), commands));
    producer.await.map_err(std::io::Error::other)??;
    drained(&env, &queue).await;
    let took = watch.took(commands);
    bridge.drain(Duration::from_secs(5)).await;
    queue.close().await?;
    drop(endpoint.process);
    Ok(took.rate)
}

/// Microseconds of processor time that the bridge takes for a command, lease and settlement included, when the
/// endpoint answers one command after the other. The commands are in the queue already.
pub(super) async fn cost(dir: &Path, commands: usize, over: Over) -> Result<f64, BenchError> {
    let endpoint = EndpointProcess::start(EndpointKind::Foreign).await?;
    let env = Env::real();
    let queue = super::queue::open(dir).await?;
    enqueue(queue.clone(), commands).await?;
    let options = BridgeOptions::new(vec![endpoint.route(over)]);
    let watch = Stopwatch::start();
    let bridge = Bridge::start(env.clone(), queue.clone(), options)?;
    drained(&env, &queue).await;
    let took = watch.took(commands);
    bridge.drain(Duration::from_secs(5)).await;
    queue.close().await?;
    drop(endpoint.process);
    Ok(took.processor * 1e6)
}
