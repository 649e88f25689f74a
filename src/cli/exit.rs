//! How a run of the program ends: the exit codes, and the failure that carries one.
//!
//! The codes are part of the interface: scripts read them. `leasebridge --help` lists them.

use std::fmt;
use std::process::ExitCode;

use leasebridge::node::FailureKind;

/// The exit codes, as `--help` prints them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed
  2    bad usage or configuration; nothing was started
  3    done in part: some lines were refused, each was reported with its reason;
       or a job was stopped
  4    no such task, route or file
  69   the bridge can't be reached, or its answer stayed out
  74   the journal failed: what was promised is on disk, restart to go on
  130  interrupted (SIGINT)
  143  terminated (SIGTERM) before the drain was over";

/// What the exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All that was asked for is done.
    Done,
    /// It failed, and no other code fits.
    Failed,
    /// The command line or the configuration is wrong; nothing was started.
    Usage,
    /// Some lines were refused, the others are in; or a job was stopped.
    Partly,
    /// What was asked for isn't there.
    NotFound,
    /// The bridge can't be reached (`EX_UNAVAILABLE` of sysexits).
    Unreachable,
    /// The journal failed (`EX_IOERR` of sysexits).
    Journal,
    /// 128 + SIGINT.
    Interrupted,
    /// 128 + SIGTERM.
    Terminated,
}

impl Exit {
    /// The number the shell sees.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Partly => 3,
            Self::NotFound => 4,
            Self::Unreachable => 69,
            Self::Journal => 74,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl From<FailureKind> for Exit {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::Usage => Self::Usage,
            FailureKind::Journal => Self::Journal,
            FailureKind::Failed => Self::Failed,
        }
    }
}

/// Why a command failed, for the person who typed it.
#[derive(Debug)]
pub(crate) struct CommandFailure {
    /// Which code the process ends with.
    pub(crate) exit: Exit,
    /// What happened and what to do next.
    pub(crate) message: String,
}

impl CommandFailure {
    /// A failure with `exit` and `message`.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }

    /// A failure with exit code 1.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// Bad usage or configuration.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }
}

impl fmt::Display for CommandFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// How a subcommand ends: with an exit code, or with a failure that carries one.
pub(crate) type CommandResult = Result<Exit, CommandFailure>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_listed_in_the_help() {
        for exit in [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::Partly,
            Exit::NotFound,
            Exit::Unreachable,
            Exit::Journal,
            Exit::Interrupted,
            Exit::Terminated,
        ] {
            let line = format!("\n  {:<4} ", exit.code());
            assert!(EXIT_CODES.contains(&line), "{exit:?}");
        }
    }
}
