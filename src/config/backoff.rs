//! How long a rejected task waits, as people write it: `"exponential"`, or a list of durations.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

use super::Span;
use crate::queue::{self, SCHEDULE_STEPS_MAX};

/// The waits after rejections: `"exponential"`, or a schedule such as `["1s", "10s", "1m"]`.
#[derive(Clone, PartialEq, Eq)]
pub enum Backoff {
    /// Anything up to a ceiling that doubles, as after doubts.
    Exponential,
    /// One wait after the other, each a fifth shorter or longer; the last one from then on.
    Schedule(Vec<Span>),
}

impl Backoff {
    /// As the library wants it.
    pub fn get(&self) -> queue::Backoff {
        match self {
            Self::Exponential => queue::Backoff::Exponential,
            Self::Schedule(steps) => {
                queue::Backoff::Schedule(steps.iter().map(|step| step.get()).collect())
            }
        }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        match queue::Backoff::default() {
            queue::Backoff::Exponential => Self::Exponential,
            queue::Backoff::Schedule(steps) => {
                Self::Schedule(steps.into_iter().map(Span::new).collect())
            }
        }
    }
}

impl fmt::Display for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Schedule(steps) = self else {
            return f.write_str("exponential");
        };
        let steps: Vec<String> = steps.iter().map(Span::to_string).collect();
        write!(f, "{} (each ± 20 %)", steps.join(", "))
    }
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

struct BackoffVisitor;

impl<'de> Visitor<'de> for BackoffVisitor {
    type Value = Backoff;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"exponential\" or a list of durations such as [\"1s\", \"10s\", \"1m\"]")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Backoff, E> {
        match text {
            "exponential" => Ok(Backoff::Exponential),
            other => Err(E::custom(format!(
                "\"{other}\" is no backoff: \"exponential\" or a list of durations such as [\"1s\", \"10s\", \"1m\"]"
            ))),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Backoff, A::Error> {
        let mut steps = Vec::new();
        while let Some(step) = list.next_element()? {
            steps.push(step);
            if steps.len() > SCHEDULE_STEPS_MAX {
                break;
            }
        }
        if steps.is_empty() || steps.len() > SCHEDULE_STEPS_MAX {
            let what = format!("a schedule has from 1 to {SCHEDULE_STEPS_MAX} waits");
            return Err(de::Error::custom(what));
        }
        Ok(Backoff::Schedule(steps))
    }
}

impl<'de> Deserialize<'de> for Backoff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BackoffVisitor)
    }
}
