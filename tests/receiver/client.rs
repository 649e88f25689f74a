//! A bridge's side, as raw as the tests need it, over either transport.

use bytes::{Bytes, BytesMut};
use leasebridge::env::{BoxStream, Env};
use leasebridge::receiver::RunningReceiver;
use leasebridge::wire::v1::frame::Kind;
use leasebridge::wire::v1::reply::Outcome;
use leasebridge::wire::{
    BridgeHello, EndpointHello, FrameReader, HEARTBEAT_DEFAULT, encode_frame, frame_bytes_for, v1,
};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::patiently;

pub(crate) const ORIGIN: u64 = 0xc0ffee;
const BODY_BYTES_MAX: u32 = 1 << 20;

pub(crate) enum Client {
    Socket {
        reader: FrameReader<ReadHalf<BoxStream>>,
        writer: WriteHalf<BoxStream>,
    },
    Grpc {
        incoming: tonic::Streaming<v1::Frame>,
        outgoing: mpsc::Sender<v1::Frame>,
    },
}

pub(crate) fn hello() -> BridgeHello {
    BridgeHello {
        software: "test".into(),
        route: "orders".into(),
        frame_bytes_max: frame_bytes_for(BODY_BYTES_MAX),
        body_bytes_max: BODY_BYTES_MAX,
        credentials: Bytes::new(),
        heartbeat: HEARTBEAT_DEFAULT,
        tells_received: false,
    }
}

pub(crate) fn delivery(seq: u64, epoch: u32) -> v1::DeliveryId {
    v1::DeliveryId {
        task: Some(v1::TaskId {
            origin: ORIGIN,
            seq,
        }),
        epoch,
    }
}

pub(crate) fn command(seq: u64, epoch: u32, send: u32, body: &'static str) -> Kind {
    Kind::Command(v1::Command {
        delivery: Some(delivery(seq, epoch)),
        send,
        route: "orders".into(),
        headers: Vec::new(),
        body: Bytes::from_static(body.as_bytes()),
        key: "key".into(),
        expires_in_ms: 0,
    })
}

pub(crate) fn done(result: &'static str) -> Outcome {
    let result = Bytes::from_static(result.as_bytes());
    Outcome::Done(v1::Done { result })
}

impl Client {
    /// A socket that has said nothing yet.
    pub(crate) async fn raw(receiver: &RunningReceiver) -> Self {
        let env = Env::real();
        let stream = env.transport.connect(receiver.socket_address()).await;
        let (reading, writer) = tokio::io::split(stream.unwrap());
        let reader = FrameReader::new(reading, 64 << 20);
        Self::Socket { reader, writer }
    }

    /// A gRPC stream that has said nothing yet.
    pub(crate) async fn raw_grpc(receiver: &RunningReceiver) -> Self {
        let address = receiver.grpc_address().expect("it listens for gRPC");
        let channel = Channel::from_shared(format!("http://{address}")).unwrap();
        let channel = channel.connect().await.unwrap();
        let mut client =
            v1::endpoint_client::EndpointClient::new(channel).max_decoding_message_size(64 << 20);
        let (outgoing, frames) = mpsc::channel(64);
        let response = client.execute_command(ReceiverStream::new(frames)).await;
        let response = response.unwrap();
        let date = response.metadata().get("date").unwrap();
        let date = date.to_str().unwrap();
        assert!(date.ends_with("GMT") && !date.contains("1970"), "{date}");
        Self::Grpc {
            incoming: response.into_inner(),
            outgoing,
        }
    }

    pub(crate) async fn socket(receiver: &RunningReceiver) -> Self {
        let mut client = Self::raw(receiver).await;
        client.greet(&hello()).await;
        client
    }

    pub(crate) async fn grpc(receiver: &RunningReceiver) -> Self {
        let mut client = Self::raw_grpc(receiver).await;
        client.greet(&hello()).await;
        client
    }

    pub(crate) async fn greet(&mut self, hello: &BridgeHello) -> EndpointHello {
        self.send(hello.to_kind()).await;
        EndpointHello::from_kind(self.next().await.expect("a hello")).unwrap()
    }

    pub(crate) async fn send(&mut self, kind: Kind) {
        let frame = v1::Frame { kind: Some(kind) };
        match self {
            Self::Socket { writer, .. } => {
                let mut bytes = BytesMut::new();
                encode_frame(&frame, &mut bytes);
                writer.write_all(&bytes).await.unwrap();
            }
            Self::Grpc { outgoing, .. } => outgoing.send(frame).await.unwrap(),
        }
    }

    /// Sends if the receiver still takes it.
    pub(crate) async fn try_send(&mut self, kind: Kind) -> bool {
        let frame = v1::Frame { kind: Some(kind) };
        match self {
            Self::Socket { writer, .. } => {
                let mut bytes = BytesMut::new();
                encode_frame(&frame, &mut bytes);
                writer.write_all(&bytes).await.is_ok()
            }
            Self::Grpc { outgoing, .. } => outgoing.send(frame).await.is_ok(),
        }
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        let Self::Socket { writer, .. } = self else {
            panic!("gRPC carries no raw bytes")
        };
        writer.write_all(bytes).await.unwrap();
    }

    /// Ends this side's half of the connection.
    pub(crate) async fn end(&mut self) {
        let Self::Socket { writer, .. } = self else {
            panic!("only for sockets")
        };
        writer.shutdown().await.unwrap();
    }

    /// The next frame that is no heartbeat; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Kind> {
        loop {
            let kind = match self {
                Self::Socket { reader, .. } => patiently(reader.next()).await.unwrap(),
                Self::Grpc { incoming, .. } => patiently(incoming.message())
                    .await
                    .unwrap()
                    .map(|frame| frame.kind.expect("a kind")),
            };
            if !matches!(kind, Some(Kind::Heartbeat(_))) {
                return kind;
            }
        }
    }

    /// The next reply: its task, epoch, send and outcome. Passes over signs of work.
    pub(crate) async fn reply(&mut self) -> (u64, u32, u32, Outcome) {
        loop {
            match self.next().await.expect("a reply") {
                Kind::Working(_) => {}
                Kind::Reply(reply) => {
                    let delivery = reply.delivery.unwrap();
                    let task = delivery.task.unwrap();
                    assert_eq!(task.origin, ORIGIN);
                    let outcome = reply.outcome.unwrap();
                    return (task.seq, delivery.epoch, reply.send, outcome);
                }
                other => panic!("instead of a reply: {other:?}"),
            }
        }
    }

    pub(crate) async fn ask(
        &mut self,
        seq: u64,
        epoch: u32,
        send: u32,
        body: &'static str,
    ) -> Outcome {
        self.send(command(seq, epoch, send, body)).await;
        let (got, got_epoch, got_send, outcome) = self.reply().await;
        assert_eq!((got, got_epoch, got_send), (seq, epoch, send));
        outcome
    }

    pub(crate) async fn rollback(
        &mut self,
        seq: u64,
        epoch: u32,
        send: u32,
    ) -> v1::rollback_reply::State {
        let delivery = Some(delivery(seq, epoch));
        self.send(Kind::Rollback(v1::Rollback { delivery, send }))
            .await;
        match self.next().await {
            Some(Kind::RollbackReply(reply)) => {
                assert_eq!((reply.delivery, reply.send), (delivery, send));
                reply.state()
            }
            other => panic!("instead of a rollback's reply: {other:?}"),
        }
    }

    pub(crate) async fn settle(&mut self, first: u64, last: u64) {
        let range = v1::SettledRange {
            origin: ORIGIN,
            first,
            last,
        };
        let ranges = vec![range];
        self.send(Kind::Settled(v1::Settled { ranges })).await;
    }

    /// The reason with which the receiver closes this connection.
    pub(crate) async fn close_reason(&mut self) -> String {
        match self.next().await {
            Some(Kind::Close(close)) => {
                assert_eq!(self.next().await, None, "nothing follows a close");
                close.reason
            }
            other => panic!("instead of a close: {other:?}"),
        }
    }
}
