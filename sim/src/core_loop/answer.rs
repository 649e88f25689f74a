//! What comes back from an endpoint.

use std::fmt;

use leasebridge::core::SpanMs;

use crate::plan::Micros;

/// What an execution came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExecutionAnswer {
    Done,
    /// The endpoint answers no; nothing was executed.
    Rejected,
    /// No for good.
    Refused,
    /// Not now, not for so long.
    Unavailable(Micros),
    /// None: it was in the endpoint's hands, and nothing will be heard of it.
    Silence,
    /// The bridge dies of it.
    KillsBridge,
}

impl ExecutionAnswer {
    /// Not now: in whole milliseconds, as an endpoint says it.
    pub(super) fn unavailable(span: Micros) -> Self {
        let span = SpanMs::from_duration(span.as_duration());
        Self::Unavailable(Micros::from_millis(span.0))
    }
}

impl fmt::Display for ExecutionAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Rejected => f.write_str("rejected"),
            Self::Refused => f.write_str("refused"),
            Self::Unavailable(span) => write!(f, "unavailable for {span}"),
            Self::Silence => f.write_str("nothing"),
            Self::KillsBridge => f.write_str("what kills the bridge"),
        }
    }
}
