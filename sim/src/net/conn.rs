//! What is known of one connection: who is at its ends, and what has happened to it for good.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};

use super::tap::FrameFormat;
use super::{GRPC_PORT, INGEST_PORT, SOCKET_PORT};
use crate::plan::{FaultId, HostName};

/// The addresses of client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnId {
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
}

/// An end of a connection; as a direction, what this end sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client = 0,
    Server = 1,
}

impl Side {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// Which half of a stream waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Half {
    Read = 0,
    Write = 1,
}

/// How the connections to a port are cut into frames.
pub(crate) fn format_of(port: u16) -> FrameFormat {
    match port {
        SOCKET_PORT => FrameFormat::Socket,
        GRPC_PORT | INGEST_PORT => FrameFormat::Http2,
        _ => FrameFormat::Opaque,
    }
}

/// What both ends and the network share without a common lock.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    /// Whether a fault touches the connection: the fast path looks here only.
    pub(crate) troubled: AtomicBool,
    waiting: Mutex<[Option<Waker>; 4]>,
}

impl Wire {
    pub(crate) fn is_troubled(&self) -> bool {
        self.troubled.load(Ordering::Relaxed)
    }

    /// Whoever waits at an end is woken when something changes for the connection.
    pub(crate) fn park(&self, side: Side, half: Half, cx: &Context<'_>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let place = &mut waiting[side as usize * 2 + half as usize];
        if !place
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            *place = Some(cx.waker().clone());
        }
    }

    /// Wakes all who wait at either end.
    pub(crate) fn wake(&self) {
        let waiting = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *waiting)
        };
        waiting.into_iter().flatten().for_each(Waker::wake);
    }
}

/// How both ends see that something between them has ended their connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionCut {
    /// As *connection reset*.
    Reset,
    /// As an orderly end, wherever in a frame it comes: proxies do that.
    Closed,
}

/// A connection in the network's books.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) client: HostName,
    pub(crate) server: HostName,
    pub(crate) port: u16,
    pub(crate) wire: Arc<Wire>,
    /// Ends that are open, by [`Side`].
    pub(crate) open: [bool; 2],
    /// How it was ended from between its ends, if it was.
    pub(crate) cut: Option<ConnectionCut>,
    /// The server's end neither reads nor writes.
    pub(crate) ignored: Option<FaultId>,
    /// Directions that have lost a segment: nothing of them arrives any more.
    pub(crate) lost: [bool; 2],
    /// Bytes that went nowhere, by direction.
    pub(crate) swallowed: [usize; 2],
    /// Resets that come after so many more bytes.
    pub(crate) fuses: Vec<(FaultId, u64)>,
}

impl Conn {
    pub(crate) fn new(client: HostName, server: HostName, port: u16) -> Self {
        Self {
            client,
            server,
            port,
            wire: Arc::default(),
            open: [false; 2],
            cut: None,
            ignored: None,
            lost: [false; 2],
            swallowed: [0; 2],
            fuses: Vec::new(),
        }
    }

    /// Whether something has happened to it for good, or is about to.
    pub(crate) fn is_scarred(&self) -> bool {
        self.cut.is_some()
            || self.ignored.is_some()
            || self.lost.contains(&true)
            || !self.fuses.is_empty()
    }

    pub(crate) fn host(&self, side: Side) -> &HostName {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    pub(crate) fn is_between(&self, a: &HostName, b: &HostName) -> bool {
        (&self.client == a && &self.server == b) || (&self.client == b && &self.server == a)
    }
}
