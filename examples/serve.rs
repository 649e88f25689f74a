//! A program that serves producers by itself: a node from a configuration, and around it, so that there is
//! something to see, an endpoint and a producer: `cargo run --example serve`.
//!
//! The producer hands in 100 commands over gRPC; the node keeps them in its log and delivers them over the socket;
//! the program looks at the status that operators see, and ends in order.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use leasebridge::config;
use leasebridge::env::{Address, BoxFuture, Env};
use leasebridge::node::Node;
use leasebridge::receiver::{Delivered, Handler, HandlerError, Receiver, ReceiverOptions};
use leasebridge::wire::v1;
use leasebridge::wire::v1::ingest_client::IngestClient;
use tonic::transport::Endpoint;

const COMMANDS: u32 = 100;

/// The endpoint: it switches lamps, as far as anybody can tell.
struct Lamps;

impl Handler for Lamps {
    fn handle(&self, command: Delivered) -> BoxFuture<'_, Result<Bytes, HandlerError>> {
        Box::pin(std::future::ready(Ok(command.body)))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let env = Env::real();
    let anywhere = Address::tcp("127.0.0.1", 0);
    let endpoint = Receiver::new(ReceiverOptions::new(anywhere), Arc::new(Lamps))?;
    let endpoint = endpoint.start(env.clone()).await?;

    // A program would read this from a file.
    let text = format!(
        "data = '{}'\nlisten = '127.0.0.1:0'\n[routes.lamps]\nsocket = '{}'\n",
        folder.path().join("log").display(),
        endpoint.socket_address()
    );
    let config = config::parse(Path::new("lamps.toml"), &text)?;
    let node = Node::start(env.clone(), config.node_options()).await?;
    println!("producers and operators connect to {}", node.address());

    tokio::select! {
        // The journal failed, or a part of the node is gone: end, and be started again.
        failure = node.ended() => return Err(failure.into()),
        // A server waits for its signal here.
        produced = produce(&node) => produced?,
    }
    while node.queue().counts().pending() > 0 {
        env.clock.sleep(Duration::from_millis(5)).await;
    }
    let status = node.status();
    let route = status
        .queue
        .routes
        .iter()
        .find(|route| route.route == "lamps");
    let route = route.ok_or("the route is not known")?;
    println!(
        "route {}: {} of {} commands executed, {} of them over the socket",
        route.route,
        route.totals.done,
        route.totals.enqueued,
        status.bridge.routes[0].links[0].counts.replies
    );

    let drained = node.drain().await?;
    println!("all in flight was finished in time: {}", drained.in_time);
    Ok(())
}

/// What a producer does, in whatever language.
async fn produce(node: &Node) -> Result<(), Box<dyn std::error::Error>> {
    let channel = Endpoint::from_shared(format!("http://{}", node.address()))?;
    let mut ingest = IngestClient::new(channel.connect().await?);
    for number in 0..COMMANDS {
        let request = v1::EnqueueRequest {
            route: "lamps".to_owned(),
            body: Bytes::from(format!("dim lamp {number}")),
            key: format!("evening-{number}"), // sent again, it is recognised
            ..v1::EnqueueRequest::default()
        };
        let reply = ingest.enqueue(request).await?.into_inner();
        match reply.result {
            Some(v1::enqueue_reply::Result::Accepted(_)) => {} // it is on the disk
            other => return Err(format!("command {number}: {other:?}").into()),
        }
    }
    Ok(())
}
