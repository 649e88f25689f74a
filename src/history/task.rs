//! What a task is called in a history.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::core::{TaskId, TaskIdError};

/// A task's name. In a history it is written as everybody prints it, `seq-origin`. Ordered by `seq` first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskName(TaskId);

impl TaskName {
    /// Its number within the order of its queue.
    pub fn seq(self) -> u64 {
        self.0.seq.0
    }
}

impl From<TaskId> for TaskName {
    fn from(id: TaskId) -> Self {
        Self(id)
    }
}

impl From<TaskName> for TaskId {
    fn from(task: TaskName) -> Self {
        task.0
    }
}

impl FromStr for TaskName {
    type Err = TaskIdError;

    fn from_str(text: &str) -> Result<Self, TaskIdError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for TaskName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TaskName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use crate::core::{Origin, Seq};

    use super::*;

    #[test]
    fn a_task_is_called_what_everybody_calls_it() {
        let task = TaskName::from(TaskId {
            seq: Seq(7),
            origin: Origin(0xc0ff_ee00_c0ff_ee00),
        });
        let text = serde_json::to_string(&task).expect("a task is text");
        assert_eq!(text, "\"7-c0ffee00c0ffee00\"");
        assert_eq!(
            serde_json::from_str::<TaskName>(&text).expect("its own text"),
            task
        );
    }

    #[test]
    fn what_is_no_name_is_refused_in_words() {
        for text in ["\"line\"", "\"+7-c0ffee00c0ffee00\"", "\"7-8f0c\""] {
            let refused = serde_json::from_str::<TaskName>(text).expect_err("no name");
            assert!(
                refused.to_string().contains("is not a task id"),
                "{refused}"
            );
        }
    }
}
