//! The progress bar: on stderr, and only on a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::account::Account;
use crate::cli::words;

/// How often it is painted.
const PAINTS_PER_SECOND: u8 = 10;

/// Shows how far it is. Clones show the same.
#[derive(Clone)]
pub(crate) struct EnqueueProgress {
    bar: ProgressBar,
}

impl EnqueueProgress {
    /// A bar for an input of `bytes`, or a counter if nobody knows; hidden if `quiet` or stderr is no
    /// terminal.
    pub(crate) fn new(bytes: Option<u64>, quiet: bool) -> Self {
        let target = if quiet || !std::io::stderr().is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr_with_hz(PAINTS_PER_SECOND)
        };
        let (bar, template) = match bytes {
            Some(bytes) => (
                ProgressBar::with_draw_target(Some(bytes), target),
                "{bar:30} {percent:>3}% {prefix}, {eta} left{msg}",
            ),
            None => (
                ProgressBar::with_draw_target(None, target),
                "{spinner} {prefix}{msg}",
            ),
        };
        bar.set_style(ProgressStyle::with_template(template).expect("the template is well formed"));
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(1_000 / u64::from(PAINTS_PER_SECOND)));
        }
        Self { bar }
    }

    /// Shows what is settled so far, after `taken` more bytes of the input, at `rate` lines a second.
    pub(crate) fn advance(&self, taken: u64, account: &Account, rate: f64) {
        if self.bar.is_hidden() {
            return;
        }
        self.bar.inc(taken);
        let mut text = format!(
            "{} accepted, {} lines/s",
            words::number(account.accepted),
            words::rate(rate)
        );
        if account.already_there > 0 {
            text.push_str(&format!(
                ", {} already there",
                words::number(account.already_there)
            ));
        }
        if account.refused > 0 {
            text.push_str(&format!(", {} refused", words::number(account.refused)));
        }
        self.bar.set_prefix(text);
    }

    /// What it is waiting for; empty when it goes on.
    pub(crate) fn waits_for(&self, what: &str) {
        let message = if what.is_empty() {
            String::new()
        } else {
            format!("  ({what})")
        };
        if self.bar.message() != message {
            self.bar.set_message(message);
        }
    }

    /// Prints a line on stderr, above the bar.
    pub(crate) fn complain(&self, text: &str) {
        self.bar.suspend(|| crate::cli::out::complain(text));
    }

    /// Does something to the terminal while the bar is away.
    pub(crate) fn suspended<T>(&self, work: impl FnOnce() -> T) -> T {
        self.bar.suspend(work)
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
