//! A bridge's side of a link, as raw as the checks need it, over either transport.

use std::pin::Pin;

use bytes::BytesMut;
use futures_util::Stream;
use leasebridge::env::{Address, BoxStream, Env};
use leasebridge::wire::v1::endpoint_client::EndpointClient;
use leasebridge::wire::v1::{self, frame::Kind};
use leasebridge::wire::{BODY_BYTES_MAX, FrameReader, encode_frame, frame_bytes_for, kind_name};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tonic::transport::Channel;

use crate::cli::client;

/// Frames that may wait to be sent: more than any check sends at once.
const OUTGOING_MAX: usize = 256;

/// Where an endpoint is, and how to talk to it.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Socket(Address),
    Grpc(Address),
}

impl Target {
    pub(super) fn transport(&self) -> &'static str {
        match self {
            Self::Socket(_) => "socket",
            Self::Grpc(_) => "grpc",
        }
    }

    pub(super) fn address(&self) -> &Address {
        match self {
            Self::Socket(address) | Self::Grpc(address) => address,
        }
    }
}

/// See the module. Dropping it cuts the connection.
pub(super) enum Peer {
    Socket {
        reader: FrameReader<ReadHalf<BoxStream>>,
        writer: WriteHalf<BoxStream>,
        sent_bytes: u64,
    },
    Grpc {
        incoming: Pin<Box<dyn Stream<Item = Result<v1::Frame, tonic::Status>> + Send>>,
        /// Dropped when this side's direction ends.
        outgoing: Option<mpsc::Sender<v1::Frame>>,
        /// Keeps the connection.
        _client: EndpointClient<Channel>,
    },
}

/// What is heard of an endpoint.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Heard {
    Frame(Kind),
    /// The link is over. In words: how, if that was not in order.
    End(Option<String>),
    /// Nothing came in time.
    Silence,
}

impl Heard {
    /// For people.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Frame(Kind::Close(close)) => {
                format!("`close` ({:.200})", close.reason.escape_debug())
            }
            Self::Frame(kind) => format!("`{}`", kind_name(kind)),
            Self::End(None) => "the end of the link".to_owned(),
            Self::End(Some(how)) => format!("the end of the link ({how})"),
            Self::Silence => "nothing".to_owned(),
        }
    }
}

impl Peer {
    /// Connects, and sends the first frame: over gRPC an endpoint may wait for it before it answers at all.
    pub(super) async fn open(env: &Env, target: &Target, first: Kind) -> Result<Self, String> {
        let mut peer = match target {
            Target::Socket(_) => Self::connect(env, target).await?,
            Target::Grpc(address) => {
                let client = EndpointClient::new(client::channel(env, address));
                let most = usize::try_from(frame_bytes_for(BODY_BYTES_MAX)).unwrap_or(usize::MAX);
                let mut client = client
                    .max_decoding_message_size(most)
                    .max_encoding_message_size(most + 1);
                let (outgoing, frames) = mpsc::channel(OUTGOING_MAX);
                outgoing
                    .try_send(frame(first))
                    .map_err(|error| error.to_string())?;
                let stream = tokio_stream::wrappers::ReceiverStream::new(frames);
                let answer = client.execute_command(stream).await;
                let incoming = answer.map_err(|status| status_words(&status))?.into_inner();
                return Ok(Self::Grpc {
                    incoming: Box::pin(incoming),
                    outgoing: Some(outgoing),
                    _client: client,
                });
            }
        };
        peer.send(first).await;
        Ok(peer)
    }

    /// A socket that has said nothing yet.
    pub(super) async fn connect(env: &Env, target: &Target) -> Result<Self, String> {
        let stream = env.transport.connect(target.address()).await;
        let stream =
            stream.map_err(|error| format!("can't connect to {}: {error}", target.address()))?;
        let (reading, writer) = tokio::io::split(stream);
        Ok(Self::Socket {
            reader: FrameReader::new(reading, frame_bytes_for(BODY_BYTES_MAX)),
            writer,
            sent_bytes: 0,
        })
    }

    /// Sends a frame. Whether the endpoint still takes it shows in what it says.
    pub(super) async fn send(&mut self, kind: Kind) {
        match self {
            Self::Socket { .. } => {
                let mut bytes = BytesMut::new();
                encode_frame(&frame(kind), &mut bytes);
                self.send_bytes(&bytes).await;
            }
            Self::Grpc { .. } => self.send_frame(frame(kind)).await,
        }
    }

    /// Sends a message as it is, over gRPC.
    pub(super) async fn send_frame(&mut self, frame: v1::Frame) {
        if let Self::Grpc {
            outgoing: Some(outgoing),
            ..
        } = self
        {
            // Nobody takes it any more: the end says so.
            let _gone = outgoing.send(frame).await;
        }
    }

    /// Sends bytes as they are, over the socket.
    pub(super) async fn send_bytes(&mut self, bytes: &[u8]) {
        if let Self::Socket {
            writer, sent_bytes, ..
        } = self
        {
            *sent_bytes += bytes.len() as u64;
            // Nobody takes them any more: the end says so.
            let _gone = writer.write_all(bytes).await;
        }
    }

    /// Bytes that were sent over the socket; none over gRPC, where it isn't known.
    pub(super) fn sent_bytes(&self) -> Option<u64> {
        match self {
            Self::Socket { sent_bytes, .. } => Some(*sent_bytes),
            Self::Grpc { .. } => None,
        }
    }

    /// Ends this side's direction.
    pub(super) async fn end(&mut self) {
        match self {
            Self::Socket { writer, .. } => {
                let _gone = writer.shutdown().await;
            }
            Self::Grpc { outgoing, .. } => *outgoing = None,
        }
    }

    /// The next frame, or the end. Cancel safe; give it a deadline.
    pub(super) async fn next(&mut self) -> Heard {
        match self {
            Self::Socket { reader, .. } => match reader.next().await {
                Ok(Some(kind)) => Heard::Frame(kind),
                Ok(None) => Heard::End(None),
                Err(error) => Heard::End(Some(error.to_string())),
            },
            Self::Grpc { incoming, .. } => match futures_util::StreamExt::next(incoming).await {
                None => Heard::End(None),
                Some(Ok(v1::Frame { kind: Some(kind) })) => Heard::Frame(kind),
                Some(Ok(_)) => Heard::End(Some("a frame without a kind".to_owned())),
                Some(Err(status)) => Heard::End(Some(status_words(&status))),
            },
        }
    }
}

fn frame(kind: Kind) -> v1::Frame {
    v1::Frame { kind: Some(kind) }
}

fn status_words(status: &tonic::Status) -> String {
    format!(
        "gRPC {:?}: {:.200}",
        status.code(),
        status.message().escape_debug()
    )
}
