//! What is done to the processes, drawn from a seed. Real processes make of it what they will: the same seed
//! repeats the deeds and not the run.

use std::time::Duration;

use crate::seed::Draws;

/// Whom a deed is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whom {
    Bridge,
    Receiver,
}

/// Which way to the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    Socket,
    Grpc,
    Both,
}

/// Something done to a process or to the way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// `kill -9`; down for so long.
    Kill(Whom, Duration),
    /// `kill -9` of the producer; its input is sent again.
    KillProducer,
    /// SIGSTOP, and SIGCONT after so long.
    Stop(Whom, Duration),
    /// SIGTERM; down for so long after its end.
    Drain(Whom, Duration),
    /// Connections are cut, and new ones turned away for so long.
    Cut(Way, Duration),
    /// Connections stand still for so long.
    Stall(Way, Duration),
}

impl Deed {
    /// Draws the next one.
    pub(super) fn draw(draws: &mut Draws) -> Self {
        let whom = [Whom::Bridge, Whom::Receiver][draws.index(2)];
        let way = [Way::Socket, Way::Grpc, Way::Both][draws.index(3)];
        match draws.below(20) {
            0..=5 => Self::Kill(whom, between(draws, 0, 1_500)),
            6 => Self::KillProducer,
            7..=9 => Self::Stop(whom, between(draws, 100, 5_000)),
            10 => Self::Drain(whom, between(draws, 0, 500)),
            11..=14 => Self::Cut(way, between(draws, 0, 3_000)),
            _ => Self::Stall(way, between(draws, 300, 7_000)),
        }
    }

    /// How it is counted.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kill(Whom::Bridge, _) => "bridge killed",
            Self::Kill(Whom::Receiver, _) => "receiver killed",
            Self::KillProducer => "producer killed",
            Self::Stop(Whom::Bridge, _) => "bridge stopped",
            Self::Stop(Whom::Receiver, _) => "receiver stopped",
            Self::Drain(Whom::Bridge, _) => "bridge drained",
            Self::Drain(Whom::Receiver, _) => "receiver drained",
            Self::Cut(..) => "connections cut",
            Self::Stall(..) => "connections stalled",
        }
    }
}

/// The pause before the next deed.
pub(super) fn pause(draws: &mut Draws) -> Duration {
    between(draws, 200, 2_500)
}

fn between(draws: &mut Draws, from_ms: u64, to_ms: u64) -> Duration {
    Duration::from_millis(from_ms + draws.below(to_ms - from_ms + 1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::seed::Seed;

    #[test]
    fn every_kind_of_deed_is_drawn() {
        let mut draws = Seed(1).draws("chaos");
        let names: BTreeSet<&str> = (0..500).map(|_| Deed::draw(&mut draws).name()).collect();
        assert_eq!(names.len(), 9, "{names:?}");
    }
}
