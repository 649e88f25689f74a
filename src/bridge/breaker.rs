//! Circuit breakers: when to stop trying what doesn't answer, and when to try again.
//!
//! A pure state machine; the time is an input. Closed, it counts what went unanswered in a row. At
//! the limit it opens and lets nothing pass until a probe is due; then exactly one probe passes, and
//! its outcome alone closes the breaker or keeps it open for twice as long. An answer from anything
//! sent earlier closes it too: it proves more than a probe would.

use std::time::Duration;

use crate::coverage::{Site, reached, sometimes};
use crate::env::Mono;
use crate::observe::BreakerState;

/// The numbers of a breaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerOptions {
    /// After how many unanswered in a row it opens. At least 1.
    pub unanswered_max: u32,
    /// How long after it has opened the first probe is due. Above zero.
    pub probe_after: Duration,
    /// The longest wait for a probe; each failed probe doubles the wait up to this.
    pub probe_after_max: Duration,
}

impl BreakerOptions {
    /// The defaults for a link: each probe costs one command the wait for its first sign of life, so
    /// they are rare.
    pub fn for_link() -> Self {
        Self {
            unanswered_max: 3,
            probe_after: Duration::from_secs(10),
            probe_after_max: Duration::from_secs(120),
        }
    }

    /// The defaults for a route: nothing moves while it is open, so probes come soon.
    pub fn for_route() -> Self {
        Self {
            unanswered_max: 5,
            probe_after: Duration::from_secs(1),
            probe_after_max: Duration::from_secs(30),
        }
    }

    /// Says what is wrong with the numbers.
    pub(super) fn validate(&self) -> Result<(), &'static str> {
        if self.unanswered_max == 0 {
            return Err("needs `unanswered_max` of at least 1");
        }
        if self.probe_after.is_zero() {
            return Err("needs `probe_after` above zero");
        }
        if self.probe_after_max < self.probe_after {
            return Err("needs `probe_after_max` of at least `probe_after`");
        }
        Ok(())
    }
}

/// Whether something may be sent, and as what. Given back with its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakerPass {
    /// The breaker is closed.
    Free,
    /// The breaker is open and this is its probe: its outcome must be reported.
    Probe,
}

/// What lets things pass, or doesn't.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Circuit {
    /// Everything passes; answers are counted.
    Closed {
        /// How many went unanswered in a row.
        unanswered: u32,
    },
    /// Nothing passes before the probe is due.
    Open {
        /// When it opened.
        since: Mono,
        /// When the next probe is due.
        probe_at: Mono,
    },
    /// One probe is under way.
    Probing {
        /// When it opened.
        since: Mono,
    },
}

/// See the module's description.
#[derive(Clone, Debug)]
pub(super) struct Breaker {
    options: BreakerOptions,
    circuit: Circuit,
    /// How long the last wait for a probe was.
    wait: Duration,
    opened: u64,
}

impl Breaker {
    /// A closed breaker.
    pub(super) fn new(options: BreakerOptions) -> Self {
        Self {
            wait: options.probe_after,
            options,
            circuit: Circuit::Closed { unanswered: 0 },
            opened: 0,
        }
    }

    /// What is seen of it at `now`.
    pub(super) fn status(&self, now: Mono) -> BreakerState {
        let for_ms = |since| millis(now.saturating_since(since));
        match self.circuit {
            Circuit::Closed { unanswered } => BreakerState::Closed { unanswered },
            Circuit::Open { since, probe_at } => BreakerState::Open {
                for_ms: for_ms(since),
                probe_in_ms: millis(probe_at.saturating_since(now)),
            },
            Circuit::Probing { since } => BreakerState::Probing {
                for_ms: for_ms(since),
            },
        }
    }

    /// How often it opened so far.
    pub(super) fn opened(&self) -> u64 {
        self.opened
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.circuit, Circuit::Closed { .. })
    }

    /// When the next probe is due, if the breaker waits for that.
    pub(super) fn probe_at(&self) -> Option<Mono> {
        match self.circuit {
            Circuit::Open { probe_at, .. } => Some(probe_at),
            Circuit::Closed { .. } | Circuit::Probing { .. } => None,
        }
    }

    /// Asks to send one. `None`: not now. A probe is handed out once, until its outcome is known.
    pub(super) fn pass(&mut self, now: Mono) -> Option<BreakerPass> {
        match self.circuit {
            Circuit::Closed { .. } => Some(BreakerPass::Free),
            Circuit::Open { since, probe_at } if now >= probe_at => {
                self.circuit = Circuit::Probing { since };
                Some(BreakerPass::Probe)
            }
            Circuit::Open { .. } | Circuit::Probing { .. } => None,
        }
    }

    /// What was sent got an answer. `true` if that closed the breaker.
    pub(super) fn answered(&mut self) -> bool {
        let closed = !self.is_closed();
        if planted!(Bug::BreakerNeverCloses) && closed {
            return false;
        }
        sometimes!(Site::BreakerClosed, closed);
        self.circuit = Circuit::Closed { unanswered: 0 };
        self.wait = self.options.probe_after;
        closed
    }

    /// What was sent with `pass` got no answer. `true` if that opened the breaker.
    pub(super) fn unanswered(&mut self, now: Mono, pass: BreakerPass) -> bool {
        match (self.circuit, pass) {
            (Circuit::Closed { unanswered }, _) => {
                let unanswered = unanswered.saturating_add(1);
                if unanswered < self.options.unanswered_max {
                    self.circuit = Circuit::Closed { unanswered };
                    return false;
                }
                self.wait = self.options.probe_after;
                self.open(now, now);
                self.opened = self.opened.saturating_add(1);
                reached!(Site::BreakerOpened);
                true
            }
            (Circuit::Probing { since }, BreakerPass::Probe) => {
                reached!(Site::ProbeFailed);
                self.wait = self
                    .wait
                    .saturating_mul(2)
                    .min(self.options.probe_after_max);
                self.open(since, now);
                false
            }
            // Stragglers from before it opened say nothing new.
            (Circuit::Open { .. } | Circuit::Probing { .. }, _) => false,
        }
    }

    /// The probe came to nothing without having been sent: the next one may go at once.
    pub(super) fn withdrawn(&mut self, now: Mono, pass: BreakerPass) {
        if let (Circuit::Probing { since }, BreakerPass::Probe) = (self.circuit, pass) {
            self.circuit = Circuit::Open {
                since,
                probe_at: now,
            };
        }
    }

    /// Something has changed for the better, such as a new link: a probe is due now.
    pub(super) fn hurry(&mut self, now: Mono) {
        if let Circuit::Open { since, probe_at } = self.circuit {
            let probe_at = probe_at.min(now);
            self.circuit = Circuit::Open { since, probe_at };
        }
    }

    fn open(&mut self, since: Mono, now: Mono) {
        let probe_at = now.saturating_add(self.wait);
        self.circuit = Circuit::Open { since, probe_at };
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Mono {
        Mono::from_start(Duration::from_secs(seconds))
    }

    fn breaker() -> Breaker {
        Breaker::new(BreakerOptions {
            unanswered_max: 3,
            probe_after: SECOND * 10,
            probe_after_max: SECOND * 30,
        })
    }

    fn opened_at(now: Mono) -> Breaker {
        let mut breaker = breaker();
        for _ in 0..3 {
            assert_eq!(breaker.pass(now), Some(BreakerPass::Free));
        }
        assert!(!breaker.unanswered(now, BreakerPass::Free));
        assert!(!breaker.unanswered(now, BreakerPass::Free));
        assert!(breaker.unanswered(now, BreakerPass::Free));
        breaker
    }

    #[test]
    fn only_unanswered_in_a_row_open_it() {
        let mut breaker = breaker();
        for _ in 0..10 {
            assert!(!breaker.unanswered(at(0), BreakerPass::Free));
            assert!(!breaker.unanswered(at(0), BreakerPass::Free));
            assert!(!breaker.answered());
        }
        assert!(breaker.is_closed());
        let mut breaker = opened_at(at(0));
        assert_eq!(breaker.opened(), 1);
        assert_eq!(breaker.pass(at(9)), None);
    }

    #[test]
    fn one_probe_passes_when_due_and_its_answer_closes() {
        let mut breaker = opened_at(at(5));
        assert_eq!(breaker.probe_at(), Some(at(15)));
        assert_eq!(breaker.pass(at(14)), None);
        assert_eq!(breaker.pass(at(15)), Some(BreakerPass::Probe));
        assert_eq!(breaker.pass(at(99)), None);
        assert!(breaker.answered());
        assert_eq!(breaker.pass(at(99)), Some(BreakerPass::Free));
    }

    #[test]
    fn failed_probes_wait_twice_as_long_each_up_to_the_most() {
        let mut breaker = opened_at(at(0));
        for (due, next) in [(10, 30), (30, 60), (60, 90)] {
            assert_eq!(breaker.pass(at(due)), Some(BreakerPass::Probe));
            assert!(!breaker.unanswered(at(due), BreakerPass::Probe));
            assert_eq!(breaker.probe_at(), Some(at(next)));
        }
        assert_eq!(breaker.opened(), 1);
        // After an answer the waits start over.
        breaker.answered();
        for _ in 0..3 {
            breaker.unanswered(at(100), BreakerPass::Free);
        }
        assert_eq!(breaker.probe_at(), Some(at(110)));
    }

    #[test]
    fn stragglers_of_the_closed_time_neither_fail_a_probe_nor_delay_it() {
        let mut breaker = opened_at(at(0));
        assert!(!breaker.unanswered(at(9), BreakerPass::Free));
        assert_eq!(breaker.pass(at(10)), Some(BreakerPass::Probe));
        assert!(!breaker.unanswered(at(10), BreakerPass::Free));
        assert_eq!(breaker.circuit, Circuit::Probing { since: at(0) });
    }

    #[test]
    fn a_probe_that_was_not_sent_is_handed_out_again() {
        let mut breaker = opened_at(at(0));
        assert_eq!(breaker.pass(at(10)), Some(BreakerPass::Probe));
        breaker.withdrawn(at(11), BreakerPass::Free);
        assert_eq!(breaker.pass(at(11)), None);
        breaker.withdrawn(at(11), BreakerPass::Probe);
        assert_eq!(breaker.pass(at(11)), Some(BreakerPass::Probe));
    }

    #[test]
    fn what_is_seen_of_it_is_told_in_spans() {
        let mut breaker = opened_at(at(5));
        let (for_ms, probe_in_ms) = (3_000, 7_000);
        assert_eq!(
            breaker.status(at(8)),
            BreakerState::Open {
                for_ms,
                probe_in_ms
            }
        );
        breaker.pass(at(15));
        assert_eq!(
            breaker.status(at(17)),
            BreakerState::Probing { for_ms: 12_000 }
        );
        breaker.answered();
        breaker.unanswered(at(18), BreakerPass::Free);
        assert_eq!(
            breaker.status(at(19)),
            BreakerState::Closed { unanswered: 1 }
        );
    }

    #[test]
    fn a_new_link_makes_the_probe_due() {
        let mut breaker = opened_at(at(0));
        breaker.hurry(at(2));
        assert_eq!(breaker.pass(at(2)), Some(BreakerPass::Probe));
        breaker.hurry(at(3));
        assert_eq!(breaker.pass(at(3)), None);
    }
}
