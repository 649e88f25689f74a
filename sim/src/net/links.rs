//! What turmoil's links are to do, worked out anew from all the faults that are on.
//!
//! turmoil's own calls overwrite each other (a repair ends every partition of the pair). So the wanted state
//! of each pair is kept here, and only a difference is told to turmoil.

use std::collections::{BTreeMap, BTreeSet};

use super::line::Lines;
use crate::plan::{FaultKind, HostName, Micros, NetFault, Ways};

/// Two hosts, in the order of their names.
pub(crate) type Pair = (HostName, HostName);

pub(crate) fn pair(a: &HostName, b: &HostName) -> Pair {
    if a <= b {
        (a.clone(), b.clone())
    } else {
        (b.clone(), a.clone())
    }
}

/// What a link is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PairState {
    /// From the first host to the second.
    cut_there: bool,
    /// From the second host to the first.
    cut_back: bool,
    held: bool,
    latency: [Micros; 2],
}

impl PairState {
    fn healthy(latency: [Micros; 2]) -> Self {
        Self {
            cut_there: false,
            cut_back: false,
            held: false,
            latency,
        }
    }

    fn add(&mut self, from_first: bool, fault: &NetFault) {
        match fault {
            NetFault::Partition { ways } => {
                self.cut_there |= cuts(*ways, from_first);
                self.cut_back |= cuts(*ways, !from_first);
            }
            NetFault::Hold => self.held = true,
            NetFault::Latency { min, max } => self.latency = [*min, (*max).max(*min)],
            _ => {}
        }
    }
}

/// Whether what one end sends is lost: `a`'s if `of_a`, else `b`'s.
pub(crate) fn cuts(ways: Ways, of_a: bool) -> bool {
    match ways {
        Ways::Both => true,
        Ways::AToB => of_a,
        Ways::BToA => !of_a,
    }
}

/// All links that are not as they were at first.
#[derive(Debug, Default)]
pub(crate) struct Links {
    told: BTreeMap<Pair, PairState>,
}

impl Links {
    /// Makes turmoil's links what these faults and hosts without power ask for.
    pub(crate) fn apply<'a>(
        &mut self,
        sim: &turmoil::Sim<'_>,
        (latency, lines): ([Micros; 2], &Lines),
        faults: impl Iterator<Item = &'a FaultKind>,
        dark: &BTreeSet<HostName>,
        hosts: &[HostName],
    ) {
        let healthy = |pair: &Pair| PairState::healthy(lines.latency(pair).unwrap_or(latency));
        let mut wanted: BTreeMap<Pair, PairState> = self
            .told
            .keys()
            .chain(lines.pairs())
            .map(|pair| (pair.clone(), healthy(pair)))
            .collect();
        for kind in faults {
            if let FaultKind::Network { a, b, fault } = kind {
                let link = wanted.entry(pair(a, b)).or_insert_with_key(healthy);
                link.add(a <= b, fault);
            }
        }
        for (host, other) in dark
            .iter()
            .flat_map(|host| hosts.iter().map(move |other| (host, other)))
        {
            if host != other {
                let link = wanted.entry(pair(host, other)).or_insert_with_key(healthy);
                link.cut_there = true;
                link.cut_back = true;
            }
        }
        for (pair, link) in wanted {
            let at_first = PairState::healthy(latency);
            let before = self.told.get(&pair).copied().unwrap_or(at_first);
            tell(sim, &pair, before, link);
            self.told.insert(pair, link);
        }
    }
}

fn tell(sim: &turmoil::Sim<'_>, pair: &Pair, before: PairState, now: PairState) {
    let (first, second) = (&*pair.0.0, &*pair.1.0);
    if before.latency != now.latency {
        // The first call sets both ends of the range: turmoil has none that sets the shortest alone.
        sim.set_link_latency(first, second, now.latency[0].as_duration());
        sim.set_link_max_message_latency(first, second, now.latency[1].as_duration());
    }
    let ways = |link: &PairState| (link.cut_there, link.cut_back, link.held);
    if ways(&before) == ways(&now) {
        return;
    }
    // Both leave the link uncut; nothing is sent between these calls.
    if now.held {
        sim.hold(first, second);
    } else {
        sim.release(first, second);
    }
    if now.cut_there {
        sim.partition_oneway(first, second);
    }
    if now.cut_back {
        sim.partition_oneway(second, first);
    }
}
