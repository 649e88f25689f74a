//! Why the program could not do its work. Everything of the binary may say so; what it says of a run is a verdict.

use std::fmt;

use crate::stop::StopSignal;

/// Why a command has no verdict to end with, for the person who typed it.
#[derive(Debug)]
pub(crate) enum CommandFailure {
    /// It could not do its work.
    Broken(String),
    /// Somebody ended it before it was through.
    Stopped(StopSignal),
}

impl CommandFailure {
    /// A failure to do the work.
    pub(crate) fn because(why: impl fmt::Display) -> Self {
        Self::Broken(why.to_string())
    }

    /// A failure that names what it is about.
    pub(crate) fn about(subject: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::Broken(format!("{subject}: {why}"))
    }
}

impl fmt::Display for CommandFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(why) => write!(f, "error: {why}"),
            Self::Stopped(signal) => write!(f, "{} before it was through", signal.word()),
        }
    }
}

impl From<String> for CommandFailure {
    fn from(message: String) -> Self {
        Self::Broken(message)
    }
}

impl From<std::io::Error> for CommandFailure {
    fn from(error: std::io::Error) -> Self {
        Self::because(error)
    }
}
