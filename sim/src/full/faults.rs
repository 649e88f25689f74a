//! Faults of the plan: when they begin, what of them is on, when they end.

use super::disk_faults::{self, Manner};
use super::life::{How, On};
use super::seat::{HostOrder, Manners, Seat};
use super::words;
use super::world::World;
use crate::history::What;
use crate::plan::{FaultId, FaultKind, FaultSpec, HostName, Micros, PeerFault};

impl World<'_> {
    /// Begins a fault.
    pub(super) fn begin(&mut self, spec: &FaultSpec) {
        let text = words::of(&spec.kind);
        self.record(What::Fault {
            fault: Some(spec.id),
            text,
        });
        let before = match &spec.kind {
            FaultKind::Point { host, point, .. } => fired(self.shared.seat(host), point),
            _ => 0,
        };
        let disk = match &spec.kind {
            FaultKind::Crash { host, in_flight } => {
                return self.strike_down(spec, host, How::Crash, *in_flight);
            }
            FaultKind::PowerCut { host, in_flight } => {
                return self.strike_down(spec, host, How::PowerCut, *in_flight);
            }
            FaultKind::Drain { host } => {
                self.shared.strike(self.now(), spec.id, 1);
                self.ask_to_end(host);
                None
            }
            FaultKind::RenewLinks { host } => {
                self.shared.strike(self.now(), spec.id, 1);
                self.shared.seat(host).order(HostOrder::RenewLinks);
                None
            }
            FaultKind::Drift { host, .. } | FaultKind::Jump { host, .. } => {
                // Nobody can say which of the clock's readings it changed: all of them.
                self.shared.strike(self.now(), spec.id, 1);
                self.shared.seat(host).machine.begin(spec);
                None
            }
            FaultKind::Pause { host } | FaultKind::Slow { host, .. } => {
                self.shared.seat(host).machine.begin(spec);
                None
            }
            FaultKind::Point {
                host,
                point,
                one_in,
            } => {
                let points = self.shared.seat(host).machine.points();
                let set = points.set(point, *one_in);
                set.unwrap_or_else(|error| panic!("the plan's {}: {error}", spec.id));
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
            FaultKind::Stranger { .. } => {
                self.shared.strike(self.now(), spec.id, 1);
                self.shared.stranger().order(HostOrder::Begin(spec.id));
                None
            }
            FaultKind::Network { .. } => None,
        };
        self.network.begin(&self.sim, spec);
        let on = On {
            spec: spec.clone(),
            until: Some(self.now().plus(spec.span)),
            disk,
            before,
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
            FaultKind::Drift { host, .. }
            | FaultKind::Jump { host, .. }
            | FaultKind::Pause { host }
            | FaultKind::Slow { host, .. } => {
                self.shared.seat(host).machine.end(id);
            }
            FaultKind::Point { host, point, .. } => {
                let cleared = self.shared.seat(host).machine.points().clear(point);
                cleared.expect("its name was good when it began");
            }
            FaultKind::Endpoint { host, fault } => self.set_manner(host, fault, None),
            FaultKind::Disk { host, .. } => {
                if let Some(disk) = on.disk {
                    disk_faults::end(self.shared.seat(host), disk);
                }
            }
            FaultKind::Stranger { .. } => {
                self.shared.stranger().order(HostOrder::Cease(id));
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

    /// Writes down what the faults that are on have struck since the last look.
    pub(super) fn count_strikes(&mut self) {
        if self.on.is_empty() {
            return;
        }
        let now = self.now();
        let by_network = self.network.struck();
        for (id, on) in &mut self.on {
            let strikes = match (&on.spec.kind, on.disk) {
                (FaultKind::Disk { host, .. }, Some(disk)) => {
                    disk_faults::strikes(self.shared.seat(host), disk)
                }
                (FaultKind::Point { host, point, .. }, _) => {
                    fired(self.shared.seat(host), point) - on.before
                }
                _ => by_network.get(id).copied().unwrap_or_default(),
            };
            if strikes > on.struck {
                self.shared.strike(now, *id, strikes - on.struck);
                on.struck = strikes;
            }
        }
    }
}

/// How often a point has fired on a host; never, if there is none of that name.
fn fired(seat: &Seat, point: &str) -> u64 {
    let points = seat.machine.points();
    let fired = point.parse().map(|point| points.fired(point));
    fired.unwrap_or_default()
}
