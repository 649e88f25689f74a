//! Measures how many commands a second a bridge delivers, each one durable at either end of its lease:
//! `cargo run --release --example bridge_speed -- socket 300000`, or `grpc`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use leasebridge::bridge::{Bridge, BridgeOptions, RouteOptions};
use leasebridge::env::{Address, BoxFuture, Env};
use leasebridge::queue::{Command, QueueOptions, SafeTaskQueue, TaskOptions};
use leasebridge::receiver::{Delivered, Handler, HandlerError, Receiver, ReceiverOptions};

/// What most commands are like.
const BODY_BYTES: usize = 256;

/// Executes everything at once.
struct Eager;

impl Handler for Eager {
    fn handle(&self, _: Delivered) -> BoxFuture<'_, Result<Bytes, HandlerError>> {
        Box::pin(std::future::ready(Ok(Bytes::new())))
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let transport = arguments.next().unwrap_or_else(|| "socket".to_owned());
    let count: usize = arguments.next().map_or(Ok(300_000), |text| text.parse())?;
    let env = Env::real();
    let dir = tempfile::tempdir_in(".")?;
    let queue = SafeTaskQueue::open(QueueOptions::new(dir.path())).await?;
    queue.define_route("speed").await?;
    for start in (0..count).step_by(1000) {
        let commands = (start..count.min(start + 1000)).map(|_| {
            let command = Command::new(vec![7; BODY_BYTES]);
            (command, TaskOptions::route("speed"))
        });
        queue.enqueue_batch(commands).await?;
    }
    let mut options = ReceiverOptions::new(Address::tcp("127.0.0.1", 0));
    options.grpc = Some(Address::tcp("127.0.0.1", 0));
    let endpoint = Receiver::new(options, Arc::new(Eager))?;
    let endpoint = endpoint.start(env.clone()).await?;
    let route = RouteOptions::new("speed");
    let route = match transport.as_str() {
        "grpc" => route.grpc(endpoint.grpc_address().ok_or("no gRPC")?.clone()),
        _ => route.socket(endpoint.socket_address().clone()),
    };
    let started = env.clock.now();
    let bridge = Bridge::start(env.clone(), queue.clone(), BridgeOptions::new(vec![route]))?;
    while queue.counts().pending() > 0 {
        env.clock.sleep(Duration::from_millis(5)).await;
    }
    let took = env.clock.now().saturating_since(started).as_secs_f64();
    let rate = count as f64 / took;
    let syncs = queue.status().journal.syncs;
    println!("{transport}: {count} commands in {took:.2} s, {rate:.0} a second, {syncs} syncs");
    bridge.drain(Duration::from_secs(5)).await;
    queue.close().await?;
    Ok(())
}
