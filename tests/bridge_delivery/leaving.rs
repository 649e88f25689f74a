//! One link's end is not the next one's wait. 87 seconds were seen behind one long command after `Drain`, and 25 on the
//! old stream after a `GOAWAY`.

use std::sync::{Arc, Mutex};

use leasebridge::core::event::TransportKind;
use leasebridge::env::Address;
use leasebridge::receiver::{Receiver, ReceiverOptions};
use leasebridge::wire::v1::endpoint_server::{Endpoint, EndpointServer};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use super::*;

/// What is asked is within a second. A machine that does much else at the same time takes its own time.
const SOON: Duration = Duration::from_secs(10);

/// A handler that executes all at once, save what is called `long`: that waits for a word. It notes the order.
struct Worker {
    ended: Mutex<Vec<Bytes>>,
    go: Notify,
}

impl Worker {
    fn new() -> (Arc<Self>, Arc<Scripted>) {
        let worker = Arc::new(Self {
            ended: Mutex::default(),
            go: Notify::new(),
        });
        let its = Arc::clone(&worker);
        let scripted = Scripted::new(move |command, _| {
            let worker = Arc::clone(&its);
            async move {
                if command.body == "long" {
                    worker.go.notified().await;
                }
                worker.ended.lock().unwrap().push(command.body.clone());
                Ok(command.body)
            }
        });
        (worker, scripted)
    }

    fn ended(&self) -> Vec<Bytes> {
        self.ended.lock().unwrap().clone()
    }
}

fn over(
    transport: TransportKind,
    socket: &Address,
    grpc: &Address,
) -> leasebridge::bridge::RouteOptions {
    match transport {
        Socket => route("a").socket(socket.clone()),
        Grpc => route("a").grpc(grpc.clone()),
    }
}

/// Puts so many after the long one and waits until they are done. They come in order, and soon.
async fn soon_done(queue: &TestQueue, worker: &Worker, count: u64) {
    let clock = Env::real().clock;
    let began = clock.now();
    let before = worker.ended().len();
    for number in 0..count {
        queue.put("a", number.to_string()).await;
    }
    until("what is new is executed", || {
        worker.ended().len() == before + count as usize
    })
    .await;
    let took = clock.now().saturating_since(began);
    assert!(took < SOON, "{took:?}");
    let wanted: Vec<_> = (0..count).map(|number| number.to_string()).collect();
    assert_eq!(worker.ended()[before..], wanted);
}

/// An endpoint that goes on listening, behind something that moves connections: it asks for new links.
#[tokio::test]
async fn while_a_link_finishes_a_long_command_the_next_one_takes_what_is_new() {
    for transport in [Socket, Grpc] {
        let queue = TestQueue::open(&["a"]).await;
        let (worker, handler) = Worker::new();
        let endpoint = receiver(handler.clone()).await;
        let grpc = endpoint.grpc_address().unwrap();
        let mut options = over(transport, endpoint.socket_address(), grpc);
        // With a window of two each link has two: what the other one finishes takes nothing from it.
        options.window = 2;
        let bridge = start(&queue, vec![options]);
        let long = [queue.put("a", "long").await, queue.put("a", "long").await];
        until("they run", || endpoint.status().running == 2).await;
        endpoint.renew_links();
        soon_done(&queue, &worker, 20).await;
        let link = link_status(&bridge, "a", transport);
        assert_eq!((link.counts.connects, link.in_flight), (2, 2));
        assert_eq!(endpoint.links(), 2);
        worker.go.notify_waiters();
        queue.done("a", 22).await;
        until("the first link has ended", || endpoint.links() == 1).await;
        assert!(long.iter().all(|id| handler.calls(*id) == 1));
        let counts = route_status(&bridge, "a").counts;
        assert_eq!((counts.in_doubt, counts.not_sent), (0, 0));
        assert_eq!(handler.all_calls(), 22);
        until("the inbox was told of all", || {
            route_status(&bridge, "a").counts.announced == 22
        })
        .await;
    }
}

/// A deployment: the old process stops listening and finishes, another one takes its place and its address.
#[tokio::test]
async fn while_a_process_finishes_its_successor_takes_what_is_new() {
    for transport in [Socket, Grpc] {
        let queue = TestQueue::open(&["a"]).await;
        let (worker, handler) = Worker::new();
        let old = receiver(handler.clone()).await;
        let (socket, grpc) = (
            old.socket_address().clone(),
            old.grpc_address().unwrap().clone(),
        );
        let bridge = start(&queue, vec![over(transport, &socket, &grpc)]);
        let long = queue.put("a", "long").await;
        until("it runs", || old.status().running == 1).await;
        let shutting = tokio::spawn(old.shutdown(MINUTE));
        let (next_worker, next_handler) = Worker::new();
        let clock = Env::real().clock;
        let successor = loop {
            let mut options = ReceiverOptions::new(socket.clone());
            options.grpc = Some(grpc.clone());
            let receiver = Receiver::new(options, next_handler.clone()).unwrap();
            match receiver.start(Env::real()).await {
                Ok(running) => break running,
                // The old one listens for a moment longer.
                Err(_) => clock.sleep(Duration::from_millis(5)).await,
            }
        };
        soon_done(&queue, &next_worker, 20).await;
        assert_eq!(successor.stats().executed, 20);
        worker.go.notify_waiters();
        queue.done("a", 21).await;
        assert_eq!((handler.calls(long), next_handler.calls(long)), (1, 0));
        assert_eq!(shutting.await.unwrap().unfinished, 0);
        let counts = route_status(&bridge, "a").counts;
        assert_eq!((counts.in_doubt, counts.rejected), (0, 0));
        assert_eq!((handler.all_calls(), next_handler.all_calls()), (1, 20));
    }
}

/// An endpoint that knows no `Drain` and leaves it to HTTP/2 to end connections that are old.
struct Plain(Arc<Worker>);

#[tonic::async_trait]
impl Endpoint for Plain {
    type ExecuteCommandStream = ReceiverStream<Result<v1::Frame, Status>>;

    async fn execute_command(
        &self,
        request: Request<Streaming<v1::Frame>>,
    ) -> Result<Response<Self::ExecuteCommandStream>, Status> {
        let (answers, told) = mpsc::channel(64);
        let worker = Arc::clone(&self.0);
        tokio::spawn(converse(worker, request.into_inner(), answers));
        Ok(Response::new(ReceiverStream::new(told)))
    }
}

type Answers = mpsc::Sender<Result<v1::Frame, Status>>;

async fn converse(worker: Arc<Worker>, mut frames: Streaming<v1::Frame>, answers: Answers) {
    let say = async |kind| {
        // The bridge may have hung up.
        let _heard = answers.send(Ok(v1::Frame { kind: Some(kind) })).await;
    };
    while let Ok(Some(frame)) = frames.message().await {
        match frame.kind {
            Some(Kind::Hello(_)) => say(Kind::Hello(RawEndpoint::hello())).await,
            Some(Kind::Heartbeat(v1::Heartbeat { sequence, .. })) => {
                let received_bytes = 0;
                let ack = v1::HeartbeatAck {
                    sequence,
                    received_bytes,
                };
                say(Kind::HeartbeatAck(ack)).await;
            }
            Some(Kind::Command(command)) => {
                tokio::spawn(execute(Arc::clone(&worker), command, answers.clone()));
            }
            _ => {}
        }
    }
}

async fn execute(worker: Arc<Worker>, command: v1::Command, answers: Answers) {
    let say = async |kind| {
        let _heard = answers.send(Ok(v1::Frame { kind: Some(kind) })).await;
    };
    let (delivery, send) = (command.delivery, command.send);
    if command.body == "long" {
        let clock = Env::real().clock;
        let mut go = std::pin::pin!(worker.go.notified());
        while timeout(&*clock, Duration::from_millis(50), &mut go)
            .await
            .is_err()
        {
            let received_bytes = 0;
            say(Kind::Working(v1::Working {
                delivery,
                send,
                received_bytes,
            }))
            .await;
        }
    }
    worker.ended.lock().unwrap().push(command.body);
    let outcome = Some(v1::reply::Outcome::Done(v1::Done::default()));
    say(Kind::Reply(v1::Reply {
        delivery,
        send,
        outcome,
    }))
    .await;
}

#[tokio::test]
async fn after_a_goaway_the_next_connection_takes_what_is_new() {
    let queue = TestQueue::open(&["a"]).await;
    let (worker, _) = Worker::new();
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = incoming.local_addr().unwrap().port();
    let server = Server::builder()
        .max_connection_age(Duration::from_millis(700))
        .serve_with_incoming(EndpointServer::new(Plain(Arc::clone(&worker))), incoming);
    let serving = tokio::spawn(server);
    let bridge = start(
        &queue,
        vec![route("a").grpc(Address::tcp("127.0.0.1", port))],
    );
    queue.put("a", "long").await;
    until("it is on its way", || {
        link_status(&bridge, "a", Grpc).in_flight == 1
    })
    .await;
    until("another connection was made", || {
        link_status(&bridge, "a", Grpc).counts.connects == 2
    })
    .await;
    soon_done(&queue, &worker, 5).await;
    assert_eq!(link_status(&bridge, "a", Grpc).in_flight, 1);
    worker.go.notify_waiters();
    queue.done("a", 6).await;
    let counts = route_status(&bridge, "a").counts;
    assert_eq!((counts.in_doubt, counts.not_sent), (0, 0));
    assert_eq!(worker.ended().len(), 6);
    serving.abort();
}

/// The next frame that is about a command.
async fn next(link: &mut support::raw::RawLink) -> Kind {
    loop {
        match link.heard().await {
            Some(Kind::Settled(_)) => {}
            Some(kind) => return kind,
            None => panic!("the bridge hung up"),
        }
    }
}

async fn command(link: &mut support::raw::RawLink) -> v1::Command {
    match next(link).await {
        Kind::Command(command) => command,
        other => panic!("not a command: {other:?}"),
    }
}

fn done(command: &v1::Command) -> Kind {
    Kind::Reply(v1::Reply {
        delivery: command.delivery,
        send: command.send,
        outcome: Some(v1::reply::Outcome::Done(v1::Done::default())),
    })
}

fn drain() -> Kind {
    let reason = "enough".to_owned();
    Kind::Drain(v1::Drain { reason })
}

/// A route whose heartbeats end no link while the test speaks on another one.
fn unhurried(endpoint: &RawEndpoint) -> leasebridge::bridge::RouteOptions {
    let mut options = route("a").socket(endpoint.address.clone());
    options.heartbeat = Duration::from_secs(60);
    options.first_sign_of_life = Duration::from_millis(50);
    options.rollback = Duration::from_millis(50);
    options
}

/// It may be executing there still, and whoever the next link leads to doesn't know of it.
#[tokio::test]
async fn what_a_draining_link_has_not_answered_goes_nowhere_else_before_its_answer_or_its_end() {
    for answered in [true, false] {
        let queue = TestQueue::open(&["a"]).await;
        let mut endpoint = RawEndpoint::start().await;
        let bridge = start(&queue, vec![unhurried(&endpoint)]);
        let mut old = endpoint.accept().await;
        old.say(Kind::Hello(RawEndpoint::hello())).await;
        queue.put("a", "first").await;
        let first = command(&mut old).await;
        old.say(drain()).await;
        let mut new = endpoint.accept().await;
        new.say(Kind::Hello(RawEndpoint::hello())).await;
        let Kind::Rollback(rollback) = next(&mut old).await else {
            panic!("it is taken back over the link that it was sent on")
        };
        assert_eq!(rollback.delivery, first.delivery);
        until("nobody waits for that any more", || {
            link_status(&bridge, "a", Socket)
                .counts
                .rollbacks_unanswered
                == 1
        })
        .await;
        for body in ["second", "third"] {
            queue.put("a", body).await;
            let other = command(&mut new).await;
            assert_eq!(
                other.body, body,
                "the new link has what is new, and nothing else"
            );
            new.say(done(&other)).await;
        }
        queue.done_of("a", 2).await;
        if answered {
            old.say(done(&first)).await;
            assert_eq!(next_kind(&mut old).await, "drain", "all is answered");
        } else {
            drop(old);
            let again = command(&mut new).await;
            assert_eq!(
                (&again.body, again.delivery.unwrap().epoch),
                (&first.body, 2)
            );
            new.say(done(&again)).await;
        }
        queue.done("a", 3).await;
        let counts = route_status(&bridge, "a").counts;
        assert_eq!(counts.in_doubt, u64::from(!answered));
    }
}

async fn next_kind(link: &mut support::raw::RawLink) -> &'static str {
    match next(link).await {
        Kind::Drain(_) => "drain",
        _ => "another",
    }
}

/// The lease is over before the answer comes: the next one waits for it as well, and takes it for its own.
#[tokio::test]
async fn a_new_lease_waits_for_what_an_old_one_left_on_a_draining_link() {
    let queue = TestQueue::open_with(&["a"], |options| {
        options.lease = Duration::from_secs(1);
        options.max_hold = Duration::from_secs(3);
    })
    .await;
    let mut endpoint = RawEndpoint::start().await;
    let bridge = start(&queue, vec![unhurried(&endpoint)]);
    let mut old = endpoint.accept().await;
    old.say(Kind::Hello(RawEndpoint::hello())).await;
    queue.put("a", "first").await;
    let first = command(&mut old).await;
    old.say(drain()).await;
    let mut new = endpoint.accept().await;
    new.say(Kind::Hello(RawEndpoint::hello())).await;
    until("it was leased again", || queue.totals("a").granted >= 2).await;
    queue.put("a", "second").await;
    let second = command(&mut new).await;
    assert_eq!(second.body, "second");
    new.say(done(&second)).await;
    queue.done_of("a", 1).await;
    until("a lease is there", || queue.counts("a").leased == 1).await;
    old.say(done(&first)).await;
    queue.done("a", 2).await;
    assert_eq!(link_status(&bridge, "a", Socket).counts.sends, 2);
}

#[tokio::test]
async fn an_endpoint_that_drains_every_link_at_once_is_not_hurried_back() {
    let queue = TestQueue::open(&["a"]).await;
    let mut endpoint = RawEndpoint::start().await;
    let _bridge = start(&queue, vec![unhurried(&endpoint)]);
    let clock = Env::real().clock;
    let began = clock.now();
    for _ in 0..6 {
        let mut link = endpoint.accept().await;
        link.say(Kind::Hello(RawEndpoint::hello())).await;
        link.say(drain()).await;
    }
    // Half of 50, 100, 200, 400 and 800 ms: 50 each would be over in a sixth of that.
    let took = clock.now().saturating_since(began);
    assert!(took >= Duration::from_millis(775), "{took:?}");
}

/// What waits for its turn on a link that drains has not left: it goes over the next one, and nothing is in doubt.
#[tokio::test]
async fn what_has_not_left_when_its_link_drains_goes_over_the_next() {
    let queue = TestQueue::open(&["a"]).await;
    let mut endpoint = RawEndpoint::start().await;
    let mut options = unhurried(&endpoint);
    options.first_sign_of_life = Duration::from_secs(30);
    let bridge = start(&queue, vec![options]);
    let mut old = endpoint.accept().await;
    let mut hello = RawEndpoint::hello();
    // One at a time: the others wait for the window of this link.
    hello.in_flight_max = 1;
    old.say(Kind::Hello(hello)).await;
    queue.put_many("a", 3).await;
    let first = command(&mut old).await;
    old.say(drain()).await;
    let mut new = endpoint.accept().await;
    new.say(Kind::Hello(RawEndpoint::hello())).await;
    for _ in 0..2 {
        let other = command(&mut new).await;
        assert_ne!(other.delivery, first.delivery);
        new.say(done(&other)).await;
    }
    queue.done_of("a", 2).await;
    old.say(done(&first)).await;
    queue.done("a", 3).await;
    assert_eq!(route_status(&bridge, "a").counts.in_doubt, 0);
}
