//! Making a link: connect, exchange `Hello`, both under a deadline.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::split;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::driver::{Beat, Driver, LinkEnd, Outgoing};
use super::grpc::{GrpcFrames, dial, died, outlet};
use super::receive::Incoming;
use super::{Link, LinkParts};
use crate::bridge::counters::LinkCounters;
use crate::bridge::limits::{LINGER, WRITE_DEADLINE};
use crate::bridge::options::RouteOptions;
use crate::core::event::TransportKind;
use crate::env::{Address, Env, timeout};
use crate::said::said;
use crate::wire::v1::{self, frame::Kind};
use crate::wire::{
    EndpointHello, FrameReader, FrameSender, FrameSource, HELLO_BYTES_MAX, HelloError,
    OutboxLimits, outbox,
};

/// Why no link came up. Definite: no command was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::bridge) enum ConnectError {
    /// Nobody listens, or the way there is broken.
    #[error("can't connect to {address}: {error}")]
    Connect { address: Address, error: String },
    /// No answer in time.
    #[error("no {what} from {address} within {after:?}")]
    TimedOut {
        what: &'static str,
        address: Address,
        after: std::time::Duration,
    },
    /// The first message was none.
    #[error("{address} doesn't say hello: {error}")]
    Hello { address: Address, error: HelloError },
    /// The connection ended before the first message.
    #[error("{address} hung up before it said hello: {death}")]
    Died { address: Address, death: LinkEnd },
}

/// Makes links to one address of one route.
pub(in crate::bridge) struct Connector {
    pub(in crate::bridge) env: Env,
    pub(in crate::bridge) transport: TransportKind,
    pub(in crate::bridge) address: Address,
    pub(in crate::bridge) software: String,
    pub(in crate::bridge) counters: Arc<LinkCounters>,
    /// How long a lease may be held.
    pub(in crate::bridge) max_hold: Duration,
    /// Told by each link when it stops taking commands.
    pub(in crate::bridge) changed: Arc<Notify>,
}

/// A connection before `Hello`.
struct Raw {
    sender: FrameSender,
    outgoing: Outgoing,
    incoming: Incoming,
    /// Cancelled when the transport itself says that the endpoint goes away.
    goes: CancellationToken,
}

impl Connector {
    /// Connects and exchanges `Hello`, each within the route's deadline. Cancel safe: dropping it
    /// drops the connection.
    ///
    /// # Errors
    /// [`ConnectError`]; definite.
    pub(in crate::bridge) async fn connect(
        &self,
        route: &RouteOptions,
    ) -> Result<(Arc<Link>, Driver), ConnectError> {
        let Raw {
            sender,
            mut outgoing,
            mut incoming,
            goes,
        } = match self.transport {
            TransportKind::Socket => self.connect_socket(route).await?,
            TransportKind::Grpc => self.connect_grpc(route).await?,
        };
        let first = async {
            tokio::select! {
                biased;
                first = incoming.next() => first,
                end = &mut outgoing => Err(end.map_or_else(LinkEnd::Connection, |()| LinkEnd::Ended)),
            }
        };
        let first = timeout(&*self.env.clock, route.connect, first).await;
        let hello = match self.check_hello(route, first) {
            Ok(hello) => hello,
            Err(error) => {
                self.say_why(&error, &sender, outgoing).await;
                return Err(error);
            }
        };
        if let Incoming::Socket(reader) = &mut incoming {
            reader.set_frame_bytes_max(route.hello(&self.software).frame_bytes_max);
        }
        let counters = Arc::clone(&self.counters);
        let changed = Arc::clone(&self.changed);
        let clock = Arc::clone(&self.env.clock);
        let parts = LinkParts {
            transport: self.transport,
            hello,
            sender,
            received: incoming.count().clone(),
            window_bytes: route.window_bytes,
            max_hold: self.max_hold,
        };
        let link = Link::new(parts, counters, changed, clock);
        let link = Arc::new(link);
        let beat = Beat {
            interval: route.heartbeat,
            misses: route.heartbeat_misses,
        };
        let driver = Driver::new(
            Arc::clone(&link),
            outgoing,
            incoming,
            self.env.clone(),
            beat,
        );
        Ok((link, driver.until(goes)))
    }

    fn check_hello(
        &self,
        route: &RouteOptions,
        first: Result<Result<Option<Kind>, LinkEnd>, crate::env::Elapsed>,
    ) -> Result<EndpointHello, ConnectError> {
        let address = self.address.clone();
        match first {
            Err(elapsed) => Err(self.timed_out("hello", elapsed.after)),
            Ok(Ok(Some(Kind::Close(close)))) => {
                let death = LinkEnd::ClosedByEndpoint(said(&close.reason));
                Err(ConnectError::Died { address, death })
            }
            Ok(Ok(Some(kind))) => EndpointHello::from_kind(kind).map_err(|error| {
                tracing::warn!(route = %route.name, %address, %error, "an endpoint breaks the protocol");
                self.counters.violations.increment();
                ConnectError::Hello { address, error }
            }),
            Ok(Ok(None)) => {
                let death = LinkEnd::Ended;
                Err(ConnectError::Died { address, death })
            }
            Ok(Err(death)) => Err(ConnectError::Died { address, death }),
        }
    }

    /// Tells the endpoint which rule its first frame broke, if it broke one and the endpoint still listens.
    async fn say_why(&self, error: &ConnectError, sender: &FrameSender, outgoing: Outgoing) {
        let reason = match error {
            ConnectError::Hello { error, .. } => error.to_string(),
            ConnectError::Died {
                death: LinkEnd::Violation(reason),
                ..
            } => reason.clone(),
            _ => return,
        };
        if sender.try_send(Kind::Close(v1::Close { reason })).is_ok() {
            sender.close();
            // Whether it gets through or not, there is no link.
            let _ = timeout(&*self.env.clock, LINGER, outgoing).await;
        }
    }

    async fn connect_socket(&self, route: &RouteOptions) -> Result<Raw, ConnectError> {
        let connecting = self.env.transport.connect(&self.address);
        let stream = timeout(&*self.env.clock, route.connect, connecting)
            .await
            .map_err(|elapsed| self.timed_out("connection", elapsed.after))?
            .map_err(|error| self.failed(&error))?;
        let (reading, writing) = split(stream);
        let (sender, source) = self.outbox(route, OutboxLimits::for_peer);
        let clock = Arc::clone(&self.env.clock);
        let outgoing = async move {
            let written = source.write_to(writing, &*clock).await;
            written.map_err(|error| error.to_string())
        };
        Ok(Raw {
            sender,
            outgoing: Box::pin(outgoing),
            incoming: Incoming::Socket(
                FrameReader::new(reading, HELLO_BYTES_MAX).at(&*self.env.points),
            ),
            goes: CancellationToken::new(),
        })
    }

    async fn connect_grpc(&self, route: &RouteOptions) -> Result<Raw, ConnectError> {
        let address = || self.address.clone();
        let (sender, source) = self.outbox(route, |bytes, deadline| {
            OutboxLimits::for_peer(bytes, deadline).over_grpc()
        });
        let tally = sender.tally();
        let (stream, guard) = outlet(source);
        let goes = CancellationToken::new();
        let frame_bytes_max = route.hello(&self.software).frame_bytes_max;
        let calling = async {
            let client = dial(&self.env, &self.address, tally, goes.clone()).await;
            let client = client.map_err(|error| self.failed(&error))?;
            let most = usize::try_from(frame_bytes_max).unwrap_or(usize::MAX);
            let mut client = client.max_decoding_message_size(most);
            let called = client.execute_command(stream).await;
            let frames = called.map_err(|status| ConnectError::Died {
                address: address(),
                death: died(&status),
            })?;
            let count = frames.extensions().get().cloned().unwrap_or_default();
            Ok(GrpcFrames::new(frames.into_inner(), count, client))
        };
        let frames = timeout(&*self.env.clock, route.connect, calling)
            .await
            .map_err(|elapsed| self.timed_out("gRPC stream", elapsed.after))??;
        let outgoing = async move {
            guard.finished().await;
            Ok(())
        };
        Ok(Raw {
            sender,
            outgoing: Box::pin(outgoing),
            incoming: Incoming::Grpc(Box::new(frames)),
            goes,
        })
    }

    /// An outbox with our `Hello` as its first frame.
    fn outbox(
        &self,
        route: &RouteOptions,
        limits: fn(u32, std::time::Duration) -> OutboxLimits,
    ) -> (FrameSender, FrameSource) {
        let limits = limits(HELLO_BYTES_MAX, WRITE_DEADLINE);
        let (sender, source) = outbox(limits.at(&*self.env.points));
        let hello = route.hello(&self.software).to_kind();
        sender
            .try_send(hello)
            .expect("a fresh outbox takes a hello, whose parts were validated");
        (sender, source)
    }

    fn timed_out(&self, what: &'static str, after: std::time::Duration) -> ConnectError {
        ConnectError::TimedOut {
            what,
            address: self.address.clone(),
            after,
        }
    }

    fn failed(&self, error: &dyn std::error::Error) -> ConnectError {
        // tonic hides the reason behind its sources.
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        ConnectError::Connect {
            address: self.address.clone(),
            error: said(&text),
        }
    }
}
