//! Processes that die, and start again.

use super::life::{Armed, HostLife, How};
use super::seat::HostOrder;
use super::shared::ProcessEnd;
use super::world::World;
use crate::history::What;
use crate::plan::{FaultId, FaultSpec, HostName, Micros, OpKind};

/// How long an init system waits before it starts a process again that ended by itself.
const RESTART: Micros = Micros::from_secs(1);

/// How long a crash waits for its host to be in the middle of something.
const ARMED_MAX: Micros = Micros::from_secs(1);

impl World<'_> {
    /// A crash or a power cut begins.
    pub(super) fn strike_down(
        &mut self,
        spec: &FaultSpec,
        host: &HostName,
        how: How,
        in_flight: bool,
    ) {
        let armed = Armed {
            fault: spec.id,
            how,
            span: spec.span,
            until: self.now().plus(ARMED_MAX),
        };
        if in_flight && self.lives[host] == HostLife::Up && !self.armed.contains_key(host) {
            self.shared.seat(host).machine.strike_when_busy();
            self.armed.insert(host.clone(), armed);
        } else {
            self.crash(host, armed);
        }
    }

    fn crash(&mut self, host: &HostName, armed: Armed) {
        self.armed.remove(host);
        let boot_at = self.now().plus(armed.span);
        match self.lives[host] {
            HostLife::Up => {
                self.shared.strike(self.now(), armed.fault, 1);
                self.end_process(host, armed.how);
                let how = match armed.how {
                    How::Crash => "crash",
                    How::PowerCut => "power cut",
                };
                self.record_of(
                    host,
                    What::Died {
                        how: how.to_owned(),
                    },
                );
                self.set_down(host, Some(boot_at), Some(armed.fault));
            }
            // It is down already: it stays so for as long as the longer of the two says.
            HostLife::Down {
                boot_at: other,
                fault,
            } => {
                let later = other.map(|other| other.max(boot_at));
                self.set_down(host, later, fault);
            }
        }
    }

    fn set_down(&mut self, host: &HostName, boot_at: Option<Micros>, fault: Option<FaultId>) {
        self.lives
            .insert(host.clone(), HostLife::Down { boot_at, fault });
    }

    /// Everything of a process goes: at once, whatever it was doing.
    fn end_process(&mut self, host: &HostName, how: How) {
        let seat = self.shared.seat(host).clone();
        seat.show(None);
        match how {
            How::Crash => seat.machine.crash(&mut self.sim),
            How::PowerCut => {
                let cut = format!("power cut of {host} at {}", self.now().0);
                let seed = self.plan.seed.child(&cut);
                seat.machine.power_cut(&mut self.sim, seed);
            }
        }
        self.doubt_offers(host);
    }

    /// What a producer had asked and had no answer to is in doubt.
    fn doubt_offers(&self, host: &HostName) {
        use super::ledger::Offer;
        let ledger = &self.shared.ledger;
        for op in &self.plan.ops {
            let OpKind::Enqueue { producer, key, .. } = &op.kind else {
                continue;
            };
            if producer != host || ledger.offer(op.id) != Offer::Asked {
                continue;
            }
            let why = "the producer died before the answer came".to_owned();
            self.record_of(host, What::Unknown { op: op.id, why });
            let next = if key.is_some() {
                Offer::Open
            } else {
                Offer::Over
            };
            ledger.set_offer(op.id, next);
        }
    }

    /// Ends the processes that asked for it, and those whose moment has come.
    pub(super) fn bury(&mut self) {
        let now = self.now();
        let due = self.armed.iter().filter(|(host, armed)| {
            armed.until <= now || self.shared.seat(host).machine.is_struck()
        });
        let due: Vec<_> = due.map(|(host, armed)| (host.clone(), *armed)).collect();
        for (host, armed) in due {
            self.crash(&host, armed);
        }
        for (host, death) in self.shared.take_deaths() {
            // A crash may have been quicker.
            if self.lives[&host] == HostLife::Up {
                self.lay_down(&host, death);
            }
        }
    }

    fn lay_down(&mut self, host: &HostName, death: ProcessEnd) {
        self.end_process(host, How::Crash);
        let again = Some(self.now().plus(RESTART));
        let (how, boot_at) = match death {
            ProcessEnd::Exit => (Some("exit"), again),
            ProcessEnd::Pill => (Some("pill"), again),
            ProcessEnd::Refused => (Some("exit"), None),
            ProcessEnd::Ended => (None, Some(self.drained(host))),
        };
        if let Some(how) = how {
            self.record_of(
                host,
                What::Died {
                    how: how.to_owned(),
                },
            );
        }
        // A crash that waited for this process has nothing to wait for.
        let fault = self.armed.remove(host).map(|armed| armed.fault);
        self.set_down(host, boot_at, fault);
    }

    /// A process is asked to end in order.
    pub(super) fn ask_to_end(&mut self, host: &HostName) {
        if self.lives[host] == HostLife::Up {
            self.shared.seat(host).order(HostOrder::Drain);
        }
    }

    /// Crashes that wait for their moment wait no longer.
    pub(super) fn strike_armed(&mut self) {
        for (host, armed) in std::mem::take(&mut self.armed) {
            self.crash(&host, armed);
        }
    }

    /// Starts what is due.
    pub(super) fn boot_due(&mut self) {
        let now = self.now();
        let due = self.lives.iter().filter_map(|(host, life)| match life {
            HostLife::Down {
                boot_at: Some(at),
                fault,
            } if *at <= now => Some((host.clone(), *fault)),
            _ => None,
        });
        for (host, fault) in due.collect::<Vec<_>>() {
            let seat = self.shared.seat(&host).clone();
            seat.machine.start(&mut self.sim);
            self.lives.insert(host.clone(), HostLife::Up);
            if let Some(fault) = fault {
                let text = format!("{host} starts");
                self.record(What::Healed { fault, text });
            }
        }
    }

    /// Starts a host now if it is down; one whose log is refused stays so.
    pub(super) fn boot_now(&mut self, host: &HostName) {
        if let HostLife::Down {
            boot_at: Some(_),
            fault,
        } = self.lives[host]
        {
            self.set_down(host, Some(self.now()), fault);
        }
    }

    /// A host that is down stays down for ever.
    pub(super) fn leave_down(&mut self, host: &HostName) {
        if let HostLife::Down { fault, .. } = self.lives[host] {
            self.set_down(host, None, fault);
        }
    }
}
