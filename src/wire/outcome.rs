//! How an execution ended, in its endpoint's words: one type from the handler through the inbox and its
//! store, over the wire, to the bridge.

use std::time::Duration;

use bytes::Bytes;

use super::v1;

/// How an execution ended: with its result, or without having had any effect.
pub type ExecutionOutcome = Result<Bytes, HandlerError>;

/// Why a command was not executed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandlerError {
    /// Not executed; a later try may succeed. Spends the task's retry budget.
    #[error("rejected: {0}")]
    Rejected(String),
    /// Not executed and never will be: the task goes to the poison store.
    #[error("refused for good: {0}")]
    Refused(String),
    /// Not now, through no fault of the command. Costs it nothing.
    #[error("unavailable for {retry_after:?}: {text}")]
    Unavailable {
        /// When to come again. Whole milliseconds travel.
        retry_after: Duration,
        /// Why not now, for people.
        text: String,
    },
}

impl HandlerError {
    /// What the endpoint said, for people.
    pub fn text(&self) -> &str {
        match self {
            Self::Rejected(text) | Self::Refused(text) | Self::Unavailable { text, .. } => text,
        }
    }

    /// The same in at most `bytes_max` bytes.
    #[must_use]
    pub fn capped(mut self, bytes_max: usize) -> Self {
        let (Self::Rejected(text) | Self::Refused(text) | Self::Unavailable { text, .. }) =
            &mut self;
        cap(text, bytes_max);
        self
    }
}

/// Cuts a text at a character's end, and gives back what it no longer needs.
pub(crate) fn cap(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
        text.shrink_to_fit();
    }
}

/// A time span as messages and files write it.
pub(crate) fn whole_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl From<ExecutionOutcome> for v1::reply::Outcome {
    fn from(outcome: ExecutionOutcome) -> Self {
        match outcome {
            Ok(result) => Self::Done(v1::Done { result }),
            Err(HandlerError::Rejected(error)) => Self::Rejected(v1::Rejected { error }),
            Err(HandlerError::Refused(error)) => Self::Refused(v1::Refused { error }),
            Err(HandlerError::Unavailable { retry_after, text }) => {
                Self::Unavailable(v1::Unavailable {
                    retry_after_ms: whole_ms(retry_after),
                    error: text,
                })
            }
        }
    }
}

/// What an endpoint answers to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointAnswer {
    /// Its execution ended so.
    Ended(ExecutionOutcome),
    /// Nothing was executed for this delivery: the task is settled, or this epoch of it is newer.
    Stale {
        /// As the endpoint says, unchecked.
        current_epoch: u32,
    },
}

impl From<v1::reply::Outcome> for EndpointAnswer {
    fn from(outcome: v1::reply::Outcome) -> Self {
        use v1::reply::Outcome as Told;
        Self::Ended(match outcome {
            Told::Done(done) => Ok(done.result),
            Told::Rejected(no) => Err(HandlerError::Rejected(no.error)),
            Told::Refused(no) => Err(HandlerError::Refused(no.error)),
            Told::Unavailable(not_now) => Err(HandlerError::Unavailable {
                retry_after: Duration::from_millis(not_now.retry_after_ms),
                text: not_now.error,
            }),
            Told::Stale(v1::Stale { current_epoch }) => return Self::Stale { current_epoch },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_comes_back_from_its_message() {
        for outcome in [
            Ok(Bytes::from_static(b"lit")),
            Ok(Bytes::new()),
            Err(HandlerError::Rejected("no".into())),
            Err(HandlerError::Refused("never".into())),
            Err(HandlerError::Unavailable {
                retry_after: Duration::from_millis(7),
                text: "later".into(),
            }),
        ] {
            let told = v1::reply::Outcome::from(outcome.clone());
            assert_eq!(EndpointAnswer::from(told), EndpointAnswer::Ended(outcome));
        }
        let stale = v1::reply::Outcome::Stale(v1::Stale { current_epoch: 3 });
        assert_eq!(
            EndpointAnswer::from(stale),
            EndpointAnswer::Stale { current_epoch: 3 }
        );
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let text = "x".to_owned() + &"ä".repeat(100);
        let kept = HandlerError::Rejected(text).capped(100);
        assert_eq!(kept.text().len(), 99);
        let short = HandlerError::Refused("no".into());
        assert_eq!(short.clone().capped(2), short);
    }
}
