//! The one error of the pipeline, and the class by which an operation's own error is judged.
//!
//! The question that decides everything later is whether the operation may have happened. So every
//! error answers [`PipelineError::is_definite`], and no helper ever turns a doubt into a certainty.

use std::fmt;
use std::time::Duration;

use super::TryNumber;

/// Any error that can cross threads.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What an operation's error says about the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A definite answer that another try would not change. It also settles the doubt that earlier
    /// tries of the same operation left behind.
    Final,
    /// This try had no effect, and another one may succeed.
    NotDone,
    /// This try may have had its effect; nobody said so.
    InDoubt,
}

/// Errors that know their [`Class`].
pub trait Classify {
    /// The class of this error.
    fn class(&self) -> Class;
}

/// Why an operation did not bring a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PipelineError<E> {
    /// The operation itself said so.
    Failed(E),
    /// The operation was cut off by its time limit: it may yet have its effect.
    InDoubt {
        /// How long it was given.
        after: Duration,
    },
    /// The caller cancelled.
    Cancelled {
        /// Whether something had been started by then that may yet have its effect.
        in_doubt: bool,
    },
    /// The deadline of the context had passed before the operation was started.
    Expired,
    /// The tries of a retry policy, or the time for them, ran out.
    Exhausted {
        /// How many tries were made.
        tries: TryNumber,
        /// Whether any of them may have had its effect.
        in_doubt: bool,
        /// What ended the last try.
        last: Box<PipelineError<E>>,
    },
}

impl<E: Classify> PipelineError<E> {
    /// Whether it is certain what became of the operation. If not, it may have had its effect.
    pub fn is_definite(&self) -> bool {
        match self {
            Self::Failed(error) => error.class() != Class::InDoubt,
            Self::InDoubt { .. } => false,
            Self::Cancelled { in_doubt } | Self::Exhausted { in_doubt, .. } => !in_doubt,
            Self::Expired => true,
        }
    }

    /// Whether [`retry`](super::retry) tries again after this.
    ///
    /// An operation in doubt is tried again: all its tries carry one delivery id, so the other side recognises
    /// a repetition. After cancellation, expiry or an exhausted policy nothing is tried again.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Failed(error) => error.class() != Class::Final,
            Self::InDoubt { .. } => true,
            Self::Cancelled { .. } | Self::Expired | Self::Exhausted { .. } => false,
        }
    }
}

impl<E> From<E> for PipelineError<E> {
    fn from(error: E) -> Self {
        Self::Failed(error)
    }
}

// Written by hand because the last error of an exhausted policy is boxed inside its own type, for
// which derived bounds would go round in circles.
impl<E: fmt::Display> fmt::Display for PipelineError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "the operation failed: {error}"),
            Self::InDoubt { after } => write!(
                f,
                "the operation was cut off after {after:?}; in doubt: it may yet have its effect"
            ),
            Self::Cancelled { in_doubt: true } => f.write_str(
                "cancelled by the caller; in doubt: what was started may yet have its effect",
            ),
            Self::Cancelled { in_doubt: false } => {
                f.write_str("cancelled by the caller before anything took effect")
            }
            Self::Expired => f.write_str("the deadline had passed before the operation started"),
            Self::Exhausted {
                tries,
                in_doubt,
                last,
            } => {
                let doubt = if *in_doubt {
                    "in doubt: one of them may have had its effect"
                } else {
                    "none of them took effect"
                };
                write!(f, "gave up after {tries} tries; {doubt}; the last: {last}")
            }
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for PipelineError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Exhausted { last, .. } => Some(last.as_ref()),
            Self::InDoubt { .. } | Self::Cancelled { .. } | Self::Expired => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::TestError;
    use super::*;

    #[test]
    fn only_what_certainly_had_no_effect_is_definite() {
        let definite = [
            PipelineError::Failed(TestError::Final),
            PipelineError::Failed(TestError::NotDone),
            PipelineError::Cancelled { in_doubt: false },
            PipelineError::Expired,
        ];
        let in_doubt = [
            PipelineError::Failed(TestError::InDoubt),
            PipelineError::InDoubt {
                after: Duration::ZERO,
            },
            PipelineError::Cancelled { in_doubt: true },
        ];
        assert!(definite.iter().all(PipelineError::is_definite));
        assert!(!in_doubt.iter().any(PipelineError::is_definite));
        for in_doubt in [false, true] {
            let exhausted = PipelineError::Exhausted {
                tries: TryNumber::FIRST,
                in_doubt,
                last: Box::new(PipelineError::Failed(TestError::NotDone)),
            };
            assert_eq!(exhausted.is_definite(), !in_doubt);
            assert!(!exhausted.is_retryable());
        }
    }

    #[test]
    fn the_class_decides_about_another_try() {
        assert!(!PipelineError::Failed(TestError::Final).is_retryable());
        assert!(PipelineError::Failed(TestError::NotDone).is_retryable());
        assert!(PipelineError::Failed(TestError::InDoubt).is_retryable());
        let after = Duration::ZERO;
        assert!(PipelineError::<TestError>::InDoubt { after }.is_retryable());
        assert!(!PipelineError::<TestError>::Expired.is_retryable());
        for in_doubt in [false, true] {
            assert!(!PipelineError::<TestError>::Cancelled { in_doubt }.is_retryable());
        }
    }

    #[test]
    fn the_text_says_whether_it_is_in_doubt() {
        let last = Box::new(PipelineError::Failed(TestError::NotDone));
        let error = PipelineError::Exhausted {
            tries: TryNumber::FIRST,
            in_doubt: true,
            last,
        };
        assert_eq!(
            error.to_string(),
            "gave up after 1 tries; in doubt: one of them may have had its effect; \
             the last: the operation failed: not done"
        );
    }
}
