//! Who may connect to whom now.
//!
//! Whatever stands in the way is decided here, before turmoil hears of the attempt: its failed connects keep
//! their ports for good, and too many that wait make it panic.

use std::task::Waker;

use super::Dead;
use super::books::{Books, Power};
use super::links::pair;
use crate::plan::{FaultId, FaultKind, HostName, NetFault};

/// Connects under way to one port; turmoil panics at the 65th that is not accepted.
const BACKLOG_MAX: u32 = 48;

/// What a connect may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Go ahead: the connect has been counted at the listener.
    Go,
    /// Nobody listens on the port: the connect fails at once.
    Refused,
    /// There is no way to the host.
    Unreachable,
    /// Ask again when something has changed.
    Wait,
    /// The attempt was lost.
    Never,
}

impl Books {
    /// Whether `from` may connect to this port of `to` now. `first`: the attempt hasn't asked before.
    pub(crate) fn admit(
        &mut self,
        from: &HostName,
        to: &HostName,
        port: u16,
        first: bool,
    ) -> Admission {
        if self.hosts.get(to).is_some_and(|h| h.power == Power::Dark) {
            return Admission::Wait;
        }
        match self.dead.get(&(pair(from, to), port)) {
            Some(Dead::Silent) => return Admission::Wait,
            Some(Dead::Refused) => return Admission::Refused,
            None => {}
        }
        if let Some((fault, admission)) = self.obstacle(from, to, first) {
            if first {
                self.strike(fault);
            }
            return admission;
        }
        let Some(host) = self.hosts.get_mut(to) else {
            return Admission::Go;
        };
        let Some(under_way) = host.listening.get_mut(&port) else {
            return Admission::Refused;
        };
        if host.gate.is_shut() || *under_way >= BACKLOG_MAX {
            return Admission::Wait;
        }
        *under_way += 1;
        Admission::Go
    }

    fn obstacle(
        &mut self,
        from: &HostName,
        to: &HostName,
        first: bool,
    ) -> Option<(FaultId, Admission)> {
        for (id, active) in &mut self.faults {
            let FaultKind::Network { a, b, fault } = &active.kind else {
                continue;
            };
            let forward = a == from && b == to;
            let backward = a == to && b == from;
            if !forward && !backward {
                continue;
            }
            let admission = match fault {
                NetFault::Partition { .. } if active.hangs => Admission::Wait,
                NetFault::Partition { .. } => Admission::Unreachable,
                NetFault::Hold => Admission::Wait,
                NetFault::ConnectHangs if forward => Admission::Wait,
                NetFault::Loss { one_in } if first && active.draws.one_in(*one_in) => {
                    Admission::Never
                }
                _ => continue,
            };
            return Some((*id, admission));
        }
        None
    }

    /// A connect that was let through has ended, well or not.
    pub(crate) fn connected(&mut self, to: &HostName, port: u16) {
        let host = self.hosts.get_mut(to);
        if let Some(under_way) = host.and_then(|host| host.listening.get_mut(&port)) {
            let was_full = *under_way >= BACKLOG_MAX;
            *under_way = under_way.saturating_sub(1);
            if was_full {
                self.wake_connecting();
            }
        }
    }

    pub(crate) fn wake_connecting(&mut self) {
        std::mem::take(&mut self.connecting)
            .into_iter()
            .for_each(Waker::wake);
    }

    pub(crate) fn wait_for_change(&mut self, waker: &Waker) {
        if !self.connecting.iter().any(|known| known.will_wake(waker)) {
            self.connecting.push(waker.clone());
        }
    }
}
