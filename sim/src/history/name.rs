//! What a task is called in a history.

use std::fmt;
use std::str::FromStr;

use leasebridge::{core, wire};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A task's name. In a history it is written as everybody prints it, `seq-origin`. Ordered by `seq` first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Task {
    seq: u64,
    origin: u64,
}

/// Text that is no [`Task`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no name of a task (they look like `42-00c0ffee00c0ffee`)")]
pub struct NoTask(String);

impl Task {
    /// Its number within the order of its queue.
    pub fn seq(self) -> u64 {
        self.seq
    }
}

impl From<core::TaskId> for Task {
    fn from(id: core::TaskId) -> Self {
        let (seq, origin) = (id.seq.0, id.origin.0);
        Self { seq, origin }
    }
}

impl From<wire::TaskId> for Task {
    fn from(id: wire::TaskId) -> Self {
        let wire::TaskId { seq, origin } = id;
        Self { seq, origin }
    }
}

impl FromStr for Task {
    type Err = NoTask;

    fn from_str(text: &str) -> Result<Self, NoTask> {
        let parse = || {
            let (seq, origin) = text.split_once('-')?;
            let seq = seq.parse().ok()?;
            let origin = u64::from_str_radix(origin, 16).ok()?;
            Some(Self { seq, origin })
        };
        parse().ok_or_else(|| NoTask(text.to_owned()))
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.seq, self.origin)
    }
}

impl Serialize for Task {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Task {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_called_what_its_queue_and_its_endpoint_call_it() {
        let (seq, origin) = (7, 0xc0ff_ee00_c0ff_ee00);
        let in_queue = core::TaskId {
            seq: core::Seq(seq),
            origin: core::Origin(origin),
        };
        let on_wire = wire::TaskId { seq, origin };
        let task = Task::from(in_queue);
        assert_eq!(task.to_string(), in_queue.to_string());
        assert_eq!(task, Task::from(on_wire));
        assert_eq!(task.to_string(), on_wire.to_string());
        let text = serde_json::to_string(&task).expect("a task is text");
        assert_eq!(text, "\"7-c0ffee00c0ffee00\"");
        assert_eq!(
            serde_json::from_str::<Task>(&text).expect("its own text"),
            task
        );
    }

    #[test]
    fn what_is_no_name_is_refused_in_words() {
        let refused = serde_json::from_str::<Task>("\"line\"").expect_err("no name");
        assert!(
            refused.to_string().contains("`line` is no name of a task"),
            "{refused}"
        );
    }
}
