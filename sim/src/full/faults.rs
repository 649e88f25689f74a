//! Faults of the plan: when they begin, what of them is on, when they end.

use super::deaths::How;
use super::disk_faults::{self, DiskOn, Manner};
use super::seat::Manners;
use super::words;
use super::world::World;
use crate::clock::DriftPpm;
use crate::history::What;
use crate::plan::{FaultId, FaultKind, FaultSpec, HostName, Micros, PeerFault};

/// A fault that lasts.
#[derive(Clone, Debug)]
pub(super) struct On {
    pub(super) spec: FaultSpec,
    /// When it ends; `None` if it never does.
    pub(super) until: Option<Micros>,
    disk: Option<DiskOn>,
    struck: u64,
}

impl World<'_> {
    /// Begins a fault.
    pub(super) fn begin(&mut self, spec: &FaultSpec) {
        let text = words::of(&spec.kind);
        self.record(What::Fault {
            fault: Some(spec.id),
            text,
        });
        let disk = match &spec.kind {
            FaultKind::Crash { host, in_flight } => {
                return self.strike_down(spec, host, How::Crash, *in_flight);
            }
            FaultKind::PowerCut { host, in_flight } => {
                return self.strike_down(spec, host, How::PowerCut, *in_flight);
            }
            FaultKind::Jump { host, ms } => {
                self.shared.seat(host).machine.clock().jump_wall_ms(*ms);
                self.shared.strike(self.now(), spec.id);
                return;
            }
            FaultKind::Drain { host } => {
                self.shared.strike(self.now(), spec.id);
                self.ask_to_end(host);
                None
            }
            FaultKind::Drift { host, ppm } => {
                self.shared
                    .seat(host)
                    .machine
                    .clock()
                    .set_drift(DriftPpm(*ppm));
                self.shared.strike(self.now(), spec.id);
                None
            }
            FaultKind::Endpoint { host, fault } => {
                self.set_manner(host, fault, Some(spec.id));
                None
            }
            FaultKind::Disk {
                host,
                fault,
                one_in,
                times,
            } => {
                let manner = Manner {
                    fault,
                    one_in: *one_in,
                    times: *times,
                };
                let seat = self.shared.seat(host);
                Some(disk_faults::begin(&self.shared, seat, spec, &manner))
            }
            FaultKind::Network { .. } | FaultKind::Pause { .. } | FaultKind::Slow { .. } => None,
            FaultKind::Point { .. } => None,
        };
        self.network.begin(&self.sim, spec);
        let on = On {
            spec: spec.clone(),
            until: Some(self.now().plus(spec.span)),
            disk,
            struck: 0,
        };
        self.on.insert(spec.id, on);
    }

    /// Ends the faults whose time is over.
    pub(super) fn end_due(&mut self) {
        let now = self.now();
        let due = self
            .on
            .values()
            .filter(|on| on.until.is_some_and(|until| until <= now));
        for id in due.map(|on| on.spec.id).collect::<Vec<_>>() {
            self.end(id);
        }
    }

    /// Ends a fault that is on.
    pub(super) fn end(&mut self, id: FaultId) {
        self.count_strikes();
        let Some(on) = self.on.remove(&id) else {
            return;
        };
        self.network.end(&self.sim, id);
        match &on.spec.kind {
            FaultKind::Drift { host, .. } => {
                self.shared
                    .seat(host)
                    .machine
                    .clock()
                    .set_drift(DriftPpm(0));
            }
            FaultKind::Endpoint { host, fault } => self.set_manner(host, fault, None),
            FaultKind::Disk { host, .. } => {
                if let Some(disk) = on.disk {
                    disk_faults::end(self.shared.seat(host), disk);
                }
            }
            _ => {}
        }
        let text = format!("{} is over", words::of(&on.spec.kind));
        self.record(What::Healed { fault: id, text });
    }

    /// When a host that has drained starts again: when its fault is over, or now.
    pub(super) fn drained(&self, host: &HostName) -> Micros {
        let drains = self.on.values().filter(
            |on| matches!(&on.spec.kind, FaultKind::Drain { host: drained } if drained == host),
        );
        let until = drains.filter_map(|on| on.until).max();
        until.unwrap_or_default().max(self.now())
    }

    fn set_manner(&self, host: &HostName, fault: &PeerFault, to: Option<FaultId>) {
        let seat = self.shared.seat(host);
        let Manners { rejects, refuses } = &mut *seat.manners();
        match fault {
            PeerFault::Rejects => *rejects = to,
            PeerFault::Refuses => *refuses = to,
            _ => {}
        }
    }

    /// Writes down what the disks' faults have struck since the last look.
    pub(super) fn count_strikes(&mut self) {
        let now = self.now();
        for on in self.on.values_mut() {
            let (Some(disk), FaultKind::Disk { host, .. }) = (on.disk, &on.spec.kind) else {
                continue;
            };
            let strikes = disk_faults::strikes(self.shared.seat(host), disk);
            for _ in on.struck..strikes {
                self.shared.strike(now, on.spec.id);
            }
            on.struck = strikes;
        }
    }
}
