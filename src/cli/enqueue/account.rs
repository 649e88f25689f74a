//! What became of each line, in numbers that add up.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use leasebridge::wire::v1;
use serde_json::json;

use super::feed::Batch;
use super::progress::EnqueueProgress;
use super::send::SendError;
use super::told::{LineEnd, LineFate};
use crate::cli::exit::{CommandFailure, CommandResult, Exit};
use crate::cli::{out, words};

/// Why the run ended.
#[derive(Debug)]
pub(crate) enum RunEnd {
    /// All of the input was handed over or refused.
    Complete,
    /// By a signal.
    Interrupted(Exit),
    /// The bridge stayed away or said that it is no use.
    Stopped(SendError),
    /// Nobody reads what is told of the lines any more.
    Untold,
    /// The input could not be read to its end.
    InputFailed(io::Error),
}

/// Numbers of lines. Each line that was read is in exactly one of them.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// New in the queue, durable.
    pub(crate) accepted: u64,
    /// In the queue since an earlier run or send, or executed since.
    pub(crate) already_there: u64,
    /// Known by its key, and what that stands for will never run; each reported.
    pub(crate) never_run: u64,
    /// Refused, each reported with its reason.
    pub(crate) refused: u64,
    /// Empty lines: no command stands in them.
    blank: u64,
    /// Read and never sent.
    not_sent: u64,
    /// Sent, and no answer, by the first line of each batch.
    unanswered: BTreeMap<u64, Unanswered>,
    /// Read and never sent, with their keys.
    kept_back: Vec<(u64, String)>,
    /// The last line that went out.
    last_sent: u64,
    /// The last line that was read.
    last_read: u64,
    /// How long the run took.
    pub(crate) took: Duration,
    /// Whether the same command run again adds only what is missing.
    resumes: bool,
}

/// A batch that went out and has not been answered.
#[derive(Debug)]
struct Unanswered {
    /// How many of its lines are commands, or were refused here.
    commands: u64,
    /// The numbers and the keys of its commands.
    keys: Vec<(u64, String)>,
}

fn keys_of(batch: &Batch) -> Vec<(u64, String)> {
    let keys = batch.requests.iter().map(|request| request.key.clone());
    batch.numbers.iter().copied().zip(keys).collect()
}

impl Account {
    /// An account of a run that has not begun.
    pub(crate) fn new(resumes: bool) -> Self {
        Self {
            resumes,
            ..Self::default()
        }
    }

    /// A batch goes out.
    pub(crate) fn sent(&mut self, batch: &Batch) {
        self.last_sent = batch.last;
        self.last_read = batch.last;
        self.blank += batch.blank;
        // Lines refused here wait with their batch, so that complaints come in the input's order.
        let waiting = (batch.requests.len() + batch.refused.len()) as u64;
        let unanswered = Unanswered {
            commands: waiting,
            keys: keys_of(batch),
        };
        self.unanswered.insert(batch.first, unanswered);
    }

    /// A batch was read and will not go out.
    pub(crate) fn never_sent(&mut self, batch: &Batch) {
        self.last_read = batch.last;
        self.blank += batch.blank;
        self.not_sent += (batch.requests.len() + batch.refused.len()) as u64;
        self.kept_back.extend(keys_of(batch));
    }

    /// The lines whose commands nobody has answered for, in order: those that may be in the queue, and those that were
    /// never sent. The same key again doubles none of them.
    pub(crate) fn unsettled(&self) -> Vec<LineEnd> {
        let unknown = self.unanswered.values().flat_map(|batch| &batch.keys);
        let unknown = unknown.map(|line| (line, LineFate::Unknown));
        let kept_back = self.kept_back.iter().map(|line| (line, LineFate::NotSent));
        let ends = unknown
            .chain(kept_back)
            .map(|((number, key), fate)| LineEnd {
                number: *number,
                fate,
                task: None,
                key: key.clone(),
            });
        let mut ends: Vec<_> = ends.collect();
        ends.sort_unstable_by_key(|end| end.number);
        ends
    }

    /// No connection ever came up, so that no line has left.
    pub(crate) fn nothing_left(&mut self) {
        self.not_sent += self.unanswered();
        for (_, batch) in std::mem::take(&mut self.unanswered) {
            self.kept_back.extend(batch.keys);
        }
        self.last_sent = 0;
    }

    /// A batch was answered. Returns how its lines ended, in order.
    pub(crate) fn settled(&mut self, batch: &Batch, replies: &[v1::EnqueueReply]) -> Vec<LineEnd> {
        self.unanswered.remove(&batch.first);
        let here = batch.refused.iter().map(|(number, why)| LineEnd {
            number: *number,
            fate: LineFate::Refused(why.clone()),
            task: None,
            key: String::new(),
        });
        let answered = batch.numbers.iter().zip(&batch.requests).zip(replies);
        let answered = answered.map(|((number, request), reply)| {
            let (fate, task) = fate_of(reply);
            LineEnd {
                number: *number,
                fate,
                task,
                key: request.key.clone(),
            }
        });
        let mut ends: Vec<_> = here.chain(answered).collect();
        ends.sort_unstable_by_key(|end| end.number);
        for end in &ends {
            *match end.fate {
                LineFate::Accepted => &mut self.accepted,
                LineFate::AlreadyThere => &mut self.already_there,
                LineFate::NeverRun(_) => &mut self.never_run,
                LineFate::Refused(_) => &mut self.refused,
                LineFate::Unknown | LineFate::NotSent => continue,
            } += 1;
        }
        ends
    }

    /// Lines whose fate is known.
    fn settled_lines(&self) -> u64 {
        self.accepted + self.already_there + self.never_run + self.refused
    }

    /// Paints the bar, `secs` after the start.
    pub(crate) fn show(&self, progress: &EnqueueProgress, taken: u64, secs: f64) {
        progress.advance(taken, self, self.settled_lines() as f64 / secs.max(0.001));
    }

    /// The last line up to which every line's fate is known.
    fn settled_through(&self) -> u64 {
        self.unanswered
            .keys()
            .next()
            .map_or(self.last_sent, |first| first - 1)
    }

    fn unanswered(&self) -> u64 {
        self.unanswered.values().map(|batch| batch.commands).sum()
    }

    /// Prints the account and says how the process ends.
    pub(crate) fn report(&self, ended: &RunEnd, as_json: bool, quiet: bool) -> CommandResult {
        let will_run = self.refused + self.never_run == 0;
        let clean = matches!(ended, RunEnd::Complete) && will_run;
        if !(quiet && clean) {
            out::complain(&self.in_words(ended));
        }
        if as_json {
            out::print_json(&self.as_json(ended))?;
        }
        match ended {
            RunEnd::Complete if !will_run => Ok(Exit::Partly),
            RunEnd::Complete => Ok(Exit::Done),
            RunEnd::Interrupted(exit) => Ok(*exit),
            RunEnd::Stopped(error) => Err(CommandFailure::new(error.exit(), error.to_string())),
            RunEnd::Untold => Err(CommandFailure::failed(
                "stdout is closed, and with it what is told of the lines: not all of the input was sent",
            )),
            RunEnd::InputFailed(error) => Err(CommandFailure::failed(format!(
                "the input can't be read behind line {}: {error}",
                self.last_read
            ))),
        }
    }

    fn in_words(&self, ended: &RunEnd) -> String {
        let lines = self.settled_lines();
        let secs = self.took.as_secs_f64().max(0.001);
        let mut text = format!(
            "{} {} in {}, {} lines/s",
            words::number(lines),
            if lines == 1 { "line" } else { "lines" },
            words::age(self.took),
            words::rate(lines as f64 / secs)
        );
        let mut count = |count: u64, always: bool, name: &str, why: &str| {
            if count > 0 || always {
                text.push_str(&format!("\n  {name:<14} {:>11}", words::number(count)));
                if !why.is_empty() {
                    text.push_str(&format!("  {why}"));
                }
            }
        };
        count(self.accepted, true, "accepted", "");
        count(
            self.already_there,
            false,
            "already there",
            "the bridge knows their keys: they wait or are done, nothing was added",
        );
        count(
            self.never_run,
            false,
            "never run",
            "their keys stand for what is in poison or was removed; each is reported above",
        );
        count(self.refused, false, "refused", "each is reported above");
        count(self.blank, false, "empty", "skipped");
        count(
            self.unanswered(),
            false,
            "unknown",
            "sent without an answer: they may be in the queue or not",
        );
        count(self.not_sent, false, "not sent", "read, never sent");
        if !matches!(ended, RunEnd::Complete) {
            text.push_str(&match self.settled_through() {
                0 if lines > 0 => "\nthe first line is not settled, and later ones are".to_owned(),
                0 => "\nno line is settled yet".to_owned(),
                1 => "\nline 1 is settled".to_owned(),
                last => format!("\nlines 1 to {last} are settled"),
            });
            text.push_str(match self.resumes {
                true => "; run the same command on the same input again for the rest, nothing is doubled",
                false => {
                    "; sent again they get other keys, and what is unknown may be doubled: --json tells each line's \
                     end and key, and --resume from the first run on makes keys that stay"
                }
            });
        }
        text
    }

    fn as_json(&self, ended: &RunEnd) -> serde_json::Value {
        json!({
            "ended": match ended {
                RunEnd::Complete => "complete",
                RunEnd::Interrupted(_) => "interrupted",
                RunEnd::Stopped(_) | RunEnd::Untold => "stopped",
                RunEnd::InputFailed(_) => "input failed",
            },
            "accepted": self.accepted,
            "already_there": self.already_there,
            "never_run": self.never_run,
            "refused": self.refused,
            "empty": self.blank,
            "unknown": self.unanswered(),
            "not_sent": self.not_sent,
            "lines_read": self.last_read,
            "settled_through": self.settled_through(),
            "took_ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

/// What an answer says of its line, and the task that it names.
fn fate_of(reply: &v1::EnqueueReply) -> (LineFate, Option<v1::TaskId>) {
    use v1::enqueue_reply::Result as Reply;
    match &reply.result {
        Some(Reply::Accepted(accepted)) => {
            let fate = match (accepted.duplicate, why_never(accepted)) {
                (false, _) => LineFate::Accepted,
                (true, None) => LineFate::AlreadyThere,
                (true, Some(why)) => LineFate::NeverRun(why),
            };
            (fate, accepted.task)
        }
        Some(Reply::Refused(refusal)) => (LineFate::Refused(words::safe(&refusal.message)), None),
        None => (
            LineFate::Refused("the bridge's answer is empty".into()),
            None,
        ),
    }
}

/// Why the command that a key stands for will never run, if that is so.
fn why_never(first: &v1::Accepted) -> Option<String> {
    let id = words::task(first.task.as_ref());
    match first.state() {
        v1::TaskState::Poison => Some(format!(
            "not enqueued: its key stands for {id}, which is in poison (`leasebridge poison requeue {id}` runs it)"
        )),
        v1::TaskState::Removed => Some(format!(
            "not enqueued: its key stands for {id}, which was removed from the queue and may have been \
             executed: give it another key"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(first: u64, numbers: &[u64], refused: &[u64], blank: u64) -> Batch {
        Batch {
            first,
            last: first + (numbers.len() + refused.len()) as u64 + blank - 1,
            blank,
            refused: refused
                .iter()
                .map(|number| (*number, "broken".into()))
                .collect(),
            numbers: numbers.to_vec(),
            requests: vec![v1::EnqueueRequest::default(); numbers.len()],
            ..Batch::default()
        }
    }

    fn accepted(duplicate: bool) -> v1::EnqueueReply {
        v1::EnqueueReply {
            result: Some(v1::enqueue_reply::Result::Accepted(v1::Accepted {
                duplicate,
                ..Default::default()
            })),
        }
    }

    fn refused() -> v1::EnqueueReply {
        v1::EnqueueReply {
            result: Some(v1::enqueue_reply::Result::Refused(v1::Refusal {
                message: "no such route".into(),
                ..Default::default()
            })),
        }
    }

    fn complaints(ends: &[LineEnd]) -> Vec<String> {
        ends.iter().filter_map(LineEnd::complaint).collect()
    }

    #[test]
    fn what_never_left_is_not_in_doubt() {
        let mut account = Account::new(false);
        account.sent(&batch(1, &[1, 2], &[3], 0));
        account.never_sent(&batch(4, &[4], &[], 0));
        account.nothing_left();
        assert_eq!((account.not_sent, account.unanswered()), (4, 0));
        assert_eq!(account.settled_through(), 0);
    }

    #[test]
    fn every_line_is_in_exactly_one_number() {
        let mut account = Account {
            took: Duration::from_millis(2_500),
            ..Account::new(true)
        };
        let batches = [
            batch(1, &[1, 3, 5], &[2], 1),
            batch(6, &[6], &[], 0),
            batch(7, &[7, 8], &[9], 0),
        ];
        for batch in &batches {
            account.sent(batch);
        }
        assert_eq!(account.settled_through(), 0);
        let replies = [accepted(false), refused(), accepted(true)];
        let ends = account.settled(&batches[0], &replies);
        assert_eq!(
            complaints(&ends),
            ["line 2: refused: broken", "line 3: refused: no such route"]
        );
        assert_eq!(account.settled_through(), 5);
        account.settled(&batches[1], &[accepted(false)]);
        account.never_sent(&batch(10, &[10, 11], &[], 0));
        let interrupted = RunEnd::Interrupted(Exit::Interrupted);
        insta::assert_snapshot!(account.in_words(&interrupted));
        insta::assert_snapshot!(account.as_json(&interrupted));
        assert_eq!(
            account.report(&interrupted, false, true).unwrap(),
            Exit::Interrupted
        );
        account.settled(&batches[2], &[accepted(false), accepted(false)]);
        assert_eq!(account.settled_through(), 9);
        let fates = account.accepted
            + account.already_there
            + account.refused
            + account.blank
            + account.unanswered()
            + account.not_sent;
        assert_eq!(fates, account.last_read);
    }

    #[test]
    fn the_exit_code_tells_whether_lines_were_refused() {
        let mut account = Account::default();
        assert_eq!(
            account.report(&RunEnd::Complete, false, true).unwrap(),
            Exit::Done
        );
        account.refused = 1;
        assert_eq!(
            account.report(&RunEnd::Complete, false, true).unwrap(),
            Exit::Partly
        );
    }

    #[test]
    fn a_key_of_what_never_runs_is_no_success() {
        use v1::TaskState::{Delayed, Done, Leased, Poison, Ready, Removed};
        let states = [Ready, Delayed, Leased, Done, Poison, Removed];
        let batch = batch(1, &[1, 2, 3, 4, 5, 6], &[], 0);
        let mut account = Account::default();
        account.sent(&batch);
        let replies = states.map(|state| v1::EnqueueReply {
            result: Some(v1::enqueue_reply::Result::Accepted(v1::Accepted {
                task: Some(v1::TaskId {
                    seq: 42,
                    origin: 0xc0ffee,
                }),
                duplicate: true,
                state: state.into(),
            })),
        });
        let told = account.settled(&batch, &replies);
        assert_eq!((account.already_there, account.never_run), (4, 2));
        insta::assert_snapshot!(complaints(&told).join("\n"));
        assert_eq!(
            account.report(&RunEnd::Complete, false, true).unwrap(),
            Exit::Partly
        );
    }
}
