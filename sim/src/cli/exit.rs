//! How the program ends: the exit codes, and which of them it ends with.
//!
//! The codes are part of the interface: scripts read them. `leasebridge-sim --help` lists them.

use leasebridge_sim::oracle::Class;

use crate::failure::CommandFailure;

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
  130  interrupted, and nothing had failed so far
  143  terminated (SIGTERM), and nothing had failed so far";

/// The exit code for bad usage.
pub(crate) const USAGE: u8 = 1;

/// The exit code of a command that has no verdict to end with.
pub(crate) fn code_of(failure: &CommandFailure) -> u8 {
    match failure {
        CommandFailure::Broken(_) => USAGE,
        CommandFailure::Stopped(signal) => signal.exit_code(),
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
pub(crate) type CommandResult = Result<Class, CommandFailure>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stop::StopSignal;

    #[test]
    fn each_code_is_listed_in_the_help() {
        use Class::{Coverage, Liveness, Nondeterminism, Panic, Pass, Safety};
        for class in [Pass, Safety, Liveness, Nondeterminism, Coverage, Panic] {
            let line = format!("\n  {:<4} ", class.exit_code());
            assert!(EXIT_CODES.contains(&line), "{class:?}");
        }
        let stopped = [StopSignal::Interrupt, StopSignal::Terminate].map(StopSignal::exit_code);
        for code in stopped.into_iter().chain([USAGE]) {
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
