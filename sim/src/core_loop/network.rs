//! The network between two hosts, as far as this world has one: what becomes of one request and its reply.
//!
//! There are no connections here. A fault decides whether a request is not sent at all (nobody could connect),
//! lost on its way, late, or answered with a reply that is lost.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::plan::{FaultId, HostName, Micros, NetFault, Ways};
use crate::seed::Draws;

/// The faults that are on.
#[derive(Debug, Default)]
pub(super) struct Network(Mutex<Vec<Active>>);

#[derive(Clone, Debug)]
struct Active {
    id: FaultId,
    a: HostName,
    b: HostName,
    fault: NetFault,
    until: Micros,
}

/// What becomes of one request and its reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Passage {
    /// Nobody could be reached: it certainly never left.
    pub(super) not_sent: bool,
    /// It left and will never arrive.
    pub(super) request_lost: bool,
    /// The reply will never arrive.
    pub(super) reply_lost: bool,
    /// It arrives so much later.
    pub(super) delay: Micros,
    /// The fault that changed it.
    pub(super) by: Option<FaultId>,
}

/// A connection that was dead before a send was made is seen as such, and nothing is sent, in so many of as
/// many sends; the others are written into it.
const SEEN_DEAD: (u64, u64) = (3, 4);

impl Network {
    pub(super) fn begin(
        &self,
        id: FaultId,
        (a, b): (&HostName, &HostName),
        fault: &NetFault,
        until: Micros,
    ) {
        self.lock().push(Active {
            id,
            a: a.clone(),
            b: b.clone(),
            fault: fault.clone(),
            until,
        });
    }

    pub(super) fn end(&self, id: FaultId) {
        self.lock().retain(|active| active.id != id);
    }

    /// Everything that touches one of these two ends.
    pub(super) fn heal(&self, hosts: [&HostName; 2]) {
        let touches = |active: &Active| {
            hosts
                .iter()
                .any(|host| active.a == **host || active.b == **host)
        };
        self.lock().retain(|active| !touches(active));
    }

    /// What becomes of a request from `from` to `to`, of so many bytes, and its reply.
    pub(super) fn pass(
        &self,
        (from, to): (&HostName, &HostName),
        now: Micros,
        bytes: u64,
        draws: &mut Draws,
    ) -> Passage {
        let mut passage = Passage::default();
        for active in self.lock().iter() {
            let forward = active.a == *from && active.b == *to;
            let backward = active.a == *to && active.b == *from;
            if forward || backward {
                active.shape(&mut passage, forward, now, bytes, draws);
            }
        }
        passage
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Active>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Active {
    fn shape(
        &self,
        passage: &mut Passage,
        forward: bool,
        now: Micros,
        bytes: u64,
        draws: &mut Draws,
    ) {
        let before = *passage;
        match &self.fault {
            NetFault::Partition { ways } => {
                let reply_only = match ways {
                    Ways::Both => false,
                    Ways::AToB => !forward,
                    Ways::BToA => forward,
                };
                if draws.below(SEEN_DEAD.1) < SEEN_DEAD.0 {
                    passage.not_sent = true;
                } else if reply_only {
                    passage.reply_lost = true;
                } else {
                    passage.request_lost = true;
                }
            }
            NetFault::Hold => {
                passage.delay = passage
                    .delay
                    .max(Micros(self.until.0.saturating_sub(now.0)))
            }
            NetFault::Latency { min, max } => {
                let spread = max.0.saturating_sub(min.0);
                passage.delay = passage
                    .delay
                    .plus(min.plus(Micros(draws.below(spread + 1))));
            }
            NetFault::SlowLink { bytes_per_s } => {
                let seconds = bytes.saturating_mul(1_000_000) / u64::from((*bytes_per_s).max(1));
                passage.delay = passage.delay.plus(Micros(seconds));
            }
            NetFault::Loss { one_in } => {
                if draws.one_in(*one_in) {
                    passage.request_lost = true;
                }
            }
            NetFault::Reset { .. } | NetFault::ReconnectStorm { .. } => match draws.below(6) {
                0 => passage.not_sent = true,
                1 => passage.request_lost = true,
                2 => passage.reply_lost = true,
                _ => {}
            },
            NetFault::AcceptThenSilence => passage.request_lost = true,
            NetFault::ConnectHangs => passage.not_sent = true,
            // Nobody here mistakes a proxy's pings for an endpoint.
            NetFault::SwallowsPings => {}
        }
        if *passage != before {
            passage.by = Some(self.id);
        }
    }
}
