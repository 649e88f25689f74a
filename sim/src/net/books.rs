//! The network's books: hosts, connections and the faults that are on, and what follows from them for a
//! single read, write or connect.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

use super::conn::{Conn, ConnId, ConnectionCut, Half, Side, Wire};
use super::line::Lines;
use super::links::{Links, Pair, cuts, pair};
use super::rules::{NeverCame, Rule, Rules};
use super::{Dead, SOCKET_PORT};
use crate::gate::HostGate;
use crate::plan::{FaultId, FaultKind, HostName, Micros, NetFault, PeerFault};
use crate::seed::Draws;

/// What a sender's kernel takes into its buffers before it makes the sender wait: Linux's default.
const SEND_BUFFER_BYTES: usize = 64 << 10;

/// On a slow link a write waits for this long at most before the next may follow, so that the two ends of a
/// link share it.
const SLICE: Duration = Duration::from_millis(20);

/// Whether a machine and its process are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Power {
    #[default]
    Up,
    /// The process is gone, the machine says so.
    Crashed,
    /// Nobody says anything.
    Dark,
}

#[derive(Debug, Default)]
pub(crate) struct Host {
    pub(crate) gate: HostGate,
    pub(crate) power: Power,
    /// Ports that are listened on, with the connects under way to each.
    pub(crate) listening: BTreeMap<u16, u32>,
}

/// A fault that is on.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) kind: FaultKind,
    /// What it decides while it is on.
    pub(super) draws: Draws,
    /// Connects across a partition hang, instead of being told at once that nobody can be reached.
    pub(super) hangs: bool,
    next_reset: Option<Duration>,
}

impl Active {
    pub(crate) fn new(kind: FaultKind, mut draws: Draws, now: Duration) -> Self {
        let next_reset = match &kind {
            FaultKind::Network {
                fault: NetFault::ReconnectStorm { .. },
                ..
            } => Some(now),
            _ => None,
        };
        Self {
            kind,
            hangs: draws.one_in(2),
            draws,
            next_reset,
        }
    }

    fn touches(&self, conn: &Conn) -> bool {
        match &self.kind {
            FaultKind::Network { a, b, .. } => conn.is_between(a, b),
            FaultKind::Endpoint { host, .. } => conn.port == SOCKET_PORT && conn.server == *host,
            _ => false,
        }
    }
}

/// What a write may do.
#[derive(Debug)]
pub(crate) enum WriteVerdict {
    /// The connection was ended.
    Cut(ConnectionCut),
    /// Wait until something changes.
    Wait,
    /// It goes nowhere, and the writer doesn't notice.
    Swallow,
    /// Wait until this time.
    WaitUntil(Duration),
    /// So many bytes at most may go on, under these rules.
    Pass(usize, Rules),
}

/// What a read may do.
#[derive(Debug)]
pub(crate) enum ReadVerdict {
    Cut(ConnectionCut),
    Wait,
    Pass(usize, Rules),
}

#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) latency: [Micros; 2],
    pub(crate) hosts: BTreeMap<HostName, Host>,
    pub(crate) conns: BTreeMap<ConnId, Conn>,
    pub(crate) faults: BTreeMap<FaultId, Active>,
    pub(crate) dead: BTreeMap<(Pair, u16), Dead>,
    pub(crate) struck: BTreeMap<FaultId, u64>,
    /// What endpoints told while it was noted, and when.
    pub(super) never_came: Vec<(Duration, NeverCame)>,
    links: Links,
    pub(super) lines: Lines,
    /// When a slow link has room again, by fault and whether the sender is its `a`.
    room_at: BTreeMap<(FaultId, bool), Duration>,
    pub(super) connecting: Vec<Waker>,
}

impl Books {
    pub(crate) fn new(latency: [Micros; 2]) -> Self {
        Self {
            latency,
            hosts: BTreeMap::new(),
            conns: BTreeMap::new(),
            faults: BTreeMap::new(),
            dead: BTreeMap::new(),
            struck: BTreeMap::new(),
            never_came: Vec::new(),
            links: Links::default(),
            lines: Lines::default(),
            room_at: BTreeMap::new(),
            connecting: Vec::new(),
        }
    }

    /// Counts that a fault changed something.
    pub(crate) fn strike(&mut self, fault: FaultId) {
        *self.struck.entry(fault).or_default() += 1;
    }

    /// Carries a change of faults or hosts to turmoil's links and to the connections.
    pub(crate) fn changed(&mut self, sim: &turmoil::Sim<'_>) {
        let dark: BTreeSet<HostName> = self
            .hosts
            .iter()
            .filter(|(_, host)| host.power == Power::Dark)
            .map(|(name, _)| name.clone())
            .collect();
        let hosts: Vec<HostName> = self.hosts.keys().cloned().collect();
        let kinds = self.faults.values().map(|fault| &fault.kind);
        self.links
            .apply(sim, (self.latency, &self.lines), kinds, &dark, &hosts);
        self.refresh();
    }

    /// Looks again at which connections are troubled, and wakes all who wait.
    pub(crate) fn refresh(&mut self) {
        for conn in self.conns.values() {
            self.mark(conn);
            conn.wire.wake();
        }
        self.wake_connecting();
    }

    fn mark(&self, conn: &Conn) {
        let key = (pair(&conn.client, &conn.server), conn.port);
        let troubled = conn.is_scarred()
            || self.dead.contains_key(&key)
            || self.lines.carry(conn)
            || self.faults.values().any(|fault| fault.touches(conn));
        conn.wire.troubled.store(troubled, Ordering::Relaxed);
    }

    /// One end of a connection is open. The server's end comes first.
    pub(crate) fn opened(&mut self, id: ConnId, side: Side, new: Conn) -> Arc<Wire> {
        let conn = self.conns.entry(id).or_insert(new);
        conn.open[side as usize] = true;
        let (client, server) = (conn.client.clone(), conn.server.clone());
        if side == Side::Server {
            let silence = self.faults.iter().find(|(_, fault)| {
                matches!(&fault.kind, FaultKind::Network { a, b, fault: NetFault::AcceptThenSilence }
                    if *a == client && *b == server)
            });
            let silence = silence.map(|(id, _)| *id);
            if let Some(fault) = silence {
                self.strike(fault);
            }
            self.conns.get_mut(&id).expect("it was just made").ignored = silence;
        }
        let conn = &self.conns[&id];
        self.mark(conn);
        Arc::clone(&conn.wire)
    }

    /// One end is closed. Once both are, the connection is forgotten.
    pub(crate) fn closed(&mut self, id: ConnId, side: Side) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.open[side as usize] = false;
            if conn.open == [false; 2] {
                self.conns.remove(&id);
            }
        }
    }

    pub(crate) fn before_write(&mut self, id: ConnId, side: Side, now: Duration) -> WriteVerdict {
        let Some(conn) = self.conns.get(&id) else {
            return WriteVerdict::Pass(usize::MAX, Rules::new());
        };
        if let Some(cut) = conn.cut {
            return WriteVerdict::Cut(cut);
        }
        if conn.ignored.is_some() && side == Side::Server {
            return WriteVerdict::Wait;
        }
        let key = (pair(&conn.client, &conn.server), conn.port);
        if conn.lost[side as usize] || self.dead.contains_key(&key) {
            return self.swallow(conn.swallowed[side as usize]);
        }
        let (sender, swallowed) = (conn.host(side).clone(), conn.swallowed[side as usize]);
        let mut room = match self.lines.room((id, conn), side, now) {
            Ok(room) => room,
            Err(free_at) => return WriteVerdict::WaitUntil(free_at),
        };
        let mut rules = Rules::new();
        let mut strikes = Vec::new();
        let mut lost = false;
        for (fault, active) in self.faults.iter_mut().filter(|(_, f)| f.touches(conn)) {
            let FaultKind::Network { a, fault: kind, .. } = &active.kind else {
                rules.extend(peer_rule(active, side, Half::Write).map(|rule| (*fault, rule)));
                continue;
            };
            match kind {
                NetFault::Partition { ways } if cuts(*ways, *a == sender) => strikes.push(*fault),
                NetFault::Hold | NetFault::Latency { .. } => strikes.push(*fault),
                NetFault::Loss { one_in } if active.draws.one_in(*one_in) => {
                    strikes.push(*fault);
                    lost = true;
                }
                NetFault::SlowLink { bytes_per_s } => {
                    let free_at = self.room_at.get(&(*fault, *a == sender)).copied();
                    if let Some(at) = free_at.filter(|at| *at > now) {
                        return WriteVerdict::WaitUntil(at);
                    }
                    strikes.push(*fault);
                    room = room.min(slice_bytes(*bytes_per_s));
                }
                NetFault::SwallowsPings => rules.push((*fault, Rule::AnswerPings)),
                _ => {}
            }
        }
        strikes.into_iter().for_each(|fault| self.strike(fault));
        if lost {
            let conn = self.conns.get_mut(&id).expect("it was found above");
            conn.lost[side as usize] = true;
            return self.swallow(swallowed);
        }
        WriteVerdict::Pass(room, rules)
    }

    fn swallow(&self, swallowed: usize) -> WriteVerdict {
        if swallowed < SEND_BUFFER_BYTES {
            WriteVerdict::Swallow
        } else {
            WriteVerdict::Wait
        }
    }

    pub(crate) fn swallowed(&mut self, id: ConnId, side: Side, bytes: usize) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.swallowed[side as usize] += bytes;
        }
    }

    /// So many bytes went on: slow links are busy with them for a while.
    pub(crate) fn after_write(&mut self, id: ConnId, side: Side, bytes: usize, now: Duration) {
        let Some(conn) = self.conns.get(&id) else {
            return;
        };
        self.lines.sent((id, conn), side, bytes, now);
        let sender = conn.host(side);
        for (fault, active) in self.faults.iter().filter(|(_, f)| f.touches(conn)) {
            if let FaultKind::Network {
                a,
                fault: NetFault::SlowLink { bytes_per_s },
                ..
            } = &active.kind
            {
                let micros = bytes as u64 * 1_000_000 / u64::from((*bytes_per_s).max(1));
                let busy = Duration::from_micros(micros);
                self.room_at.insert((*fault, a == sender), now + busy);
            }
        }
    }

    pub(crate) fn before_read(&mut self, id: ConnId, side: Side) -> ReadVerdict {
        let Some(conn) = self.conns.get(&id) else {
            return ReadVerdict::Pass(usize::MAX, Rules::new());
        };
        if let Some(cut) = conn.cut {
            return ReadVerdict::Cut(cut);
        }
        let key = (pair(&conn.client, &conn.server), conn.port);
        let ignored = conn.ignored.is_some() && side == Side::Server;
        // What came before a segment was lost may be read as well as not: that it may not is simpler.
        if ignored || self.dead.contains_key(&key) || conn.lost[side.other() as usize] {
            return ReadVerdict::Wait;
        }
        let fuse = conn.fuses.iter().map(|(_, left)| *left).min();
        let room = fuse.map_or(usize::MAX, |left| {
            usize::try_from(left).unwrap_or(usize::MAX)
        });
        let touching = self.faults.iter().filter(|(_, fault)| fault.touches(conn));
        let rules = touching.filter_map(|(fault, active)| {
            peer_rule(active, side, Half::Read).map(|rule| (*fault, rule))
        });
        ReadVerdict::Pass(room, rules.collect())
    }

    /// So many bytes have arrived: fuses burn down.
    pub(crate) fn after_read(&mut self, id: ConnId, bytes: usize) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        for (_, left) in &mut conn.fuses {
            *left = left.saturating_sub(bytes as u64);
        }
        let burnt = conn.fuses.iter().find(|(_, left)| *left == 0);
        if let Some((fault, _)) = burnt.copied() {
            let active = self.faults.get_mut(&fault);
            let orderly = active.is_some_and(|active| active.draws.one_in(2));
            let cut = if orderly {
                ConnectionCut::Closed
            } else {
                ConnectionCut::Reset
            };
            self.cut(id, fault, cut);
        }
    }

    fn cut(&mut self, id: ConnId, fault: FaultId, cut: ConnectionCut) {
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.cut.is_none()) else {
            return;
        };
        conn.cut = Some(cut);
        conn.wire.troubled.store(true, Ordering::Relaxed);
        conn.wire.wake();
        self.strike(fault);
    }

    /// Arms all open connections between two hosts to be reset.
    pub(crate) fn light_fuses(&mut self, fault: FaultId, a: &HostName, b: &HostName, bytes: u32) {
        for conn in self.conns.values_mut().filter(|conn| conn.is_between(a, b)) {
            conn.fuses.push((fault, u64::from(bytes.max(1))));
        }
    }

    pub(crate) fn put_out_fuses(&mut self, fault: FaultId) {
        for conn in self.conns.values_mut() {
            conn.fuses.retain(|(of, _)| *of != fault);
        }
    }

    /// Resets what reconnect storms say is due.
    pub(crate) fn storm(&mut self, now: Duration) {
        let mut due = Vec::new();
        for (id, active) in &mut self.faults {
            let FaultKind::Network {
                a,
                b,
                fault: NetFault::ReconnectStorm { every },
            } = &active.kind
            else {
                continue;
            };
            if active.next_reset.is_some_and(|at| at <= now) {
                active.next_reset = Some(now + every.as_duration());
                due.push((*id, a.clone(), b.clone()));
            }
        }
        for (fault, a, b) in due {
            let hit: Vec<ConnId> = self
                .conns
                .iter()
                .filter(|(_, conn)| conn.is_between(&a, &b))
                .map(|(id, _)| *id)
                .collect();
            hit.into_iter()
                .for_each(|id| self.cut(id, fault, ConnectionCut::Reset));
        }
    }
}

fn slice_bytes(bytes_per_s: u32) -> usize {
    let bytes = u128::from(bytes_per_s) * SLICE.as_micros() / 1_000_000;
    usize::try_from(bytes).unwrap_or(usize::MAX).max(1)
}

/// What a misbehaving endpoint does to the bytes of this half of its own end.
fn peer_rule(active: &Active, side: Side, half: Half) -> Option<Rule> {
    let FaultKind::Endpoint { fault, .. } = &active.kind else {
        return None;
    };
    let rule: fn(&PeerFault) -> Option<Rule> = match half {
        Half::Write => Rule::on_sent,
        Half::Read => Rule::on_received,
    };
    (side == Side::Server).then(|| rule(fault)).flatten()
}
