//! The progress bar: on stderr, and only on a terminal.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use leasebridge_sim::oracle::Class;
use leasebridge_sim::plan::Micros;

use crate::pool::PlanAnswer;

/// How often it is painted.
const PAINTS_PER_SECOND: u8 = 10;

/// Shows how far an exploration is, and how fast.
pub(crate) struct ExplorationProgress {
    bar: ProgressBar,
    started: Instant,
    simulated: Cell<Micros>,
    failures: Cell<u64>,
}

impl ExplorationProgress {
    /// A bar for so many seeds; hidden if `quiet` or stderr is no terminal.
    pub(crate) fn new(seeds: u64, quiet: bool) -> Self {
        let target = if quiet || !std::io::stderr().is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr_with_hz(PAINTS_PER_SECOND)
        };
        let bar = ProgressBar::with_draw_target(Some(seeds), target);
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} seeds, {msg}, {eta} left");
        bar.set_style(style.expect("the template is well formed"));
        Self {
            bar,
            started: Instant::now(),
            simulated: Cell::default(),
            failures: Cell::default(),
        }
    }

    /// Counts one seed.
    pub(crate) fn ran(&self, answer: &PlanAnswer) {
        self.simulated
            .set(self.simulated.get().plus(answer.outcome.simulated));
        self.failures
            .set(self.failures.get() + u64::from(answer.class() != Class::Pass));
        self.bar.inc(1);
        if self.bar.is_hidden() {
            return;
        }
        let seconds = self.seconds().max(f64::EPSILON);
        #[expect(clippy::cast_precision_loss, reason = "shown to people")]
        let rate = self.bar.position() as f64 / seconds;
        let simulated = self.simulated.get().as_duration().as_secs_f64() / seconds;
        let failures = self.failures.get();
        self.bar.set_message(format!(
            "{rate:.0} seeds/s, {simulated:.0} simulated s/s, {failures} failed"
        ));
    }

    /// Seconds since it began.
    pub(crate) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Simulated time of all seeds so far.
    pub(crate) fn simulated(&self) -> Duration {
        self.simulated.get().as_duration()
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
