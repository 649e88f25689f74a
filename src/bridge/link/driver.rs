//! Keeps one link alive: writes what is queued, reads what comes, beats the heart, and at the end
//! tells every waiter what became of its frame.
//!
//! All three run in one task as futures side by side. The writing half is dropped before the waiters
//! are told, so that no frame can leave any more when they are: what never left is certain.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Link;
use super::receive::{Incoming, read};
use crate::bridge::limits::LINGER;
use crate::coverage::{Site, reached};
use crate::env::{BoxFuture, Env, Point, timeout};
use crate::pipeline::Ticker;
use crate::wire::v1::{self, frame::Kind};

/// Why a link ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::bridge) enum LinkEnd {
    /// The endpoint ended the connection between frames. It may have crashed.
    #[error("the endpoint ended the connection")]
    Ended,
    /// The endpoint says that this side broke the protocol, or that it goes away.
    #[error("the endpoint closed the connection: {0}")]
    ClosedByEndpoint(String),
    /// The connection failed.
    #[error("{0}")]
    Connection(String),
    /// Nothing arrived for too many heartbeats.
    #[error("nothing arrived for {misses} heartbeats of {interval:?}")]
    Heartbeat {
        /// How many in a row.
        misses: u32,
        /// From one heartbeat to the next.
        interval: Duration,
    },
    /// The endpoint broke the protocol.
    #[error("the endpoint broke the protocol: {0}")]
    Violation(String),
    /// This side closed it.
    #[error("closed by the bridge")]
    Closed,
}

/// The sending half of a connection: completes when nothing more is written, and when it is dropped
/// nothing more leaves.
pub(super) type Outgoing = BoxFuture<'static, Result<(), String>>;

/// How often to beat, and when to give up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beat {
    pub(super) interval: Duration,
    pub(super) misses: u32,
}

/// What keeps a link alive. Dropping it ends the link.
pub(in crate::bridge) struct Driver {
    // The order of the fields is the order of their end: first the writer goes, then the waiters learn.
    outgoing: Outgoing,
    incoming: Incoming,
    end: EndGuard,
    env: Env,
    beat: Beat,
    /// Cancelled when the transport itself says that the endpoint goes away.
    goes: CancellationToken,
}

/// Tells the waiters, whatever ends the driver.
struct EndGuard(Arc<Link>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Driver {
    pub(super) fn new(
        link: Arc<Link>,
        outgoing: Outgoing,
        incoming: Incoming,
        env: Env,
        beat: Beat,
    ) -> Self {
        Self {
            outgoing,
            incoming,
            end: EndGuard(link),
            env,
            beat,
            goes: CancellationToken::new(),
        }
    }

    /// The endpoint goes away when `goes` is cancelled, as if it had said `Drain`.
    pub(super) fn until(self, goes: CancellationToken) -> Self {
        Self { goes, ..self }
    }

    /// Runs the link to its end. Not cancel safe, in that dropping it ends the link.
    pub(in crate::bridge) async fn run(mut self) -> LinkEnd {
        let link = Arc::clone(&self.end.0);
        let death = tokio::select! {
            // The writer completes only at its end, so that it never keeps the reader waiting.
            biased;
            end = written(&mut self.outgoing, &self.env) => end,
            death = heart(&link, &self.env, self.beat) => death,
            never = leave(&link, &self.goes) => match never {},
            death = read(&link, &mut self.incoming) => death,
        };
        match &death {
            LinkEnd::Violation(reason) => {
                link.counters.violations.increment();
                reached!(Site::ProtocolBroken);
                self.say_why(reason).await;
            }
            LinkEnd::Heartbeat { .. } => {
                link.counters.heartbeat_deaths.increment();
                reached!(Site::HeartbeatDeath);
            }
            _ => {}
        }
        death
    }

    /// Tells the endpoint what it did wrong, if it still listens.
    async fn say_why(&mut self, reason: &str) {
        let link = &self.end.0;
        let reason = reason.to_owned();
        if link
            .sender
            .try_send(Kind::Close(v1::Close { reason }))
            .is_ok()
        {
            link.sender.close();
            // Whether it gets through or not, the link is dead.
            let _ = timeout(&*self.env.clock, LINGER, &mut self.outgoing).await;
        }
    }
}

/// Takes nothing new any more once the endpoint goes away.
async fn leave(link: &Link, goes: &CancellationToken) -> std::convert::Infallible {
    goes.cancelled().await;
    tracing::info!(
        transport = link.transport.as_str(),
        "the endpoint goes away"
    );
    reached!(Site::EndpointDrained);
    link.leave();
    std::future::pending().await
}

/// Waits for the end of the writer.
async fn written(outgoing: &mut Outgoing, env: &Env) -> LinkEnd {
    match outgoing.await {
        Ok(()) => {
            // Closed on purpose: the endpoint is given time to read the rest and hang up first.
            env.clock.sleep(LINGER).await;
            LinkEnd::Closed
        }
        Err(error) => LinkEnd::Connection(error),
    }
}

/// Sends heartbeats until too many went by without anything from the endpoint.
async fn heart(link: &Link, env: &Env, beat: Beat) -> LinkEnd {
    let mut ticker = Ticker::new(env, beat.interval).expect("the interval was validated");
    let mut misses = 0_u32;
    let mut heard = link.received.bytes();
    loop {
        ticker.tick().await;
        // Counted tick by tick: after a pause of this very process one tick is late, not three, and
        // what arrived meanwhile is read before the next. Bytes count in the middle of a frame, too: a large one may
        // take longer to arrive than a few heartbeats.
        let received = link.received.bytes();
        if std::mem::replace(&mut heard, received) != received {
            misses = 0;
        } else {
            misses = misses.saturating_add(1);
        }
        if misses >= beat.misses && !planted!(Bug::MissesEndNothing) {
            return LinkEnd::Heartbeat {
                misses,
                interval: beat.interval,
            };
        }
        link.beat();
        if env.points.fires(Point::EarlyHeartbeat) {
            link.beat();
        }
    }
}
