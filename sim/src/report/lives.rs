//! Records as spans: what a task lived through, when a fault was on, when a host was down.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::history::{Record, TaskName, What};
use crate::plan::FaultId;

/// A stretch of time, in microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// What it was: for tasks `ready`, `delayed`, `leased`, `executing`, `poison`.
    pub kind: String,
    /// When it began, in microseconds.
    pub from: u64,
    /// When it ended, in microseconds.
    pub to: u64,
}

/// One task from its enqueue to its end.
#[derive(Clone, Debug, Serialize)]
pub struct TaskLife {
    /// The task's name.
    pub task: String,
    /// The host of the bridge whose queue has it.
    pub bridge: String,
    /// Where it was, one after the other; executions overlap them.
    pub spans: Vec<Span>,
    /// When it was executed and acknowledged.
    pub done: Option<u64>,
}

/// A fault from its beginning to its end.
#[derive(Clone, Debug, Serialize)]
pub struct Episode {
    /// The fault's number in the plan.
    pub fault: u32,
    /// The fault in words.
    pub text: String,
    /// When it began, in microseconds.
    pub from: u64,
    /// Until when; the end of the run if it stayed.
    pub to: u64,
    /// Whether it changed anything.
    pub struck: bool,
}

/// A host that was not running.
#[derive(Clone, Debug, Serialize)]
pub struct Down {
    /// The host's name.
    pub host: String,
    /// When its process died, in microseconds.
    pub from: u64,
    /// When its process was up again, in microseconds.
    pub to: u64,
}

/// All of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Lives {
    /// By bridge and number.
    pub tasks: Vec<TaskLife>,
    /// The faults, in the order in which they began.
    pub faults: Vec<Episode>,
    /// Hosts that were down, in the order in which they went.
    pub downs: Vec<Down>,
}

/// Tells the lives in these records, which end at `end`.
pub fn lives(records: &[Record], end: u64) -> Lives {
    let mut teller = Teller::default();
    for record in records {
        teller.see(record);
    }
    teller.end(end)
}

#[derive(Default)]
struct Teller {
    tasks: BTreeMap<TaskName, Living>,
    faults: BTreeMap<FaultId, Episode>,
    down: BTreeMap<String, u64>,
    downs: Vec<Down>,
}

#[derive(Default)]
struct Living {
    bridge: String,
    spans: Vec<Span>,
    at: Option<(String, u64)>,
    executing: Option<u64>,
    done: Option<u64>,
}

impl Living {
    fn go(&mut self, to: Option<&str>, at: u64) {
        if let Some((kind, from)) = self.at.take() {
            self.spans.push(Span { kind, from, to: at });
        }
        self.at = to.map(|kind| (kind.to_owned(), at));
    }

    fn stop_executing(&mut self, at: u64) {
        if let Some(from) = self.executing.take() {
            let kind = "executing".to_owned();
            self.spans.push(Span { kind, from, to: at });
        }
    }
}

impl Teller {
    fn see(&mut self, record: &Record) {
        let at = record.at;
        match &record.what {
            What::Fault {
                fault: Some(id),
                text,
            } => {
                let episode = Episode {
                    fault: id.0,
                    text: text.clone(),
                    from: at,
                    to: u64::MAX,
                    struck: false,
                };
                self.faults.insert(*id, episode);
            }
            What::Healed { fault, .. } => {
                if let Some(episode) = self.faults.get_mut(fault) {
                    episode.to = at;
                }
            }
            What::Struck { fault } => {
                if let Some(episode) = self.faults.get_mut(fault) {
                    episode.struck = true;
                }
            }
            What::Died { .. } | What::Closed {} => {
                self.down.entry(record.host.0.to_string()).or_insert(at);
            }
            What::Opened { .. } | What::Up { .. } => {
                if let Some(from) = self.down.remove(&*record.host.0) {
                    let host = record.host.0.to_string();
                    self.downs.push(Down { host, from, to: at });
                }
            }
            what => self.see_task(record, what),
        }
    }

    fn see_task(&mut self, record: &Record, what: &What) {
        let Some(task) = what.task() else {
            return;
        };
        let living = self.tasks.entry(task).or_default();
        let at = record.at;
        match what {
            What::Fed { kind, end, .. } => {
                living.bridge = record.host.0.to_string();
                match (&**kind, end) {
                    ("enqueued" | "restored" | "requeued" | "due", _) => {
                        living.go(Some("ready"), at)
                    }
                    ("granted", _) => living.go(Some("leased"), at),
                    ("expired" | "too old", _) => living.go(Some("poison"), at),
                    ("purged" | "drained", _) => living.go(None, at),
                    (_, Some(end)) if end.next == "done" => {
                        living.go(None, at);
                        living.done = Some(at);
                    }
                    (_, Some(end)) => living.go(Some(&end.next), at),
                    _ => {}
                }
            }
            What::Executing { .. } => living.executing = Some(at),
            What::Executed { .. } => living.stop_executing(at),
            _ => {}
        }
    }

    fn end(mut self, end: u64) -> Lives {
        for (host, from) in std::mem::take(&mut self.down) {
            self.downs.push(Down {
                host,
                from,
                to: end,
            });
        }
        self.downs.sort_by_key(|down| down.from);
        let tasks = self.tasks.into_iter().map(|(task, mut living)| {
            living.stop_executing(end);
            living.go(None, end);
            TaskLife {
                task: task.to_string(),
                bridge: living.bridge,
                spans: living.spans,
                done: living.done,
            }
        });
        let mut faults: Vec<Episode> = self.faults.into_values().collect();
        for episode in &mut faults {
            episode.to = episode.to.min(end);
        }
        faults.sort_by_key(|episode| (episode.from, episode.fault));
        Lives {
            tasks: tasks.collect(),
            faults,
            downs: self.downs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::LeaseEnd;

    fn fed(at: u64, kind: &str, next: Option<&str>) -> Record {
        let end = next.map(|next| LeaseEnd {
            next: next.to_owned().into(),
            cause: None,
            charged: false,
            sends: 1,
            delay_ms: None,
        });
        Record {
            at,
            host: "bridge".into(),
            what: What::Fed {
                sequence: at,
                kind: kind.to_owned().into(),
                task: Some("1-0000000000000000".parse().expect("a name")),
                epoch: Some(1),
                route: None,
                until_ms: None,
                end,
            },
        }
    }

    #[test]
    fn a_life_is_told_from_span_to_span() {
        let records = [
            fed(10, "enqueued", None),
            fed(20, "granted", None),
            fed(30, "rejected", Some("delayed")),
            fed(40, "due", None),
            fed(50, "granted", None),
            fed(60, "done", Some("done")),
        ];
        let told = lives(&records, 100);
        let spans: Vec<_> = told.tasks[0]
            .spans
            .iter()
            .map(|span| (span.kind.as_str(), span.from, span.to))
            .collect();
        assert_eq!(
            spans,
            [
                ("ready", 10, 20),
                ("leased", 20, 30),
                ("delayed", 30, 40),
                ("ready", 40, 50),
                ("leased", 50, 60)
            ]
        );
        assert_eq!(told.tasks[0].done, Some(60));
    }

    #[test]
    fn what_has_no_end_lasts_to_the_end() {
        let record = |at, what| Record {
            at,
            host: "bridge".into(),
            what,
        };
        let fault = Some(FaultId(3));
        let text = "partition".to_owned();
        let records = [
            record(5, What::Fault { fault, text }),
            record(
                7,
                What::Died {
                    how: "crash".into(),
                },
            ),
            fed(8, "enqueued", None),
        ];
        let told = lives(&records, 20);
        assert_eq!((told.faults[0].from, told.faults[0].to), (5, 20));
        assert_eq!((told.downs[0].from, told.downs[0].to), (7, 20));
        assert_eq!(told.tasks[0].spans[0].to, 20);
    }
}
