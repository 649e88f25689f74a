//! An endpoint on the socket whose every word the test says itself.

use std::time::Duration;

use bytes::BytesMut;
use leasebridge::env::{Address, BoxStream, Env, Listener, timeout};
use leasebridge::wire::v1::frame::Kind;
use leasebridge::wire::{
    BODY_BYTES_DEFAULT, EndpointHello, FrameReader, InboxId, encode_frame, frame_bytes_for, v1,
};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};

use super::local;

/// Far beyond anything a healthy machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct RawEndpoint {
    pub(crate) address: Address,
    listener: Box<dyn Listener>,
}

/// A connection of a bridge that has said `Hello`.
pub(crate) struct RawLink {
    reader: FrameReader<ReadHalf<BoxStream>>,
    writer: WriteHalf<BoxStream>,
}

impl RawEndpoint {
    pub(crate) async fn start() -> Self {
        let listener = Env::real().transport.bind(&local()).await.unwrap();
        let address = listener.local_address();
        Self { address, listener }
    }

    pub(crate) async fn accept(&mut self) -> RawLink {
        let accepted = timeout(&*Env::real().clock, PATIENCE, self.listener.accept()).await;
        let (stream, _) = accepted.expect("a bridge connects").unwrap();
        let (reading, writer) = tokio::io::split(stream);
        let reader = FrameReader::new(reading, frame_bytes_for(BODY_BYTES_DEFAULT));
        let mut link = RawLink { reader, writer };
        let first = link.heard().await;
        assert!(matches!(first, Some(Kind::Hello(_))), "{first:?}");
        link
    }

    /// What an honest one says first.
    pub(crate) fn hello() -> v1::Hello {
        let hello = EndpointHello {
            software: "raw/1".into(),
            frame_bytes_max: frame_bytes_for(BODY_BYTES_DEFAULT),
            body_bytes_max: BODY_BYTES_DEFAULT,
            in_flight_max: 16,
            inbox_id: InboxId([1; 16]),
            heartbeat: Duration::from_secs(1),
            tells_received: false,
        };
        match hello.to_kind() {
            Kind::Hello(hello) => hello,
            other => panic!("not a hello: {other:?}"),
        }
    }
}

impl RawLink {
    pub(crate) async fn say(&mut self, kind: Kind) {
        let mut bytes = BytesMut::new();
        encode_frame(&v1::Frame { kind: Some(kind) }, &mut bytes);
        self.writer.write_all(&bytes).await.unwrap();
    }

    /// The next command; what was settled is passed over.
    pub(crate) async fn command(&mut self) -> v1::Command {
        loop {
            match self.heard().await {
                Some(Kind::Settled(_)) => {}
                Some(Kind::Command(command)) => return command,
                other => panic!("not a command: {other:?}"),
            }
        }
    }

    /// The next frame; heartbeats are answered and passed over. `None` at the end.
    pub(crate) async fn heard(&mut self) -> Option<Kind> {
        loop {
            let next = timeout(&*Env::real().clock, PATIENCE, self.reader.next()).await;
            match next.expect("the bridge says something").unwrap() {
                Some(Kind::Heartbeat(v1::Heartbeat { sequence, .. })) => {
                    let answer = Kind::HeartbeatAck(v1::HeartbeatAck {
                        sequence,
                        received_bytes: 0,
                    });
                    self.say(answer).await;
                }
                other => return other,
            }
        }
    }
}
