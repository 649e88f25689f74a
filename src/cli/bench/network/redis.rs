//! Redis, as a peer: its server, a client that many callers share, and the process that consumes.
//!
//! The client is multiplexed as gRPC's is: what callers ask for at the same time leaves with one write.

use std::collections::VecDeque;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use clap::Args;
use leasebridge::env::{Address, BoxStream, Env, timeout};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::process::{Child, Command};
use tokio::sync::{Notify, oneshot};

use super::latency::{self, Latencies};
pub(super) use super::resp::RedisReply;
use super::resp::{ReplyParser, write_request};
use crate::cli::bench::{BenchError, helper, processor};

/// The stream and the group that the bench uses.
pub(super) const STREAM: &[u8] = b"commands";
const GROUP: &[u8] = b"endpoints";

/// Entries of one XREADGROUP: as many as a bridge has in flight by default.
const BATCH: &[u8] = b"1024";

/// How long one XREADGROUP waits for an entry, in ms.
const BLOCK_MS: &[u8] = b"1000";

/// How much one read fetches at most.
const READ_BYTES: usize = 256 << 10;

/// How often a port is looked for that is free: another process may take it before Redis does.
const PORTS_TRIED: u32 = 3;

/// A server that syncs before it answers. Dropping it kills it.
pub(super) struct RedisServer {
    process: Child,
    pub(super) address: Address,
}

impl RedisServer {
    /// The version that is installed; `None` if none is.
    pub(super) async fn version() -> Result<Option<String>, BenchError> {
        let asked = Command::new("redis-server").arg("--version").output().await;
        let said = match asked {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            asked => asked?,
        };
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let version = said
            .split_whitespace()
            .find_map(|word| word.strip_prefix("v="));
        Ok(Some(version.unwrap_or("?").to_owned()))
    }

    /// A server whose log is in `dir`.
    pub(super) async fn start(env: &Env, dir: &Path) -> Result<Self, BenchError> {
        let mut tried = 1;
        loop {
            match Self::try_start(env, dir).await {
                Err(_) if tried < PORTS_TRIED => tried += 1,
                started => return started,
            }
        }
    }

    async fn try_start(env: &Env, dir: &Path) -> Result<Self, BenchError> {
        let free = env.transport.bind(&Address::tcp("127.0.0.1", 0)).await?;
        let address = free.local_address();
        drop(free);
        let Address::Tcp { port, .. } = &address else {
            return Err(BenchError::Helper(format!("{address} for a port")));
        };
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--appendonly", "yes", "--appendfsync", "always"])
            .args(["--save", "", "--daemonize", "no", "--dir"])
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let server = Self { process, address };
        timeout(&*env.clock, helper::PATIENCE, server.answers(env))
            .await
            .map_err(std::io::Error::other)?;
        let client = RedisClient::connect(env, &server.address).await?;
        let made = client.call(&[b"XGROUP", b"CREATE", STREAM, GROUP, b"0", b"MKSTREAM"]);
        match made.await? {
            RedisReply::State(_) => Ok(server),
            other => Err(BenchError::Helper(format!("{other:?} to XGROUP"))),
        }
    }

    async fn answers(&self, env: &Env) {
        loop {
            if let Ok(client) = RedisClient::connect(env, &self.address).await
                && let Ok(RedisReply::State(_)) = client.call(&[b"PING"]).await
            {
                return;
            }
            env.clock.sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it and waits until it is gone: its folder is the next one's.
    pub(super) async fn end(mut self) -> Result<(), BenchError> {
        Ok(self.process.kill().await?)
    }

    pub(super) fn processor_time(&self) -> Result<Duration, BenchError> {
        processor::time_of(&self.process)
    }
}

/// One connection that many callers share. It ends with the last of its clones.
#[derive(Clone)]
pub(super) struct RedisClient(Arc<ClientHandle>);

struct ClientHandle(Arc<SharedConnection>);

#[derive(Default)]
struct SharedConnection {
    state: Mutex<ConnectionState>,
    /// Told when something is to be written, and at the end.
    written: Notify,
}

#[derive(Default)]
struct ConnectionState {
    outgoing: BytesMut,
    /// Callers, in the order of their requests.
    waiting: VecDeque<oneshot::Sender<RedisReply>>,
    closed: bool,
}

impl RedisClient {
    pub(super) async fn connect(env: &Env, address: &Address) -> Result<Self, BenchError> {
        let stream = env.transport.connect(address).await?;
        let (reading, writing) = split(stream);
        let shared = Arc::new(SharedConnection::default());
        tokio::spawn(write(Arc::clone(&shared), writing));
        tokio::spawn(read(Arc::clone(&shared), reading));
        Ok(Self(Arc::new(ClientHandle(shared))))
    }

    /// Asks now; the answer is waited for. Requests are answered in the order in which they are made.
    pub(super) fn call(
        &self,
        parts: &[&[u8]],
    ) -> impl Future<Output = Result<RedisReply, BenchError>> + Send + use<> {
        let (caller, reply) = oneshot::channel();
        let shared = &self.0.0;
        {
            let mut state = shared.lock();
            if !state.closed {
                write_request(parts, &mut state.outgoing);
                state.waiting.push_back(caller);
            }
        }
        shared.written.notify_one();
        async move {
            let reply = reply.await;
            Ok(reply.map_err(|_| std::io::Error::other("redis-server hung up"))?)
        }
    }
}

impl Drop for ClientHandle {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl SharedConnection {
    fn lock(&self) -> MutexGuard<'_, ConnectionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.waiting.clear();
        self.written.notify_one();
    }
}

async fn write(shared: Arc<SharedConnection>, mut stream: WriteHalf<BoxStream>) {
    loop {
        let (bytes, closed) = {
            let mut state = shared.lock();
            (state.outgoing.split(), state.closed)
        };
        if closed || stream.write_all(&bytes).await.is_err() {
            // The reader's end follows.
            let _gone = stream.shutdown().await;
            return shared.close();
        }
        if bytes.is_empty() {
            shared.written.notified().await;
        }
    }
}

async fn read(shared: Arc<SharedConnection>, mut stream: ReadHalf<BoxStream>) {
    let mut parser = ReplyParser::default();
    loop {
        parser.buffer.reserve(READ_BYTES);
        if !matches!(stream.read_buf(&mut parser.buffer).await, Ok(1..)) {
            return shared.close();
        }
        loop {
            match parser.take() {
                Ok(Some(reply)) => {
                    let first = shared.lock().waiting.pop_front();
                    if let Some(caller) = first {
                        let _gone = caller.send(reply);
                    }
                }
                Ok(None) => break,
                Err(_) => return shared.close(),
            }
        }
    }
}

/// What the consumer is told.
#[derive(Debug, Args)]
pub(in crate::cli::bench) struct ConsumerArgs {
    #[arg(long)]
    to: Address,
    #[arg(long)]
    commands: usize,
}

/// Consumes until all commands are settled; then says how soon they got here. While one batch is settled the next
/// is read: XREADGROUP waits on a connection of its own, where it holds nobody up.
pub(in crate::cli::bench) async fn consume(args: ConsumerArgs) -> Result<(), BenchError> {
    let env = Env::real();
    let reading = RedisClient::connect(&env, &args.to).await?;
    let settling = RedisClient::connect(&env, &args.to).await?;
    helper::ready("ready");
    let mut latencies = Latencies::default();
    let mut seen = 0;
    let mut before = Vec::new();
    while seen < args.commands {
        let batch = reading.call(&[
            b"XREADGROUP",
            b"GROUP",
            GROUP,
            b"bench",
            b"COUNT",
            BATCH,
            b"BLOCK",
            BLOCK_MS,
            b"STREAMS",
            STREAM,
            b">",
        ]);
        let entries = entries(batch.await?)?;
        let mut settlements = Vec::with_capacity(2 * entries.len());
        for (id, body) in &entries {
            let age = latency::age(body);
            latencies.add(age.ok_or_else(|| BenchError::Helper("a body without a time".into()))?);
            settlements.push(settling.call(&[b"XACK", STREAM, GROUP, id]));
            settlements.push(settling.call(&[b"XDEL", STREAM, id]));
        }
        seen += entries.len();
        settled(std::mem::replace(&mut before, settlements)).await?;
    }
    settled(before).await?;
    println!("{}", latencies.json());
    helper::told_to_end().await
}

async fn settled(
    settlements: Vec<impl Future<Output = Result<RedisReply, BenchError>>>,
) -> Result<(), BenchError> {
    for settlement in settlements {
        match settlement.await? {
            RedisReply::Number(1) => {}
            other => return Err(BenchError::Helper(format!("{other:?} to a settlement"))),
        }
    }
    Ok(())
}

/// Ids and bodies of a batch.
fn entries(batch: RedisReply) -> Result<Vec<(bytes::Bytes, bytes::Bytes)>, BenchError> {
    let strange = |reply: &RedisReply| BenchError::Helper(format!("{reply:?} to XREADGROUP"));
    // `[[stream, [[id, [field, body]], …]]]`, or nothing.
    let mut streams = match batch {
        RedisReply::Nil => return Ok(Vec::new()),
        RedisReply::Array(streams) => streams,
        other => return Err(strange(&other)),
    };
    let stream = match streams.pop() {
        Some(RedisReply::Array(stream)) => stream,
        other => return Err(strange(&other.unwrap_or(RedisReply::Nil))),
    };
    let Some(RedisReply::Array(entries)) = stream.into_iter().nth(1) else {
        return Err(strange(&RedisReply::Nil));
    };
    let entry = |entry: RedisReply| match &entry {
        RedisReply::Array(parts) => match &parts[..] {
            [RedisReply::Bulk(id), RedisReply::Array(fields)] => match &fields[..] {
                [_, RedisReply::Bulk(body)] => Ok((id.clone(), body.clone())),
                _ => Err(strange(&entry)),
            },
            _ => Err(strange(&entry)),
        },
        _ => Err(strange(&entry)),
    };
    entries.into_iter().map(entry).collect()
}
