//! What is shown while the demo runs: a bar on a terminal, else a line now and then; and each event.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use leasebridge::env::{Env, Mono};

use crate::cli::{out, words};

/// How often the bar is painted.
const PAINTS_PER_SECOND: u8 = 10;

/// Without a terminal the progress is told each time so many more hundredths are done.
const PERCENT_PER_LINE: u64 = 20;

/// Shows the demo on stderr.
pub(super) struct Screen {
    env: Env,
    start: Mono,
    bar: ProgressBar,
    colours: bool,
}

impl Screen {
    /// A screen for `commands` commands.
    pub(super) fn new(env: &Env, commands: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal {
            ProgressDrawTarget::stderr_with_hz(PAINTS_PER_SECOND)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(commands), target);
        let style = ProgressStyle::with_template("{bar:40} {percent:>3}%  {msg}");
        bar.set_style(style.expect("the template is well formed"));
        if terminal {
            bar.enable_steady_tick(Duration::from_millis(1_000 / u64::from(PAINTS_PER_SECOND)));
        }
        Self {
            env: env.clone(),
            start: env.clock.now(),
            bar,
            colours: crate::cli::log::colours(),
        }
    }

    /// Time since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.env.clock.now().saturating_since(self.start)
    }

    /// A line of text.
    pub(super) fn say(&self, text: &str) {
        self.bar.suspend(|| out::complain(text));
    }

    /// Something has happened.
    pub(super) fn event(&self, what: &str, text: &str) {
        let seconds = self.elapsed().as_secs_f64();
        let what = format!("{what:<7}");
        let what = match (self.colours, what.trim_end()) {
            (true, "cut" | "kill" | "crash") => format!("\x1b[31m{what}\x1b[0m"),
            (true, "back") => format!("\x1b[32m{what}\x1b[0m"),
            _ => what,
        };
        self.say(&format!("{seconds:>6.1} s  {what} {text}"));
    }

    /// So many commands are executed or refused.
    pub(super) fn progress(&self, settled: u64) {
        let before = self.bar.position();
        self.bar.set_position(settled);
        let rate = settled as f64 / self.elapsed().as_secs_f64().max(0.001);
        let commands = self.bar.length().unwrap_or(settled).max(1);
        let text = format!(
            "{} of {} commands, {} a second",
            words::number(settled),
            words::number(commands),
            words::rate(rate)
        );
        if !self.bar.is_hidden() {
            self.bar.set_message(text);
            return;
        }
        let line = |count: u64| count * 100 / commands / PERCENT_PER_LINE;
        if line(settled) > line(before) {
            self.event("", &text);
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
