//! The network's faults, over turmoil's links.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::{FaultId, FaultKind, FaultSpec, HostName, NetFault, Ways};

/// Why a direction is cut.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cut {
    Fault(FaultId),
    /// One of the two hosts has no power.
    Power(HostName),
}

/// Which directions are cut, and by what: the last reason that goes repairs the link.
#[derive(Debug, Default)]
pub(super) struct Network {
    cuts: BTreeMap<(HostName, HostName), BTreeSet<Cut>>,
}

impl Network {
    /// Begins a fault, if it is one of the network's; says whether it was.
    pub(super) fn begin(&mut self, sim: &turmoil::Sim<'_>, spec: &FaultSpec) -> bool {
        let FaultKind::Network {
            a,
            b,
            fault: NetFault::Partition { ways },
        } = &spec.kind
        else {
            return false;
        };
        let cut = Cut::Fault(spec.id);
        if *ways != Ways::BToA {
            self.cut(sim, a, b, &cut);
        }
        if *ways != Ways::AToB {
            self.cut(sim, b, a, &cut);
        }
        true
    }

    /// Ends a fault, if it is on here.
    pub(super) fn end(&mut self, sim: &turmoil::Sim<'_>, fault: FaultId) {
        self.mend(sim, &Cut::Fault(fault));
    }

    /// A host has lost power: nobody is told anything.
    pub(super) fn power_off<'a>(
        &mut self,
        sim: &turmoil::Sim<'_>,
        host: &HostName,
        others: impl Iterator<Item = &'a HostName>,
    ) {
        let cut = Cut::Power(host.clone());
        for other in others.filter(|other| *other != host) {
            self.cut(sim, host, other, &cut);
            self.cut(sim, other, host, &cut);
        }
    }

    /// Power is back.
    pub(super) fn power_on(&mut self, sim: &turmoil::Sim<'_>, host: &HostName) {
        self.mend(sim, &Cut::Power(host.clone()));
    }

    fn cut(&mut self, sim: &turmoil::Sim<'_>, from: &HostName, to: &HostName, cut: &Cut) {
        let cuts = self.cuts.entry((from.clone(), to.clone())).or_default();
        if cuts.is_empty() {
            sim.partition_oneway(from.0.as_str(), to.0.as_str());
        }
        cuts.insert(cut.clone());
    }

    fn mend(&mut self, sim: &turmoil::Sim<'_>, cut: &Cut) {
        for ((from, to), cuts) in &mut self.cuts {
            if cuts.remove(cut) && cuts.is_empty() {
                sim.repair_oneway(from.0.as_str(), to.0.as_str());
            }
        }
    }
}
