//! The network of a simulation, and what goes wrong with it.
//!
//! One [`Network`] knows every host's connections and the faults that are on. Each host's
//! [`SimTransport`] asks it; so does the code that drives the simulation, to begin and end the faults of a plan.
//! Bytes travel over turmoil's network; what that can't do is done to the stream at its two ends.
//!
//! # What each fault does
//!
//! | fault | bites where | effect |
//! |---|---|---|
//! | partition | turmoil's link | segments that are under way that way, or sent, are lost; a stream that lost one hangs for good (half-open). A connect hangs until the end, or fails at once with *host unreachable*: drawn per fault. One way cut is enough for that |
//! | hold | turmoil's link | segments wait until the end, connects too |
//! | latency | turmoil's link | segments sent from now on take so long |
//! | loss | stream | one write in so many is lost, and with it all that follows in that direction; one connect in so many hangs for good. turmoil's own loss breaks the whole link instead of one stream |
//! | slow link | stream | all connections of the pair share so many bytes a second in each direction |
//! | reset | stream | after so many more bytes were read at either end, both ends get *connection reset*, or each an orderly end: the last frame is cut |
//! | accept, then silence | stream | connections accepted while it is on are neither read nor written at the server's end, for ever |
//! | connect hangs | connect | attempts wait until the end |
//! | swallows pings | stream, gRPC | each end's HTTP/2 pings are answered beside it and not passed on: they prove nothing about the other end. The socket's frames are not touched: a proxy that doesn't know the protocol can't answer for it |
//! | reconnect storm | stream | all connections are reset, and again each time the span is over |
//! | endpoint's faults | stream, socket | the server's end drops, doubles, delays or rewrites whole frames. gRPC stays honest: what one transport spoils, the other can put right |
//!
//! A refusal by a port nobody listens on, of a host whose process has crashed, comes at once; a host without
//! power, a paused one and a full backlog make a connect wait. None of these ever reaches turmoil, where a
//! failed connect would keep its port for good and the 65th unaccepted one would panic.
//!
//! # Driving it
//!
//! Before each step: [`Network::tick`]. To begin and end a fault: [`Network::begin`], [`Network::end`]. Deaths
//! and starts of hosts: [`SimHost`](crate::host::SimHost).

mod admission;
mod books;
mod conn;
mod line;
mod links;
mod rules;
mod stream;
mod tap;
mod transport;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use rules::NeverCame;
pub use stream::SimStream;
pub use transport::SimTransport;

use crate::gate::HostGate;
use crate::plan::{
    FaultId, FaultKind, FaultSpec, HostName, LineSpec, Micros, NetFault, PeerFault, Transports,
};
use crate::seed::Seed;
pub(crate) use books::Power;
use books::{Active, Books};

/// Where endpoints listen for the framed socket, by convention.
pub const SOCKET_PORT: u16 = 7420;
/// Where endpoints listen for gRPC.
pub const GRPC_PORT: u16 = 7421;
/// Where bridges listen for producers and operators, over gRPC.
pub const INGEST_PORT: u16 = 7410;

/// How a transport that is kept dead looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dead {
    /// What is sent arrives nowhere, nothing comes, connects hang.
    Silent,
    /// As silent, but connects are refused at once.
    Refused,
}

/// The network of one simulation; clones share it.
#[derive(Clone, Debug)]
pub struct Network {
    seed: Seed,
    books: Arc<Mutex<Books>>,
}

impl Network {
    /// A network without faults. `latency` is what the links of the simulation were built with: the shortest
    /// and the longest.
    pub fn new(seed: Seed, latency: [Micros; 2]) -> Self {
        Self {
            seed,
            books: Arc::new(Mutex::new(Books::new(latency))),
        }
    }

    /// From now on a line is all that there is between two hosts, for what endpoints listen for.
    ///
    /// # Panics
    /// When one of them isn't in the simulation.
    pub fn lay_line(&self, sim: &turmoil::Sim<'_>, a: &HostName, b: &HostName, line: LineSpec) {
        let mut books = self.books();
        books.lines.lay(a, b, line);
        books.changed(sim);
    }

    /// Begins a fault of the network, or one of an endpoint's socket; says whether it was one. Others, and
    /// an endpoint that rejects or refuses (which is its handler's to do), are left alone.
    ///
    /// # Panics
    /// When a host of the fault isn't in the simulation.
    pub fn begin(&self, sim: &turmoil::Sim<'_>, fault: &FaultSpec) -> bool {
        match &fault.kind {
            FaultKind::Network { .. } => {}
            FaultKind::Endpoint { fault, .. }
                if !matches!(fault, PeerFault::Rejects | PeerFault::Refuses) => {}
            _ => return false,
        }
        let draws = self.seed.draws(&format!("net {}", fault.id));
        let active = Active::new(fault.kind.clone(), draws, sim.elapsed());
        let mut books = self.books();
        if let FaultKind::Network {
            a,
            b,
            fault: NetFault::Reset { after_bytes },
        } = &fault.kind
        {
            books.light_fuses(fault.id, a, b, *after_bytes);
        }
        books.faults.insert(fault.id, active);
        books.changed(sim);
        true
    }

    /// Ends a fault; says whether it was on here.
    pub fn end(&self, sim: &turmoil::Sim<'_>, fault: FaultId) -> bool {
        let mut books = self.books();
        let was_on = books.faults.remove(&fault).is_some();
        if was_on {
            books.put_out_fuses(fault);
            books.changed(sim);
        }
        was_on
    }

    /// Ends all faults of the network between two hosts, for these transports alone: the other one is kept
    /// dead from now on, as `dead` says. Returns the faults that ended.
    ///
    /// What has happened for good stays: a connection that lost a segment is for the product to give up.
    pub fn heal_between(
        &self,
        sim: &turmoil::Sim<'_>,
        a: &HostName,
        b: &HostName,
        transports: Transports,
        dead: Dead,
    ) -> Vec<FaultId> {
        let healed: Vec<FaultId> = {
            let books = self.books();
            let between = links::pair(a, b);
            let ours = books.faults.iter().filter(|(_, fault)| {
                matches!(&fault.kind, FaultKind::Network { a, b, .. } if links::pair(a, b) == between)
            });
            ours.map(|(id, _)| *id).collect()
        };
        for fault in &healed {
            self.end(sim, *fault);
        }
        match transports {
            Transports::Both => {}
            Transports::Socket => self.keep_dead(a, b, GRPC_PORT, dead),
            Transports::Grpc => self.keep_dead(a, b, SOCKET_PORT, dead),
        }
        healed
    }

    /// From now on nothing passes between two hosts over this port, whichever of them listens.
    pub fn keep_dead(&self, a: &HostName, b: &HostName, port: u16, dead: Dead) {
        let mut books = self.books();
        books.dead.insert((links::pair(a, b), port), dead);
        books.refresh();
    }

    /// Lets a port that was [kept dead](Network::keep_dead) live again.
    pub fn revive(&self, a: &HostName, b: &HostName, port: u16) {
        let mut books = self.books();
        books.dead.remove(&(links::pair(a, b), port));
        books.refresh();
    }

    /// What is due at this time of the simulation: the resets of reconnect storms. Call it before each step.
    pub fn tick(&self, now: Duration) {
        self.books().storm(now);
    }

    /// How often each fault changed something, those of the hosts' gates included.
    pub fn struck(&self) -> BTreeMap<FaultId, u64> {
        let books = self.books();
        let mut struck = books.struck.clone();
        for host in books.hosts.values() {
            for (fault, times) in host.gate.struck() {
                *struck.entry(fault).or_default() += times;
            }
        }
        struck
    }

    /// How many bytes each line has carried, from whom to whom.
    pub fn carried(&self) -> BTreeMap<(HostName, HostName), u64> {
        self.books().lines.carried().clone()
    }

    /// What endpoints have told since the last call of sends that they never received, in the order of the times.
    /// It is noted while an endpoint takes commands late.
    pub fn take_never_came(&self) -> Vec<(Duration, NeverCame)> {
        std::mem::take(&mut self.books().never_came)
    }

    /// Ends of connections that are open on a host.
    pub fn open_connections(&self, host: &HostName) -> u64 {
        let books = self.books();
        let ends = books.conns.values().map(|conn| {
            let client = conn.open[0] && conn.client == *host;
            let server = conn.open[1] && conn.server == *host;
            u64::from(client) + u64::from(server)
        });
        ends.sum()
    }

    /// A host joins, with the gate that its clock and disk share.
    pub(crate) fn join(&self, host: &HostName, gate: &HostGate) {
        self.books().hosts.entry(host.clone()).or_default().gate = gate.clone();
    }

    /// The gate has opened or shut: connects to the host may go on.
    pub(crate) fn gate_changed(&self) {
        self.books().wake_connecting();
    }

    pub(crate) fn set_power(&self, sim: &turmoil::Sim<'_>, host: &HostName, power: Power) {
        let mut books = self.books();
        let entry = books.hosts.entry(host.clone()).or_default();
        entry.power = power;
        if power != Power::Up {
            entry.listening.clear();
        }
        books.changed(sim);
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
