//! The services of a bridge, asked over a real connection with whatever bytes stand for a message.
//!
//! The first byte chooses what is asked for, and whether the rest is the message as it stands (of a stream: the messages,
//! cut at a byte that is rare) or a row of choices from which a well formed one is made. Whatever was asked, the bridge answers the next question, a batch is kept whole or not at all, and what an
//! answer calls accepted is what the queue holds more than before. A panic anywhere ends the fuzzer.
#![no_main]

mod choices;
#[path = "services/messages.rs"]
mod messages;

use std::sync::LazyLock;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use choices::Choices;
use leasebridge::bridge::RouteOptions;
use leasebridge::env::{Address, Env};
use leasebridge::node::{Node, NodeOptions};
use leasebridge::wire::v1;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status};

/// Tasks that the queue may hold before it is emptied again.
const HELD_MAX: u64 = 256;

/// Messages of one stream.
const STREAM_MAX: usize = 64;

/// Cuts the input into the messages of a stream.
const CUT: u8 = 0xfe;

/// Longer than any answer takes, even with the sanitizers on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The bit of the first byte that says that the message is to be well formed.
const WELL_FORMED: u8 = 0x80;

/// Everything that can be asked for.
const ASKED: [&str; 12] = [
    "/leasebridge.v1.Ingest/Enqueue",
    ENQUEUE_BATCH,
    ENQUEUE_STREAM,
    WATCH,
    STATUS,
    "/leasebridge.v1.Admin/Explain",
    "/leasebridge.v1.Admin/ListPoison",
    "/leasebridge.v1.Admin/RequeuePoison",
    "/leasebridge.v1.Admin/PurgePoison",
    "/leasebridge.v1.Admin/PauseRoute",
    "/leasebridge.v1.Admin/ResumeRoute",
    "/leasebridge.v1.Admin/MoveRoute",
];

const ENQUEUE_BATCH: &str = "/leasebridge.v1.Ingest/EnqueueBatch";
const STATUS: &str = "/leasebridge.v1.Admin/Status";
const WATCH: &str = "/leasebridge.v1.Admin/Watch";
const ENQUEUE_STREAM: &str = "/leasebridge.v1.Ingest/EnqueueStream";

static HOUSE: LazyLock<House> = LazyLock::new(House::new);

fuzz_target!(|data: &[u8]| {
    let Some((choice, message)) = data.split_first() else {
        return;
    };
    let asked = ASKED[usize::from(choice & !WELL_FORMED) % ASKED.len()];
    let messages = match choice & WELL_FORMED {
        0 => message
            .split(|byte| *byte == CUT && asked == ENQUEUE_STREAM)
            .take(STREAM_MAX)
            .map(Bytes::copy_from_slice)
            .collect(),
        _ => messages::of(asked, &mut Choices::new(message)),
    };
    HOUSE.ask(asked, messages);
});

/// A bridge whose routes lead to nobody, and a connection to it.
struct House {
    runtime: tokio::runtime::Runtime,
    node: Node,
    client: Grpc<Channel>,
    _dir: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let dir = tempfile::tempdir().expect("a folder");
        let local = |port| Address::tcp("127.0.0.1", port);
        // Nobody listens there: what is accepted waits until it is taken out.
        let routes = ["default", "lamps"].map(|name| RouteOptions::new(name).grpc(local(1)));
        let options = NodeOptions::new(dir.path().join("log"), local(0), routes.into());
        let (node, client) = runtime.block_on(async {
            let node = Node::start(Env::real(), options).await.expect("a bridge");
            let address = format!("http://{}", node.address());
            let endpoint = Channel::from_shared(address).expect("an address");
            let channel = endpoint.connect().await.expect("it listens");
            (node, Grpc::new(channel))
        });
        Self {
            runtime,
            node,
            client,
            _dir: dir,
        }
    }

    fn ask(&self, path: &'static str, messages: Vec<Bytes>) {
        let asked = async {
            match path {
                ENQUEUE_STREAM => self.stream(messages).await,
                _ => {
                    let message = messages.into_iter().next().unwrap_or_default();
                    match path {
                        WATCH => self.watch(message).await,
                        _ => self.unary(path, message).await,
                    }
                }
            }
            let answer = self.call(STATUS, Bytes::new()).await;
            answer.expect("the bridge answers whatever was asked before");
            self.empty().await;
        };
        let answered = async { tokio::time::timeout(PATIENCE, asked).await };
        self.runtime.block_on(answered).expect("an answer in time");
    }

    async fn call(&self, path: &'static str, message: Bytes) -> Result<Bytes, Status> {
        let mut client = self.client.clone();
        client.ready().await.expect("the connection lives");
        let path = tonic::codegen::http::uri::PathAndQuery::from_static(path);
        let answer = client.unary(Request::new(message), path, Plain).await?;
        Ok(answer.into_inner())
    }

    async fn unary(&self, path: &'static str, message: Bytes) {
        let before = self.held();
        let answer = self.call(path, message).await;
        let grown = self.held() - before;
        match (path, answer) {
            (ENQUEUE_BATCH, Ok(reply)) => {
                let reply = v1::EnqueueBatchReply::decode(reply).expect("a reply");
                let accepted = reply.replies.iter().filter(|reply| is_new(reply)).count();
                assert_eq!(grown, accepted as i64, "{reply:?}");
            }
            (_, Ok(_)) => {}
            // Nothing here fails but what is asked: no answer leaves anything in doubt.
            (_, Err(status)) => {
                assert_ne!(status.code(), tonic::Code::Unknown, "{status:?}");
                assert_ne!(status.code(), tonic::Code::Cancelled, "{status:?}");
                assert_eq!(grown, 0, "{path}: {status:?}");
            }
        }
    }

    async fn stream(&self, messages: Vec<Bytes>) {
        let before = self.held();
        let mut client = self.client.clone();
        client.ready().await.expect("the connection lives");
        let path = tonic::codegen::http::uri::PathAndQuery::from_static(ENQUEUE_STREAM);
        let request = Request::new(tokio_stream::iter(messages));
        let mut accepted = 0;
        let mut has_ended_well = false;
        if let Ok(answers) = client.streaming(request, path, Plain).await {
            let mut answers = answers.into_inner();
            loop {
                match answers.message().await {
                    Ok(Some(reply)) => {
                        let reply = v1::EnqueueReply::decode(reply).expect("a reply");
                        accepted += i64::from(is_new(&reply));
                    }
                    Ok(None) => {
                        has_ended_well = true;
                        break;
                    }
                    Err(_) => break,
                }
            }
        }
        let grown = self.held() - before;
        // What was read before a stream broke off is in doubt, and may have been kept.
        assert!(
            grown >= accepted && (!has_ended_well || grown == accepted),
            "{grown} kept, {accepted} accepted"
        );
    }

    /// A watcher that goes as soon as it is let in.
    async fn watch(&self, message: Bytes) {
        let mut client = self.client.clone();
        client.ready().await.expect("the connection lives");
        let path = tonic::codegen::http::uri::PathAndQuery::from_static(WATCH);
        let watching = client.server_streaming(Request::new(message), path, Plain);
        drop(watching.await);
    }

    /// Tasks in the queue.
    fn held(&self) -> i64 {
        let counts = self.node.queue().counts();
        (counts.ready + counts.delayed + counts.leased + counts.poison) as i64
    }

    /// Takes everything out before there is too much of it.
    async fn empty(&self) {
        let queue = self.node.queue();
        if (self.held() as u64) < HELD_MAX {
            return;
        }
        for route in ["default", "lamps"] {
            queue.resume(route).await.expect("it is known");
            while queue
                .status()
                .routes
                .iter()
                .any(|status| status.route == route && status.counts.ready > 0)
            {
                for lease in queue.lease_batch(route, 64).await.expect("it is known") {
                    // One whose deadline has just passed is gone already.
                    let _acked = lease.ack().await;
                }
            }
        }
        for route in ["default", "lamps"] {
            let (poison, _) = queue.poison(route, None, usize::MAX).expect("it is known");
            for id in poison {
                queue.purge(id).await.expect("it is in poison");
            }
        }
    }
}

fn is_new(reply: &v1::EnqueueReply) -> bool {
    match &reply.result {
        Some(v1::enqueue_reply::Result::Accepted(accepted)) => !accepted.duplicate,
        _ => false,
    }
}

/// Bytes as they are: what is sent need not be a message.
#[derive(Clone, Copy)]
struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let bytes = from.remaining();
        Ok(Some(from.copy_to_bytes(bytes)))
    }
}
