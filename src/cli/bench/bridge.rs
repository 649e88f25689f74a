//! The bridge's figures: commands per second to an endpoint in a process of its own.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use leasebridge::bridge::{Bridge, BridgeOptions, RouteOptions};
use leasebridge::env::{Address, BoxFuture, Env, timeout};
use leasebridge::queue::{Command, TaskOptions};
use leasebridge::receiver::{Delivered, Handler, HandlerError, Receiver, ReceiverOptions};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command as Process};

use super::cost::Stopwatch;
use super::queue::BODY_BYTES;
use super::{BenchError, HELPER_PATIENCE};

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
    println!("{} {grpc}", running.socket_address());
    // Whoever started it holds the other end for as long as it lives.
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    Ok(())
}

/// An endpoint process; ends with this value.
struct EndpointProcess {
    process: Child,
    socket: Address,
    grpc: Address,
}

impl EndpointProcess {
    async fn start() -> Result<Self, BenchError> {
        let mut process = Process::new(std::env::current_exe()?)
            .args(["bench", "endpoint"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = process.stdout.take().expect("it was piped");
        let mut lines = BufReader::new(stdout).lines();
        let clock = Env::real().clock;
        let line = timeout(&*clock, HELPER_PATIENCE, lines.next_line()).await;
        let line = line.map_err(std::io::Error::other)??.unwrap_or_default();
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
}

/// Commands per second from the first enqueue to the last durable acknowledgement.
pub(super) async fn deliver(dir: &Path, commands: usize, over: Over) -> Result<f64, BenchError> {
    let mut endpoint = EndpointProcess::start().await?;
    let env = Env::real();
    let queue = super::queue::open(dir).await?;
    let route = RouteOptions {
        window: WINDOW,
        ..RouteOptions::new("default")
    };
    let route = match over {
        Over::Socket => route.socket(endpoint.socket.clone()),
        Over::Grpc => route.grpc(endpoint.grpc.clone()),
    };
    let bridge = Bridge::start(env.clone(), queue.clone(), BridgeOptions::new(vec![route]))?;
    let watch = Stopwatch::start();
    let producer = tokio::spawn({
        let queue = queue.clone();
        async move {
            let mut left = commands;
            while left > 0 {
                let batch = left.min(ENQUEUE_BATCH);
                let command = || Command::new(vec![b'x'; BODY_BYTES]);
                let batched = (0..batch).map(|_| (command(), TaskOptions::default()));
                queue.enqueue_batch(batched).await?;
                left -= batch;
            }
            Ok::<_, BenchError>(())
        }
    });
    producer.await.map_err(std::io::Error::other)??;
    while queue.counts().pending() > 0 {
        env.clock.sleep(Duration::from_millis(1)).await;
    }
    let took = watch.took(commands);
    bridge.drain(Duration::from_secs(5)).await;
    queue.close().await?;
    endpoint.process.kill().await?;
    Ok(took.rate)
}
