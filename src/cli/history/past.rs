//! What the earlier lives of a process left in its history.

use std::collections::BTreeMap;

use leasebridge::history::{HISTORY_FORMAT, Header, OpId, Record, TaskName, What};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// How often the process has been up.
    pub(crate) boots: u32,
    /// Executions that began and of which no end is told, by task: the epoch and the operation.
    pub(crate) unfinished: BTreeMap<TaskName, (u32, OpId)>,
    /// The time of the last record: none that follows is earlier.
    pub(super) last: u64,
    lines: u64,
}

impl Past {
    /// Whether nothing has been written yet.
    pub(super) fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// Takes in the next whole line.
    ///
    /// # Errors
    /// In words, when it is no history of `source`: somebody else's file is never touched.
    pub(super) fn take(&mut self, line: &[u8], source: &str) -> Result<(), String> {
        self.lines += 1;
        if self.lines == 1 {
            let header: Header = serde_json::from_slice(line)
                .map_err(|_| "the file is no history; name another one".to_owned())?;
            if header.history != HISTORY_FORMAT || header.source != source {
                return Err(format!(
                    "the file is a history of `{}` in format {}; name another one",
                    header.source, header.history
                ));
            }
            return Ok(());
        }
        let record: Record = serde_json::from_slice(line)
            .map_err(|error| format!("line {} is no record: {error}", self.lines))?;
        self.last = self.last.max(record.at);
        match record.what {
            What::Opened { .. } | What::Up { .. } => self.boots += 1,
            What::Executing {
                task, epoch, op, ..
            } => drop(self.unfinished.insert(task, (epoch, op))),
            What::Executed { task, .. } => drop(self.unfinished.remove(&task)),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_are_counted_and_executions_without_an_end_are_found() {
        let mut past = Past::default();
        for line in [
            r#"{"history":1,"source":"receiver"}"#,
            r#"{"at":1,"host":"e","what":"up","boot":1,"inbox":"00"}"#,
            r#"{"at":2,"host":"e","what":"executing","task":"1-000000000000000a","epoch":1,"send":1,"op":7}"#,
            r#"{"at":3,"host":"e","what":"executed","task":"1-000000000000000a","epoch":1,"result":"done","op":7}"#,
            r#"{"at":4,"host":"e","what":"executing","task":"2-000000000000000a","epoch":3,"send":1,"op":8}"#,
            r#"{"at":9,"host":"e","what":"up","boot":2,"inbox":"00"}"#,
        ] {
            past.take(line.as_bytes(), "receiver").expect("it is whole");
        }
        assert_eq!((past.boots, past.last), (2, 9));
        assert_eq!(
            past.unfinished,
            BTreeMap::from([("2-000000000000000a".parse().expect("a task"), (3, OpId(8)))])
        );
    }

    #[test]
    fn what_is_no_history_of_this_command_is_left_alone() {
        let refused = |line: &str| Past::default().take(line.as_bytes(), "run").is_err();
        assert!(refused("hello"));
        assert!(refused(r#"{"history":2,"source":"run"}"#));
        assert!(refused(r#"{"history":1,"source":"receiver"}"#));
        assert!(!refused(r#"{"history":1,"source":"run"}"#));
    }
}
