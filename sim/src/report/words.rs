//! Records as words. One place, so that the timeline, the page and the trace say the same.

use crate::history::{Counts, Record, TaskName, What};
use crate::plan::{HostName, Micros};

/// Whose business a record is: decides its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordKind {
    /// Producers and operators.
    Producer,
    /// The queue's own life.
    Queue,
    /// An endpoint's: executions, and what it says of them.
    Endpoint,
    /// Something was done to the world, or died of it.
    Fault,
    /// Looks and measurements: many, and rarely what a reader wants.
    Look,
}

impl RecordKind {
    /// As the page and the trace call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Queue => "queue",
            Self::Endpoint => "endpoint",
            Self::Fault => "fault",
            Self::Look => "look",
        }
    }

    /// Whose business this is.
    pub fn of(what: &What) -> Self {
        match what {
            What::Offered { .. }
            | What::Accepted { .. }
            | What::Declined { .. }
            | What::Unknown { .. }
            | What::Operated { .. } => Self::Producer,
            What::Opened { .. }
            | What::LeftEarlier { .. }
            | What::Closed {}
            | What::Fed { .. }
            | What::Registered { .. }
            | What::Compensated { .. }
            | What::Attempted { .. }
            | What::Panicked { .. } => Self::Queue,
            What::Up { .. }
            | What::Executing { .. }
            | What::Executed { .. }
            | What::RolledBack { .. }
            | What::Differed { .. } => Self::Endpoint,
            What::Forgotten { .. }
            | What::JournalFailed { .. }
            | What::OpenRefused { .. }
            | What::Fault { .. }
            | What::Healed { .. }
            | What::Struck { .. }
            | What::Died { .. }
            | What::Settling { .. }
            | What::Pending { .. } => Self::Fault,
            What::FeedMissed { .. }
            | What::Compared { .. }
            | What::Counted { .. }
            | What::Found { .. }
            | What::Gauge { .. }
            | What::Note { .. } => Self::Look,
        }
    }
}

/// A time as people compare times: seconds with as many decimals as it needs, three at least.
pub fn seconds(at: Micros) -> String {
    let (whole, micros) = (at.0 / 1_000_000, at.0 % 1_000_000);
    if micros % 1_000 == 0 {
        format!("{whole}.{:03}s", micros / 1_000)
    } else {
        format!("{whole}.{micros:06}s")
    }
}

/// A task's short name: its number is unique within its queue, its origin says nothing to people.
pub fn short(task: TaskName) -> String {
    format!("#{}", task.seq())
}

fn counted(counts: &Counts) -> String {
    let Counts {
        ready,
        delayed,
        leased,
        poison,
    } = counts;
    format!("ready {ready}, delayed {delayed}, leased {leased}, poison {poison}")
}

fn lease(task: TaskName, epoch: u32) -> String {
    format!("{} epoch {epoch}", short(task))
}

fn keyed(key: Option<&str>) -> String {
    key.map_or_else(String::new, |key| format!(" key {key}"))
}

/// What a record says, without its time and host.
pub fn of(record: &Record) -> String {
    match &record.what {
        What::Offered {
            op,
            bridge,
            route,
            key,
            ..
        } => format!("{op} → {bridge} {route}{}", keyed(key.as_deref())),
        What::Accepted {
            op,
            task,
            duplicate,
            ..
        } => {
            let known = if *duplicate { " (known)" } else { "" };
            format!("{op} accepted as {}{known}", short(*task))
        }
        What::Declined { op, why } => format!("{op} declined: {why}"),
        What::Unknown { op, why } => format!("{op} in doubt: {why}"),
        What::Operated { op, task, act } => format!("{op}: {act} {}", short(*task)),
        What::Opened { boot, counts, .. } => format!("open, boot {boot}: {}", counted(counts)),
        What::LeftEarlier { first, last } => {
            format!("endpoints are told that {first} to {last} have left in earlier lives")
        }
        What::Closed {} => "closed in order".to_owned(),
        What::JournalFailed { why } => format!("JOURNAL FAILED: {why}"),
        What::OpenRefused { why, .. } => format!("OPENING REFUSED: {why}"),
        What::FeedMissed { count } => format!("{count} events of the feed missed"),
        What::Counted { counts, .. } => counted(counts),
        What::Registered {
            task,
            epoch,
            number,
        } => {
            format!("{} registers compensation {number}", lease(*task, *epoch))
        }
        What::Compensated {
            task,
            epoch,
            number,
        } => {
            format!("{} compensation {number} ran", lease(*task, *epoch))
        }
        What::Attempted {
            task,
            epoch,
            success,
        } => {
            let how = if *success { "succeeded" } else { "failed" };
            format!("{} attempt {how}", lease(*task, *epoch))
        }
        What::Panicked {
            task,
            epoch,
            settled,
        } => {
            let how = if *settled { ", which ended it" } else { "" };
            format!("{} its holder panicked{how}", lease(*task, *epoch))
        }
        What::Up { boot, inbox } => format!("up, boot {boot}, inbox {inbox}"),
        What::Executing {
            task, epoch, send, ..
        } => {
            format!("{} send {send} executing", lease(*task, *epoch))
        }
        What::Executed {
            task,
            epoch,
            result,
            ..
        } => format!("{} {result}", lease(*task, *epoch)),
        What::RolledBack { task, epoch, send } => {
            format!(
                "{} send {send} never came, and is not to run",
                lease(*task, *epoch)
            )
        }
        What::Forgotten { task } => format!("{task} is not in the effect file any more"),
        What::Differed {
            task,
            epoch,
            send,
            inbox,
            reference,
        } => {
            let whose = lease(*task, *epoch);
            format!("{whose} send {send}: the inbox {inbox}, the reference {reference}")
        }
        What::Compared { decisions } => {
            format!("{decisions} decisions of the inbox compared with the reference")
        }
        What::Fed { .. }
        | What::Found { .. }
        | What::Fault { .. }
        | What::Healed { .. }
        | What::Struck { .. }
        | What::Died { .. }
        | What::Settling { .. }
        | What::Pending { .. }
        | What::Gauge { .. }
        | What::Note { .. } => rest(&record.what, &record.host),
    }
}

fn rest(what: &What, host: &HostName) -> String {
    match what {
        What::Fed {
            kind,
            task,
            epoch,
            route,
            end,
            ..
        } => {
            let whose = match (task, epoch) {
                (Some(task), Some(epoch)) => lease(*task, *epoch),
                (Some(task), None) => short(*task),
                _ => route.as_deref().unwrap_or_default().to_owned(),
            };
            let end = end.as_ref().map_or_else(String::new, |end| {
                let cause = end.cause.as_ref().map(|cause| format!(" ({cause})"));
                let charged = if end.charged { ", charged" } else { "" };
                match &*end.next {
                    "done" => String::new(),
                    next => format!(" → {next}{}{charged}", cause.unwrap_or_default()),
                }
            });
            format!("{whose} {kind}{end}")
        }
        What::Found {
            task, state, cause, ..
        } => {
            let cause = cause.as_ref().map(|cause| format!(" ({cause})"));
            format!(
                "at the end {} {state}{}",
                short(*task),
                cause.unwrap_or_default()
            )
        }
        What::Fault {
            fault: Some(id),
            text,
        } => format!("▼ {id}: {text}"),
        What::Fault { fault: None, text } => format!("▼ {text}"),
        What::Healed { fault, text } => format!("▲ {fault} over: {text}"),
        What::Struck { fault } => format!("{fault} struck"),
        What::Died { how } => format!("✝ {host} died: {how}"),
        What::Settling { bridge, endpoint } => {
            format!("the workload stops; {bridge} and {endpoint} must finish")
        }
        What::Pending { reasons } if reasons.is_empty() => "nothing is pending".to_owned(),
        What::Pending { reasons } => format!("PENDING: {}", reasons.join("; ")),
        What::Gauge { name, value, limit } => format!("{name} {value} of {limit}"),
        What::Note { text } => text.clone(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_tasks_are_short() {
        assert_eq!(seconds(Micros(12_031_000)), "12.031s");
        assert_eq!(seconds(Micros(17)), "0.000017s");
        let task = "42-00c0ffee00c0ffee".parse().expect("a task's name");
        assert_eq!(short(task), "#42");
    }
}
