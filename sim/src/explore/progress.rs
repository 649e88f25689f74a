//! How far an exploration is, on stderr: a bar on a terminal, a line now and then elsewhere.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use leasebridge_sim::oracle::Class;
use leasebridge_sim::plan::Micros;

use super::Extent;
use crate::cli::out;
use crate::pool::PlanAnswer;

/// How often the bar is painted.
const PAINTS_PER_SECOND: u8 = 10;

/// How often a line is written where there is no bar: often enough for logs, and for supervisors that end what is silent.
pub(crate) const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows how far an exploration is, and how fast.
pub(crate) struct ExplorationProgress {
    bar: ProgressBar,
    started: Instant,
    simulated: Cell<Micros>,
    failures: Cell<u64>,
}

impl ExplorationProgress {
    /// For so many scenarios that go so far; without a bar if `quiet` or stderr is no terminal.
    pub(crate) fn new(extent: Extent, scenarios: usize, quiet: bool) -> Self {
        let target = if quiet || !std::io::stderr().is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr_with_hz(PAINTS_PER_SECOND)
        };
        let (seeds, template) = match extent {
            Extent::Seeds(seeds) => {
                let all = seeds.saturating_mul(scenarios as u64);
                (Some(all), "{bar:30} {pos}/{len} seeds, {msg}, {eta} left")
            }
            Extent::Time(_) => (None, "{spinner} {pos} seeds in {elapsed}, {msg}"),
        };
        let bar = ProgressBar::with_draw_target(seeds, target);
        let style = ProgressStyle::with_template(template);
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
        self.bar.set_message(self.pace());
    }

    /// How fast it is, and what it found.
    fn pace(&self) -> String {
        let seconds = self.seconds().max(f64::EPSILON);
        #[expect(clippy::cast_precision_loss, reason = "shown to people")]
        let rate = self.bar.position() as f64 / seconds;
        let simulated = self.simulated.get().as_duration().as_secs_f64() / seconds;
        let failures = self.failures.get();
        format!("{rate:.0} seeds/s, {simulated:.0} simulated s/s, {failures} failed")
    }

    /// Says how far it is, if there is no bar that shows it.
    pub(crate) fn say(&self) {
        if !self.bar.is_hidden() {
            return;
        }
        let (ran, pace) = (self.bar.position(), self.pace());
        let of = self
            .bar
            .length()
            .map_or(String::new(), |all| format!(" of {all}"));
        out::complain(&format!("{:.0} s: {ran}{of} seeds, {pace}", self.seconds()));
    }

    /// Writes something that can't wait to stderr, above the bar.
    pub(crate) fn tell(&self, text: &str) {
        self.bar.suspend(|| out::complain(text));
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
