//! A socket bridge by hand: queue, pipeline and wire, without `leasebridge::bridge`.
//!
//! Four leases at a time go over one socket; what gets no answer there within three seconds goes
//! over gRPC under the same delivery id, and the receiver's inbox sees to it that it runs once. The
//! program starts its own receiver, enqueues 200 commands (some of which fail), cuts the socket
//! once, and ends by itself: `cargo run --example socket_bridge`.
//!
//! What the tutorial this descends from gets wrong, and where it is put right below:
//!
//! 1. It fails a lease twice, once by its compensation and once by hand: [`Held`].
//! 2. It never clears its compensations, so that a later failure fails leases that were
//!    acknowledged: [`deliver`] has a context for each lease and ends it.
//! 3. It drops what is leased when it stops: here leases give themselves back.
//! 4. It stops at the first command that fails: here that is the command's own affair.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, future};
use hyper_util::rt::TokioIo;
use leasebridge::env::{Address, BoxFuture, BoxStream, Env, timeout};
use leasebridge::pipeline::{
    BoxError, Class, Classify, Context, ContextOptions, Exponential, PipelineError, PipelineExt,
    RetryPolicy, Ticker, retry, with_timeout,
};
use leasebridge::queue::{
    Backoff, Command, DEFAULT_ROUTE, Failure, Lease, LeaseError, QueueOptions, SafeTaskQueue,
    TaskOptions, TaskQueueChannelAdapter,
};
use leasebridge::receiver::{Delivered, Handler, HandlerError, Receiver, ReceiverOptions};
use leasebridge::wire::v1::endpoint_client::EndpointClient;
use leasebridge::wire::v1::{self, frame::Kind, reply::Outcome};
use leasebridge::wire::{
    BODY_BYTES_DEFAULT, BridgeHello, EndpointHello, FrameReader, FrameSender, OutboxLimits,
    frame_bytes_for, outbox,
};
use tokio::io::ReadHalf;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Uri};

const COMMANDS: u64 = 200;
const CONCURRENCY: u32 = 4;
/// After so many successes the socket's writer is killed, as an outage would.
const CUT_AFTER: u64 = 50;
const SOCKET_LIMIT: Duration = Duration::from_secs(3);
const GRPC_LIMIT: Duration = Duration::from_secs(5);
const UNDO_LIMIT: Duration = Duration::from_secs(1);
const HEARTBEAT: Duration = Duration::from_millis(100);
/// The whole run takes about a second; after this something hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Names one send of one delivery: origin, sequence number, epoch, send.
type SendKey = (u64, u64, u32, u32);

/// Why a send has no answer.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("it never left: {0}")]
    NotSent(String),
    #[error("the connection ended before the answer: {0}")]
    Lost(String),
}

impl Classify for SendError {
    /// Decides whether the lease fails as *not sent* or as *in doubt*; an answer is never an error.
    fn class(&self) -> Class {
        match self {
            Self::NotSent(_) => Class::NotDone,
            Self::Lost(_) => Class::InDoubt,
        }
    }
}

/// Why a command was not delivered. Its lease is settled by then.
#[derive(Debug, thiserror::Error)]
enum DeliveryError {
    #[error("{0:?}")]
    Failed(Failure),
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error("the lease could not be given back: {0}")]
    Undo(#[from] leasebridge::pipeline::CompensationErrors),
}

/// One connection: replies go to whoever waits for them.
struct Socket {
    sender: FrameSender,
    waiting: Mutex<BTreeMap<SendKey, oneshot::Sender<Outcome>>>,
    /// One permit for each lease that may be active on this connection.
    active: Arc<Semaphore>,
    /// Kills the writer.
    cut: CancellationToken,
    dead: CancellationToken,
}

impl Socket {
    async fn connect(
        env: &Env,
        address: &Address,
    ) -> Result<(Arc<Self>, FrameReader<ReadHalf<BoxStream>>), BoxError> {
        let stream = timeout(&*env.clock, SOCKET_LIMIT, env.transport.connect(address)).await??;
        let most = frame_bytes_for(BODY_BYTES_DEFAULT);
        let (reading, writing) = tokio::io::split(stream);
        let (sender, source) = outbox(OutboxLimits::for_peer(most, SOCKET_LIMIT));
        let (cut, clock) = (CancellationToken::new(), Arc::clone(&env.clock));
        let cut_here = cut.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = cut_here.cancelled() => {}
                _ended = source.write_to(writing, &*clock) => {}
            }
        });
        sender.send(hello().to_kind()).await?;
        let mut reader = FrameReader::new(reading, most);
        let first = timeout(&*env.clock, SOCKET_LIMIT, reader.next()).await??;
        EndpointHello::from_kind(first.ok_or("hung up before it said hello")?)?;
        let socket = Self {
            sender,
            waiting: Mutex::default(),
            active: Arc::new(Semaphore::new(CONCURRENCY as usize)),
            cut,
            dead: CancellationToken::new(),
        };
        Ok((Arc::new(socket), reader))
    }

    /// Sends a command and waits for its answer: success is the endpoint's reply, never a completed
    /// write. Cancel safe: a late reply then finds nobody and is dropped.
    async fn ask(&self, command: v1::Command) -> Result<Outcome, SendError> {
        let (told, hear) = oneshot::channel();
        lock(&self.waiting).insert(key(command.delivery, command.send), told);
        let sent = self.sender.send(Kind::Command(command)).await;
        sent.map_err(|error| SendError::NotSent(error.to_string()))?;
        tokio::select! {
            biased;
            answer = hear => answer.map_err(|_| SendError::Lost("replaced".into())),
            () = self.dead.cancelled() => Err(SendError::Lost("the socket died".into())),
        }
    }

    /// Reads and beats until the connection is dead, and returns only when every lease that was
    /// active on it is settled: delivered over gRPC meanwhile, or back in the queue.
    async fn pump(&self, env: &Env, mut reader: FrameReader<ReadHalf<BoxStream>>) {
        let mut ticker = Ticker::new(env, HEARTBEAT).expect("a period above zero");
        let mut sequence = 0;
        loop {
            tokio::select! {
                biased;
                tick = ticker.tick() => {
                    sequence += 1;
                    let beat = Kind::Heartbeat(v1::Heartbeat {
                        sequence,
                        received_bytes: 0,
                    });
                    // A writer that is gone or that takes nothing fails the heartbeat.
                    let sent = timeout(&*env.clock, HEARTBEAT, self.sender.send(beat)).await;
                    if tick.is_none() || !matches!(sent, Ok(Ok(_))) {
                        break;
                    }
                }
                frame = reader.next() => match frame {
                    Ok(Some(Kind::Reply(v1::Reply { delivery, send, outcome: Some(outcome) }))) => {
                        if let Some(told) = lock(&self.waiting).remove(&key(delivery, send)) {
                            // The asker may have given up: the inbox remembers the answer.
                            let _unheard = told.send(outcome);
                        }
                    }
                    Ok(Some(Kind::Heartbeat(v1::Heartbeat { sequence, .. }))) => {
                        let ack = v1::HeartbeatAck {
                            sequence,
                            received_bytes: 0,
                        };
                        // No room means that the next heartbeat decides.
                        let _full = self.sender.try_send(Kind::HeartbeatAck(ack));
                    }
                    Ok(Some(Kind::Close(_)) | None) | Err(_) => break,
                    // Working, acks of heartbeats, replies to rollbacks: nobody waits for these here.
                    Ok(Some(_)) => {}
                },
            }
        }
        self.cut.cancel();
        self.dead.cancel();
        let settled = self.active.acquire_many(CONCURRENCY).await;
        drop(settled);
    }
}

/// A lease on its way to exactly one settlement: whoever settles it takes it out.
///
/// The tutorial calls `fail` by hand *and* registers it as a compensation. Here failing only writes
/// the verdict down; the compensation carries it out, and finds nothing after an acknowledgement.
struct Held {
    lease: Option<Lease<Command>>,
    verdict: Failure,
}

/// The compensation that was registered first and so runs last: after everything else is undone.
async fn give_back(held: Arc<Mutex<Held>>) -> Result<(), BoxError> {
    let (lease, verdict) = {
        let mut held = lock(&held);
        (held.lease.take(), held.verdict.clone())
    };
    match (lease, verdict) {
        (None, _) => {}
        // Poison by the endpoint's own word; `max_retries` is the queue's business.
        (Some(lease), Failure::Refused(why)) => lease.move_to_poison(why).await?,
        (Some(lease), verdict) => drop(lease.fail(verdict).await?),
    }
    Ok(())
}

struct SocketBridge {
    env: Env,
    socket: watch::Receiver<Option<Arc<Socket>>>,
    grpc: EndpointClient<Channel>,
    tries: RetryPolicy,
    fallbacks: AtomicU64,
}

impl SocketBridge {
    /// One lease from grant to settlement.
    async fn deliver(&self, lease: Lease<Command>) -> Result<(), DeliveryError> {
        let socket = self.socket.borrow().clone();
        // Held to the end of the settlement: the connection's pump waits for it.
        let _active = match &socket {
            Some(socket) => Arc::clone(&socket.active).acquire_owned().await.ok(),
            None => None,
        };
        let command = frame_of(&lease);
        lease.mark_sent()?;
        let verdict = Failure::InDoubt("cut off".into());
        let held = Arc::new(Mutex::new(Held {
            lease: Some(lease),
            verdict,
        }));
        // A context of its own: one command's failure can't touch another's lease.
        let mut scope = Context::new(self.env.clone(), ContextOptions::default());
        let slot = Arc::clone(&held);
        scope.register_compensation("give the lease back", move || give_back(slot));
        let failure = match self.send(&scope, socket.as_ref(), command).await {
            Ok(Outcome::Done(_)) => {
                let lease = lock(&held).lease.take();
                // Executed: nothing is undone any more, whatever becomes of the acknowledgement.
                scope.succeed();
                if let Some(lease) = lease {
                    lease.ack().await?;
                }
                return Ok(());
            }
            Ok(no) => failure_of(no),
            Err(error) if error.is_definite() => Failure::NotSent(error.to_string()),
            Err(error) => Failure::InDoubt(error.to_string()),
        };
        lock(&held).verdict = failure.clone();
        scope.compensate(UNDO_LIMIT).await?;
        Err(DeliveryError::Failed(failure))
    }

    /// The socket first; without an answer from there, gRPC under the same delivery id.
    async fn send(
        &self,
        scope: &Context,
        socket: Option<&Arc<Socket>>,
        command: v1::Command,
    ) -> Result<Outcome, PipelineError<SendError>> {
        let mut in_doubt = false;
        if let Some(socket) = socket {
            let asked = command.clone();
            match with_timeout(scope, SOCKET_LIMIT, |_| socket.ask(asked)).await {
                // "No" is an answer as well, and no reason to ask elsewhere.
                Ok(answer) => return Ok(answer),
                Err(error) => in_doubt = !error.is_definite(),
            }
            lock(&socket.waiting).remove(&key(command.delivery, command.send));
            // Should gRPC bring no answer either, the socket's send is withdrawn before the lease
            // goes back. On a dead link there is nobody to tell: the epoch fences what comes late.
            let (socket, delivery, send) = (Arc::clone(socket), command.delivery, command.send);
            scope.register_compensation("roll the socket send back", move || async move {
                let rollback = v1::Rollback { delivery, send };
                let _dead = socket.sender.send(Kind::Rollback(rollback)).await;
                Ok(())
            });
        }
        self.fallbacks.fetch_add(1, Ordering::Relaxed);
        let sent = retry(scope, &self.tries, |number, scope| {
            let mut command = command.clone();
            command.send += number.get();
            async move { with_timeout(&scope, GRPC_LIMIT, |_| self.execute(command)).await }
        });
        match sent.await {
            // What the socket left in doubt, a try that never left does not settle.
            Err(error) if in_doubt && error.is_definite() => {
                Err(SendError::Lost(error.to_string()).into())
            }
            outcome => outcome,
        }
    }

    /// One duplex stream: write, read the reply, complete. Completing before the reply is read, as
    /// the tutorial does, would say goodbye to the endpoint, and the link would go with its answer.
    async fn execute(&self, command: v1::Command) -> Result<Outcome, SendError> {
        let lost = |status: tonic::Status| SendError::Lost(status.to_string());
        let asked = key(command.delivery, command.send);
        let (writer, frames) = tokio::sync::mpsc::channel(2);
        for kind in [hello().to_kind(), Kind::Command(command)] {
            let full = |_| SendError::NotSent("the stream is closed".into());
            writer
                .send(v1::Frame { kind: Some(kind) })
                .await
                .map_err(full)?;
        }
        let mut client = self.grpc.clone();
        let called = client.execute_command(ReceiverStream::new(frames)).await;
        let mut replies = called.map_err(lost)?.into_inner();
        while let Some(frame) = replies.message().await.map_err(lost)? {
            if let Some(Kind::Reply(v1::Reply {
                delivery,
                send,
                outcome: Some(outcome),
            })) = frame.kind
                && key(delivery, send) == asked
            {
                drop(writer);
                return Ok(outcome);
            }
        }
        Err(SendError::Lost("the stream ended".into()))
    }
}

fn hello() -> BridgeHello {
    BridgeHello {
        software: "socket_bridge example".into(),
        route: DEFAULT_ROUTE.into(),
        frame_bytes_max: frame_bytes_for(BODY_BYTES_DEFAULT),
        body_bytes_max: BODY_BYTES_DEFAULT,
        credentials: Bytes::new(),
        heartbeat: HEARTBEAT,
        tells_received: false,
    }
}

/// Send 1 of this delivery; the tries over gRPC are 2 to 4.
fn frame_of(lease: &Lease<Command>) -> v1::Command {
    v1::Command {
        delivery: Some(lease.delivery().into()),
        send: 1,
        route: lease.route().to_owned(),
        headers: lease.value().headers.clone(),
        body: lease.value().body.clone(),
        ..Default::default()
    }
}

fn failure_of(no: Outcome) -> Failure {
    match no {
        Outcome::Rejected(no) => Failure::Rejected(no.error),
        Outcome::Refused(no) => Failure::Refused(no.error),
        Outcome::Unavailable(no) => Failure::Unavailable {
            retry_after: Duration::from_millis(no.retry_after_ms),
            reason: no.error,
        },
        Outcome::Stale(_) | Outcome::Done(_) => Failure::InDoubt("a newer lease is about".into()),
    }
}

fn key(delivery: Option<v1::DeliveryId>, send: u32) -> SendKey {
    let delivery = delivery.unwrap_or_default();
    let task = delivery.task.unwrap_or_default();
    (task.origin, task.seq, delivery.epoch, send)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The endpoint's own code: refuses what ends in 13, never accepts 99, and rejects one in twenty
/// until the third time.
#[derive(Default)]
struct Work {
    calls: Mutex<BTreeMap<u64, u32>>,
    executed: Mutex<Vec<u64>>,
}

impl Handler for Work {
    fn handle(&self, command: Delivered) -> BoxFuture<'_, Result<Bytes, HandlerError>> {
        let number: Option<u64> = std::str::from_utf8(&command.body)
            .ok()
            .and_then(|text| text.parse().ok());
        Box::pin(async move {
            let number = number.ok_or_else(|| HandlerError::Refused("no number".into()))?;
            let call = {
                let mut calls = lock(&self.calls);
                let call = calls.entry(number).or_default();
                *call += 1;
                *call
            };
            match number {
                13 | 113 => Err(HandlerError::Refused("unlucky".into())),
                99 => Err(HandlerError::Rejected("never".into())),
                _ if number % 20 == 7 && call < 3 => Err(HandlerError::Rejected("later".into())),
                _ => {
                    lock(&self.executed).push(number);
                    Ok(command.body)
                }
            }
        })
    }
}

async fn run() -> Result<bool, BoxError> {
    let env = Env::real();
    let folder = tempfile::tempdir()?;
    let work = Arc::new(Work::default());
    let mut options = ReceiverOptions::new(Address::tcp("127.0.0.1", 0));
    options.grpc = Some(Address::tcp("127.0.0.1", 0));
    let receiver = Receiver::new(options, work.clone())?
        .start(env.clone())
        .await?;

    let mut options = QueueOptions::new(folder.path());
    options.max_retries = 5;
    options.poison_queue_name = "socket-poison".into();
    options.backoff = Backoff::Exponential;
    options.backoff_min = Duration::from_millis(10);
    options.backoff_max = Duration::from_millis(50);
    let queue: SafeTaskQueue<Command> = SafeTaskQueue::open(options).await?;
    queue.define_route(DEFAULT_ROUTE).await?;
    let commands = (0..COMMANDS).map(|n| (Command::new(n.to_string()), TaskOptions::default()));
    for enqueued in queue.enqueue_batch(commands).await? {
        enqueued?;
    }

    // One pump per connection; the next connection is made when the last one's leases are settled.
    let (connected, socket) = watch::channel(None);
    let (world, address) = (env.clone(), receiver.socket_address().clone());
    let keeper = tokio::spawn(async move {
        loop {
            if let Ok((socket, reader)) = Socket::connect(&world, &address).await {
                connected.send_replace(Some(Arc::clone(&socket)));
                socket.pump(&world, reader).await;
                connected.send_replace(None);
            }
            world.clock.sleep(HEARTBEAT).await;
        }
    });
    let transport = Arc::clone(&env.transport);
    let address = receiver.grpc_address().ok_or("no gRPC")?.clone();
    let connector = tower::service_fn(move |_: Uri| {
        let (transport, address) = (Arc::clone(&transport), address.clone());
        async move { transport.connect(&address).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://endpoint").connect_with_connector_lazy(connector);
    let numbers = Exponential {
        max_tries: 3,
        initial: Duration::from_millis(250),
        multiplier: 2.0,
        cap: Duration::from_secs(5),
    };
    let bridge = SocketBridge {
        env: env.clone(),
        socket: socket.clone(),
        grpc: EndpointClient::new(channel),
        tries: RetryPolicy::exponential(numbers)?,
        fallbacks: AtomicU64::new(0),
    };

    // The socket is up before the first lease is taken: what goes over gRPC then went there because of
    // the cut.
    let mut up = socket.clone();
    timeout(&*env.clock, PATIENCE, up.wait_for(Option::is_some)).await??;

    let bridge = &bridge;
    let adapter = TaskQueueChannelAdapter::create(queue.clone(), CONCURRENCY as usize, false)?;
    let (done, failed, depth, active) = (
        AtomicU64::new(0),
        AtomicU64::new(0),
        AtomicU64::new(0),
        AtomicU64::new(0),
    );
    let measure = || {
        let counts = queue.counts();
        depth.fetch_max(counts.ready + counts.delayed, Ordering::Relaxed);
        active.fetch_max(counts.leased, Ordering::Relaxed);
    };
    // Failures are items like any other: nothing in this stream ends it but the end of the queue.
    let delivered = adapter
        .map(|lease| async move { bridge.deliver(lease?).await })
        .buffer_unordered(CONCURRENCY as usize)
        .tap_success_each(|()| {
            measure();
            if done.fetch_add(1, Ordering::Relaxed) + 1 == CUT_AFTER
                && let Some(socket) = &*socket.borrow()
            {
                socket.cut.cancel();
            }
        })
        .tap_failure_each(|_| {
            measure();
            failed.fetch_add(1, Ordering::Relaxed);
        });
    let all = PipelineExt::for_each(delivered, NonZeroUsize::MIN, future::ready);
    let finish = async {
        while queue.counts().pending() > 0 {
            env.clock.sleep(Duration::from_millis(5)).await;
        }
        let poison = queue.counts().poison;
        queue.close().await.map(|()| poison)
    };
    let (_, poison) = timeout(&*env.clock, PATIENCE, future::join(all, finish)).await?;
    keeper.abort();

    let executed = lock(&work.executed).clone();
    let once = executed.iter().collect::<BTreeSet<_>>().len() == executed.len();
    let (done, failed, poison) = (done.into_inner(), failed.into_inner(), poison?);
    let fallbacks = bridge.fallbacks.load(Ordering::Relaxed);
    println!("delivered {done} of {COMMANDS}, failed attempts {failed}, in socket-poison {poison}");
    println!("executed {} commands, each once: {once}", executed.len());
    println!(
        "over gRPC {fallbacks}; at most {} waiting, {} leased",
        depth.into_inner(),
        active.into_inner()
    );
    Ok(once && done == 197 && poison == 3 && fallbacks > 0)
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
