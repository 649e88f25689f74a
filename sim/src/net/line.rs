//! How fast the lines between bridges and endpoints are, for a whole run: a shape of the world, and no fault.
//!
//! Both transports of a pair share its line, each way for itself and in turns. A line that has something to carry never rests: who
//! comes a moment late, because timers are coarse, finds it as if he had come in time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::conn::{Conn, ConnId, Side};
use super::links::{Pair, pair};
use super::{GRPC_PORT, SOCKET_PORT};
use crate::plan::{HostName, LineSpec, Micros};

/// A write takes so much of the line at most, so that the other transport has its turn.
const SLICE: Duration = Duration::from_millis(20);

/// And so much at the least: a packet.
const PACKET_BYTES: usize = 1_460;

/// How late a writer may come without the line having rested.
const LATE: Duration = Duration::from_millis(4);

/// How long whoever had the line last lets another one have it.
const TURN: Duration = Duration::from_millis(1);

/// From whom to whom.
pub(super) type Way = (HostName, HostName);

/// All lines of a network.
#[derive(Debug, Default)]
pub(super) struct Lines {
    laid: BTreeMap<Pair, LineSpec>,
    /// When each is free again.
    free_at: BTreeMap<Way, Duration>,
    turns: BTreeMap<Way, Turns>,
    carried: BTreeMap<Way, u64>,
}

/// Who had a line last, and who wants it.
#[derive(Debug, Default)]
struct Turns {
    last: Option<ConnId>,
    waiting: BTreeSet<ConnId>,
}

impl Turns {
    /// Whether it is another one's turn. Each who waits is let pass once: it may be gone.
    fn yields(&mut self, id: ConnId) -> bool {
        self.waiting.remove(&id);
        self.last == Some(id) && self.waiting.pop_first().is_some()
    }
}

impl Lines {
    pub(super) fn lay(&mut self, a: &HostName, b: &HostName, line: LineSpec) {
        self.laid.insert(pair(a, b), line);
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = &Pair> {
        self.laid.keys()
    }

    /// How long messages between these two take, if a line lies between them.
    pub(super) fn latency(&self, between: &Pair) -> Option<[Micros; 2]> {
        self.laid.get(between).map(|line| [line.delay; 2])
    }

    /// Whether a connection goes over one of them.
    pub(super) fn carry(&self, conn: &Conn) -> bool {
        self.rate(conn).is_some()
    }

    fn rate(&self, conn: &Conn) -> Option<u32> {
        if !matches!(conn.port, SOCKET_PORT | GRPC_PORT) {
            return None;
        }
        let line = self.laid.get(&pair(&conn.client, &conn.server))?;
        Some(line.bytes_per_s.max(1))
    }

    /// How many bytes this end may send now, or when it may.
    pub(super) fn room(
        &mut self,
        (id, conn): (ConnId, &Conn),
        side: Side,
        now: Duration,
    ) -> Result<usize, Duration> {
        let Some(rate) = self.rate(conn) else {
            return Ok(usize::MAX);
        };
        let way = way(conn, side);
        let turns = self.turns.entry(way.clone()).or_default();
        if let Some(free) = self.free_at.get(&way).filter(|free| **free > now) {
            turns.waiting.insert(id);
            return Err(*free);
        }
        if turns.yields(id) {
            return Err(now + TURN);
        }
        let slice = u128::from(rate) * SLICE.as_micros() / 1_000_000;
        let slice = usize::try_from(slice).unwrap_or(usize::MAX);
        Ok(slice.max(PACKET_BYTES))
    }

    /// This end has sent so many bytes.
    pub(super) fn sent(
        &mut self,
        (id, conn): (ConnId, &Conn),
        side: Side,
        bytes: usize,
        now: Duration,
    ) {
        let Some(rate) = self.rate(conn) else {
            return;
        };
        let way = way(conn, side);
        *self.carried.entry(way.clone()).or_default() += bytes as u64;
        let busy = Duration::from_micros(bytes as u64 * 1_000_000 / u64::from(rate));
        self.turns.entry(way.clone()).or_default().last = Some(id);
        let free = self.free_at.entry(way).or_default();
        *free = (*free).max(now.saturating_sub(LATE)) + busy;
    }

    pub(super) fn carried(&self) -> &BTreeMap<Way, u64> {
        &self.carried
    }
}

fn way(conn: &Conn, side: Side) -> Way {
    (conn.host(side).clone(), conn.host(side.other()).clone())
}
