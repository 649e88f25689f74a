//! A node from the outside: what it refuses, what it serves, and how it ends. Real sockets and files, save where
//! a disk has to fail.

#[path = "node/dying.rs"]
mod dying;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use leasebridge::bridge::RouteOptions;
use leasebridge::env::{Address, BoxFuture, Env};
use leasebridge::node::{
    FailureKind, MissingRoute, Node, NodeFailure, NodeOptions, OnMissingRoute, StartError,
};
use leasebridge::observe::LinkState;
use leasebridge::queue::{Command, QueueOptions, SafeTaskQueue, TaskOptions};
use leasebridge::receiver::{
    Delivered, Handler, HandlerError, Receiver, ReceiverOptions, RunningReceiver,
};
use leasebridge::server::Phase;
use leasebridge::wire::v1::admin_client::AdminClient;
use leasebridge::wire::v1::ingest_client::IngestClient;
use leasebridge::wire::v1::{EnqueueRequest, StatusReply, StatusRequest};
use leasebridge_sim::disk::{Fault, FaultRule, SimDisk, TokioSpawner};
use leasebridge_sim::seed::Seed;
use tonic::transport::Channel;

/// How long a test waits for what must come: far longer than it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// An endpoint that executes everything at once, or never comes to an end.
struct Lamp {
    is_stuck: bool,
}

impl Handler for Lamp {
    fn handle(&self, command: Delivered) -> BoxFuture<'_, Result<Bytes, HandlerError>> {
        Box::pin(async move {
            if self.is_stuck {
                std::future::pending::<()>().await;
            }
            Ok(command.body)
        })
    }
}

async fn endpoint(lamp: Lamp) -> RunningReceiver {
    let receiver = Receiver::new(ReceiverOptions::new(local()), Arc::new(lamp)).unwrap();
    receiver.start(Env::real()).await.unwrap()
}

fn local() -> Address {
    Address::tcp("127.0.0.1", 0)
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let clock = Env::real().clock;
    let give_up = clock.now() + PATIENCE;
    while !condition() {
        assert!(clock.now() < give_up, "waited in vain until {what}");
        clock.sleep(Duration::from_millis(5)).await;
    }
}

/// A route to an endpoint.
fn route(name: &str, endpoint: &RunningReceiver) -> RouteOptions {
    RouteOptions::new(name).socket(endpoint.socket_address().clone())
}

async fn channel(node: &Node) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{}", node.address())).unwrap();
    endpoint.connect().await.unwrap()
}

async fn enqueue(node: &Node, route: &str, body: &'static [u8]) {
    let request = EnqueueRequest {
        route: route.to_owned(),
        body: Bytes::from_static(body),
        ..EnqueueRequest::default()
    };
    let mut ingest = IngestClient::new(channel(node).await);
    let reply = ingest.enqueue(request).await.unwrap().into_inner();
    let result = reply.result.expect("an answer");
    assert!(format!("{result:?}").starts_with("Accepted"), "{result:?}");
}

async fn asked(node: &Node) -> StatusReply {
    let mut admin = AdminClient::new(channel(node).await);
    admin.status(StatusRequest {}).await.unwrap().into_inner()
}

/// A route to nobody: its commands wait.
async fn lonely(name: &str) -> RouteOptions {
    let listener = Env::real().transport.bind(&local()).await.unwrap();
    RouteOptions::new(name).socket(listener.local_address())
}

async fn put(dir: &Path, route: &str) {
    let queue = SafeTaskQueue::<Command>::open(QueueOptions::new(dir))
        .await
        .unwrap();
    queue.define_route(route).await.unwrap();
    let options = TaskOptions::route(route);
    queue.enqueue(Command::new("wait"), options).await.unwrap();
    queue.close().await.unwrap();
}

/// How many tasks wait in the log, and whether it had been sealed.
async fn left(dir: &Path) -> u64 {
    let queue = SafeTaskQueue::<Command>::open(QueueOptions::new(dir))
        .await
        .unwrap();
    let pending = queue.counts().pending();
    queue.close().await.unwrap();
    pending
}

#[tokio::test]
async fn what_producers_enqueue_is_delivered_and_the_status_shows_by_which_link() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = endpoint(Lamp { is_stuck: false }).await;
    let options = NodeOptions::new(dir.path(), local(), vec![route("a", &endpoint)]);
    let node = Node::start(Env::real(), options).await.unwrap();
    for _ in 0..3 {
        enqueue(&node, "a", b"on").await;
    }
    until("all are executed", || node.queue().counts().pending() == 0).await;
    assert_eq!(endpoint.stats().executed, 3);
    let status = asked(&node).await;
    let route = status.routes.iter().find(|route| route.route == "a");
    let route = route.unwrap_or_else(|| panic!("the route is known: {status:?}"));
    assert_eq!((route.enqueued_total, route.done_total), (3, 3));
    let socket = route.socket.as_ref().expect("the route has a socket");
    assert!(socket.connected, "{socket:?}");
    assert_eq!(route.sent_socket_total, 3);
    assert_eq!(route.breaker, "closed");
    assert!(!status.draining);

    let view = node.view();
    let links = &view.status().bridge.routes[0].links;
    assert!(
        links
            .iter()
            .any(|link| matches!(link.state, LinkState::Up { .. }))
    );
    assert_eq!(view.status().phase, Phase::Serving);
    let drained = node.drain().await.unwrap();
    assert!(drained.in_time);
    assert_eq!(view.status().phase, Phase::Stopping);
    assert_eq!(left(dir.path()).await, 0);
}

#[tokio::test]
async fn tasks_of_a_route_that_is_not_configured_stop_the_start_unless_they_are_held() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "gone").await;
    let mut options = NodeOptions::new(dir.path(), local(), vec![lonely("a").await]);
    let refused = Node::start(Env::real(), options.clone()).await.unwrap_err();
    assert_eq!(refused.kind(), FailureKind::Usage);
    assert!(
        refused
            .to_string()
            .ends_with("gone (1 waiting, 0 in poison)"),
        "{refused}"
    );
    let StartError::MissingRoutes { routes, .. } = refused else {
        panic!("another reason: {refused}")
    };
    let gone = MissingRoute {
        route: "gone".to_owned(),
        pending: 1,
        poison: 0,
    };
    assert_eq!(routes, [gone]);

    options.on_missing_route = OnMissingRoute::Hold;
    let node = Node::start(Env::real(), options).await.unwrap();
    assert_eq!(node.queue().counts().ready, 1);
    node.drain().await.unwrap();
    assert_eq!(left(dir.path()).await, 1);
}

#[tokio::test]
async fn a_refused_start_seals_the_log_again_and_changes_nothing_in_it() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "a").await;
    let blank = RouteOptions::new("b");
    let options = NodeOptions::new(dir.path(), local(), vec![lonely("a").await, blank]);
    let refused = Node::start(Env::real(), options).await.unwrap_err();
    assert_eq!(refused.kind(), FailureKind::Usage);

    let taken = Env::real().transport.bind(&local()).await.unwrap();
    let options = NodeOptions::new(dir.path(), taken.local_address(), vec![lonely("a").await]);
    let refused = Node::start(Env::real(), options).await.unwrap_err();
    assert_eq!(refused.kind(), FailureKind::Failed);
    assert!(
        refused
            .to_string()
            .starts_with("can't listen on 127.0.0.1:"),
        "{refused}"
    );

    let queue = SafeTaskQueue::<Command>::open(QueueOptions::new(dir.path()))
        .await
        .unwrap();
    let names: Vec<_> = queue
        .status()
        .routes
        .into_iter()
        .map(|route| route.route)
        .collect();
    assert_eq!(
        names,
        ["default", "a"],
        "the senseless route was not defined"
    );
    assert_eq!(queue.counts().ready, 1);
}

#[tokio::test]
async fn a_folder_that_is_in_use_is_no_fault_of_the_options() {
    let dir = tempfile::tempdir().unwrap();
    let options = NodeOptions::new(dir.path(), local(), vec![lonely("a").await]);
    let first = Node::start(Env::real(), options.clone()).await.unwrap();
    let second = Node::open(Env::real(), options).await.unwrap_err();
    assert!(second.is_locked(), "{second}");
    assert_eq!(StartError::from(second).kind(), FailureKind::Journal);
    first.drain().await.unwrap();
}

#[tokio::test]
async fn who_follows_an_open_node_hears_of_its_first_command() {
    let dir = tempfile::tempdir().unwrap();
    let options = NodeOptions::new(dir.path(), local(), vec![lonely("a").await]);
    let open = Node::open(Env::real(), options).await.unwrap();
    let mut feed = open.queue().subscribe();
    let node = open.start().await.unwrap();
    enqueue(&node, "a", b"on").await;
    let heard = feed.next().await.expect("the queue lives");
    assert!(format!("{heard:?}").contains("Enqueued"), "{heard:?}");
    node.drain().await.unwrap();
}

#[tokio::test]
async fn what_is_in_flight_when_the_time_is_over_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = endpoint(Lamp { is_stuck: true }).await;
    let mut options = NodeOptions::new(dir.path(), local(), vec![route("a", &endpoint)]);
    options.drain_timeout = Duration::from_millis(100);
    let node = Node::start(Env::real(), options).await.unwrap();
    enqueue(&node, "a", b"on").await;
    until("its handler is at work", || endpoint.status().running == 1).await;
    let drained = node.drain().await.unwrap();
    assert!(!drained.in_time);
    assert_eq!(left(dir.path()).await, 1);
}

#[tokio::test]
async fn a_dropped_node_lets_go_of_its_folder_and_its_address() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = NodeOptions::new(dir.path(), local(), vec![lonely("a").await]);
    let node = Node::start(Env::real(), options.clone()).await.unwrap();
    enqueue(&node, "a", b"on").await;
    options.listen = node.address().clone();
    drop(node);
    let clock = Env::real().clock;
    let again = loop {
        match Node::start(Env::real(), options.clone()).await {
            Err(StartError::Open(error)) if error.is_locked() => {}
            Err(StartError::Listen { .. }) => {}
            other => break other.unwrap(),
        }
        clock.sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(again.queue().counts().ready, 1);
    again.drain().await.unwrap();
}

#[tokio::test]
async fn a_queue_that_is_closed_under_a_node_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let options = NodeOptions::new(dir.path(), local(), vec![lonely("a").await]);
    let node = Node::start(Env::real(), options).await.unwrap();
    node.queue().close().await.unwrap();
    let failure = node.ended().await;
    assert_eq!(failure, NodeFailure::Closed);
    assert_eq!(failure.kind(), FailureKind::Failed);
}

/// The journal's failure takes lanes and links with it: what is told is the cause.
#[tokio::test]
async fn a_failed_journal_ends_a_node_and_is_named_as_the_reason() {
    let disk = SimDisk::new(Seed(3), TokioSpawner);
    let env = Env {
        disk: Arc::new(disk.clone()),
        ..Env::real()
    };
    let mut options = NodeOptions::new("/queue", local(), vec![lonely("a").await]);
    options.queue.segment_bytes = 1 << 20;
    options.queue.log_bytes_max = 16 << 20;
    options.queue.body_bytes_max = 64 << 10;
    let node = Node::start(env.clone(), options.clone()).await.unwrap();
    disk.add_fault(FaultRule::new(Fault::SyncError));
    let refused = node
        .queue()
        .enqueue(Command::new("lost"), TaskOptions::route("a"))
        .await
        .unwrap_err();
    assert!(!refused.is_definite(), "{refused}");
    let failure = node.ended().await;
    assert!(matches!(failure, NodeFailure::Journal(_)), "{failure}");
    assert_eq!(failure.kind(), FailureKind::Journal);
    assert_eq!(node.ended().await, failure, "and stays so");
    let failure = node.drain().await.unwrap_err();
    assert!(matches!(failure, NodeFailure::Journal(_)), "{failure}");
}

#[tokio::test]
async fn an_address_of_no_kind_that_can_be_listened_on_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let listen = Address::Unix(dir.path().join("no/such/folder.sock"));
    let options = NodeOptions::new(dir.path().join("log"), listen, vec![lonely("a").await]);
    let refused = Node::start(Env::real(), options).await.unwrap_err();
    assert!(matches!(refused, StartError::Listen { .. }), "{refused}");
}
