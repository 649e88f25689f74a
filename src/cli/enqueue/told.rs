//! What became of each line, told on stdout as soon as it is known.

use leasebridge::wire::v1;
use serde_json::{Value, json};

use super::progress::EnqueueProgress;
use crate::cli::exit::CommandFailure;
use crate::cli::{out, words};

/// Commands whose ids are printed for people; `--json` prints all.
const SHOWN_MAX: u32 = 10;

/// What became of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LineEnd {
    /// The line's number.
    pub(super) number: u64,
    /// What became of it.
    pub(super) fate: LineFate,
    /// The task that stands for it.
    pub(super) task: Option<v1::TaskId>,
    /// Its key.
    pub(super) key: String,
}

/// The ways in which a line can end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LineFate {
    /// New in the queue, durable.
    Accepted,
    /// Its key is known; what that stands for waits or is done.
    AlreadyThere,
    /// Its key is known, and what that stands for will never run.
    NeverRun(String),
    /// It was refused.
    Refused(String),
    /// It was sent, and nobody answered: it may be in the queue.
    Unknown,
    /// It was read, and never sent.
    NotSent,
}

impl LineEnd {
    /// What is wrong, for people.
    pub(super) fn complaint(&self) -> Option<String> {
        let number = self.number;
        match &self.fate {
            LineFate::Accepted | LineFate::AlreadyThere | LineFate::Unknown | LineFate::NotSent => {
                None
            }
            LineFate::NeverRun(why) => Some(format!("line {number}: {why}")),
            LineFate::Refused(why) => Some(format!("line {number}: refused: {why}")),
        }
    }

    fn to_json(&self) -> Value {
        let (result, why) = match &self.fate {
            LineFate::Accepted => ("accepted", None),
            LineFate::AlreadyThere => ("already_there", None),
            LineFate::NeverRun(why) => ("never_run", Some(why)),
            LineFate::Refused(why) => ("refused", Some(why)),
            LineFate::Unknown => ("unknown", None),
            LineFate::NotSent => ("not_sent", None),
        };
        let mut told = json!({ "line": self.number, "result": result, "key": self.key });
        if self.task.is_some() {
            told["task"] = words::task(self.task.as_ref()).into();
        }
        if let Some(why) = why {
            told["why"] = why.as_str().into();
        }
        told
    }
}

/// Tells the lines' ends.
#[derive(Debug)]
pub(super) struct Telling {
    as_json: bool,
    is_quiet: bool,
    shown: u32,
}

impl Telling {
    /// As JSON, all of them; or for people, the first few, unless they want to hear nothing.
    pub(super) fn new(as_json: bool, is_quiet: bool) -> Self {
        Self {
            as_json,
            is_quiet,
            shown: 0,
        }
    }

    /// Tells how these lines ended, in their order: what is in the queue on stdout, what is wrong on stderr.
    pub(super) fn tell(
        &mut self,
        ends: &[LineEnd],
        progress: &EnqueueProgress,
    ) -> Result<(), CommandFailure> {
        let mut text = String::new();
        for end in ends {
            if let Some(complaint) = end.complaint() {
                progress.complain(&complaint);
            }
            if self.as_json {
                text.push_str(&end.to_json().to_string());
                text.push('\n');
            } else if end.task.is_some() && !self.is_quiet && self.shown <= SHOWN_MAX {
                self.shown += 1;
                text.push_str(&match self.shown {
                    ..=SHOWN_MAX => for_people(end),
                    _ => "...  (--json tells every line's task and key)\n".to_owned(),
                });
            }
        }
        if text.is_empty() {
            return Ok(());
        }
        let printed = progress.suspended(|| out::print(&text));
        if self.as_json {
            return printed;
        }
        // A person has seen enough, or a pager was closed: the rest is sent all the same.
        self.is_quiet |= printed.is_err();
        Ok(())
    }
}

fn for_people(end: &LineEnd) -> String {
    let task = words::task(end.task.as_ref());
    let there = match end.fate {
        LineFate::AlreadyThere => "  (already there)",
        _ => "",
    };
    format!("{task}  {}{there}\n", words::safe(&end.key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_told_with_its_task_and_key() {
        let task = v1::TaskId {
            seq: 42,
            origin: 0xc0ffee,
        };
        let end = |number, fate, task| LineEnd {
            number,
            fate,
            task,
            key: "order-17".into(),
        };
        let ends = [
            end(1, LineFate::Accepted, Some(task)),
            end(2, LineFate::AlreadyThere, Some(task)),
            end(3, LineFate::NeverRun("it is in poison".into()), Some(task)),
            end(4, LineFate::Refused("no such route".into()), None),
            end(5, LineFate::Unknown, None),
            end(6, LineFate::NotSent, None),
        ];
        let told = ends.iter().map(|end| {
            let complaint = end.complaint().unwrap_or_default();
            format!("{}{}{complaint}\n", for_people(end), end.to_json())
        });
        insta::assert_snapshot!(told.collect::<Vec<_>>().join("\n"));
    }
}
