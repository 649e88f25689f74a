//! How the program ends: the exit codes, and the failure that carries one.
//!
//! The codes are part of the interface: scripts read them. `leasebridge-sim --help` lists them.

use std::fmt;

use leasebridge_sim::oracle::Class;

/// The exit codes, as `--help` prints them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes, the most severe class of all runs:
  0    everything held
  1    bad usage, or the simulator could not do its work
  2    safety: a promise was broken
  3    liveness: something did not end in time
  4    nondeterminism: the same run twice was not the same
  5    coverage: something was never reached, or a check had nothing to check
  101  panic
  130  interrupted, and nothing had failed so far";

/// The exit code for bad usage.
pub(crate) const USAGE: u8 = 1;

/// The exit code after Ctrl-C, as shells have it: 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;

/// Why a command has no verdict to end with, for the person who typed it.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It could not do its work.
    Broken(String),
    /// Somebody pressed Ctrl-C before it was through.
    Interrupted,
}

impl Failure {
    /// A failure to do the work.
    pub(crate) fn because(why: impl fmt::Display) -> Self {
        Self::Broken(why.to_string())
    }

    /// A failure that names what it is about.
    pub(crate) fn about(subject: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::Broken(format!("{subject}: {why}"))
    }

    /// The process's exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Broken(_) => USAGE,
            Self::Interrupted => INTERRUPTED,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(why) => write!(f, "error: {why}"),
            Self::Interrupted => f.write_str("interrupted before it was through"),
        }
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Broken(message)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::because(error)
    }
}

/// The most severe of several classes: what broke comes before what hung, and both before what was not looked at.
pub(crate) fn worst(classes: impl IntoIterator<Item = Class>) -> Class {
    let severity = |class: &Class| match class {
        Class::Pass => 0,
        Class::Coverage => 1,
        Class::Nondeterminism => 2,
        Class::Liveness => 3,
        Class::Safety => 4,
        Class::Panic => 5,
    };
    classes
        .into_iter()
        .max_by_key(severity)
        .unwrap_or(Class::Pass)
}

/// How every command ends: with the class of what it found.
pub(crate) type Ended = Result<Class, Failure>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_listed_in_the_help() {
        use Class::{Coverage, Liveness, Nondeterminism, Panic, Pass, Safety};
        for class in [Pass, Safety, Liveness, Nondeterminism, Coverage, Panic] {
            let line = format!("\n  {:<4} ", class.exit_code());
            assert!(EXIT_CODES.contains(&line), "{class:?}");
        }
        for code in [USAGE, INTERRUPTED] {
            assert!(EXIT_CODES.contains(&format!("\n  {code:<4} ")), "{code}");
        }
    }

    #[test]
    fn the_worst_class_counts() {
        use Class::{Coverage, Liveness, Panic, Pass, Safety};
        assert_eq!(worst([]), Pass);
        assert_eq!(worst([Coverage, Safety, Liveness, Pass]), Safety);
        assert_eq!(worst([Safety, Panic]), Panic);
    }
}
