//! The producers' process: so many callers, each with one command under way, all over one connection.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use leasebridge::env::{Address, Env, timeout};
use leasebridge::wire::v1;
use leasebridge::wire::v1::admin_client::AdminClient;
use leasebridge::wire::v1::ingest_client::IngestClient;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::latency::{self, Latencies};
use super::redis;
use crate::cli::bench::queue::BODY_BYTES;
use crate::cli::bench::{BenchError, helper};
use crate::cli::client;

/// How long an answer may take: a bridge that works answers within a sync or two.
const ANSWER_PATIENCE: Duration = Duration::from_secs(20);

/// How commands are handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli::bench) enum ProducerCall {
    /// `Enqueue`, a request each.
    Unary,
    /// `EnqueueStream`, one stream for all callers.
    Stream,
    /// `XADD`, pipelined by all callers together.
    Redis,
}

impl ProducerCall {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::Stream => "stream",
            Self::Redis => "redis",
        }
    }
}

/// What the producers are told.
#[derive(Debug, Args)]
pub(in crate::cli::bench) struct ProducersArgs {
    #[arg(long)]
    pub(super) to: Address,
    #[arg(long)]
    pub(super) call: ProducerCall,
    #[arg(long)]
    pub(super) callers: usize,
    #[arg(long)]
    pub(super) commands: usize,
}

/// Runs the callers once it is told to; says how soon their commands were durable.
pub(in crate::cli::bench) async fn run(args: ProducersArgs) -> Result<(), BenchError> {
    let client = ProducerClient::connect(&args).await?;
    helper::ready("ready");
    helper::told_to_go().await?;
    let callers = (0..args.callers).map(|caller| {
        // The first few callers take what is left over.
        let left_over = usize::from(caller < args.commands % args.callers);
        tokio::spawn(call(
            client.clone(),
            args.commands / args.callers + left_over,
        ))
    });
    let callers: Vec<_> = callers.collect();
    let mut latencies = Latencies::default();
    for caller in callers {
        latencies.extend(caller.await.map_err(std::io::Error::other)??);
    }
    println!("{}", latencies.json());
    helper::told_to_end().await
}

async fn call(client: ProducerClient, commands: usize) -> Result<Latencies, BenchError> {
    let mut latencies = Latencies::default();
    let clock = Env::real().clock;
    for _ in 0..commands {
        let called = Instant::now();
        let answered = client.enqueue(latency::stamped(BODY_BYTES));
        timeout(&*clock, ANSWER_PATIENCE, answered)
            .await
            .map_err(std::io::Error::other)??;
        latencies.add(called.elapsed());
    }
    Ok(latencies)
}

/// One connection, shared by all callers.
#[derive(Clone)]
enum ProducerClient {
    Unary(IngestClient<Channel>),
    Stream(Arc<CommandStream>),
    Redis(redis::RedisClient),
}

impl ProducerClient {
    async fn connect(args: &ProducersArgs) -> Result<Self, BenchError> {
        let env = Env::real();
        if args.call == ProducerCall::Redis {
            return Ok(Self::Redis(
                redis::RedisClient::connect(&env, &args.to).await?,
            ));
        }
        let channel = client::channel(&env, &args.to);
        // The connection comes up with the first request: it is no part of anybody's first command.
        let mut admin = AdminClient::new(channel.clone());
        admin.status(v1::StatusRequest {}).await?;
        let client = IngestClient::new(channel);
        Ok(match args.call {
            ProducerCall::Stream => Self::Stream(CommandStream::open(client, args.callers).await?),
            _ => Self::Unary(client),
        })
    }

    /// Completes when the command is durable.
    async fn enqueue(&self, body: Vec<u8>) -> Result<(), BenchError> {
        if let Self::Redis(client) = self {
            let id = client.call(&[b"XADD", redis::STREAM, b"*", b"body", &body]);
            return match id.await? {
                redis::RedisReply::Bulk(_) => Ok(()),
                other => Err(BenchError::Helper(format!("{other:?} to XADD"))),
            };
        }
        let request = v1::EnqueueRequest {
            body: body.into(),
            ..Default::default()
        };
        let reply = match self {
            Self::Unary(client) => client.clone().enqueue(request).await?.into_inner(),
            Self::Stream(stream) => stream.enqueue(request).await?,
            Self::Redis(_) => unreachable!("answered above"),
        };
        match reply.result {
            Some(v1::enqueue_reply::Result::Accepted(_)) => Ok(()),
            other => Err(BenchError::Helper(format!("{other:?} to a command"))),
        }
    }
}

/// One stream of commands. Replies come in the order of the requests.
struct CommandStream {
    state: Mutex<CommandStreamState>,
}

struct CommandStreamState {
    requests: mpsc::Sender<v1::EnqueueRequest>,
    waiting: VecDeque<oneshot::Sender<v1::EnqueueReply>>,
}

impl CommandStream {
    async fn open(
        mut client: IngestClient<Channel>,
        callers: usize,
    ) -> Result<Arc<Self>, BenchError> {
        // A caller has one command under way, so that there is always room.
        let (requests, stream) = mpsc::channel(callers.max(1));
        let replies = client.enqueue_stream(ReceiverStream::new(stream)).await?;
        let state = CommandStreamState {
            requests,
            waiting: VecDeque::new(),
        };
        let streamed = Arc::new(Self {
            state: Mutex::new(state),
        });
        let reading = Arc::clone(&streamed);
        let mut replies = replies.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(reply)) = replies.message().await {
                let first = reading.lock().waiting.pop_front();
                // A reply that nobody asked for, or a caller that has gone: its own deadline tells.
                if let Some(caller) = first {
                    let _gone = caller.send(reply);
                }
            }
            reading.lock().waiting.clear();
        });
        Ok(streamed)
    }

    async fn enqueue(&self, request: v1::EnqueueRequest) -> Result<v1::EnqueueReply, BenchError> {
        let (caller, reply) = oneshot::channel();
        {
            let mut state = self.lock();
            let sent = state.requests.try_send(request);
            sent.map_err(|_| std::io::Error::other("the stream takes nothing more"))?;
            state.waiting.push_back(caller);
        }
        let reply = reply.await;
        Ok(reply.map_err(|_| std::io::Error::other("the stream ended before the answer"))?)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, CommandStreamState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
