//! What became of each line, in numbers that add up.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use leasebridge::wire::v1;
use serde_json::json;

use super::feed::Batch;
use super::progress::EnqueueProgress;
use super::send::SendError;
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
    /// The input could not be read to its end.
    InputFailed(io::Error),
}

/// Numbers of lines. Each line that was read is in exactly one of them.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// New in the queue, durable.
    pub(crate) accepted: u64,
    /// In the queue since an earlier run or send.
    pub(crate) already_there: u64,
    /// Refused, each reported with its reason.
    pub(crate) refused: u64,
    /// Empty lines: no command stands in them.
    blank: u64,
    /// Read and never sent.
    not_sent: u64,
    /// Sent, and no answer: first line to (last line, number of commands).
    unanswered: BTreeMap<u64, (u64, u64)>,
    /// The last line that went out.
    last_sent: u64,
    /// The last line that was read.
    last_read: u64,
    /// How long the run took.
    pub(crate) took: Duration,
}

impl Account {
    /// A batch goes out.
    pub(crate) fn sent(&mut self, batch: &Batch) {
        self.last_sent = batch.last;
        self.last_read = batch.last;
        self.blank += batch.blank;
        // Lines refused here wait with their batch, so that complaints come in the input's order.
        let waiting = (batch.requests.len() + batch.refused.len()) as u64;
        self.unanswered.insert(batch.first, (batch.last, waiting));
    }

    /// A batch was read and will not go out.
    pub(crate) fn never_sent(&mut self, batch: &Batch) {
        self.last_read = batch.last;
        self.blank += batch.blank;
        self.not_sent += (batch.requests.len() + batch.refused.len()) as u64;
    }

    /// A batch was answered. Returns the refused lines with their reasons, in order.
    pub(crate) fn settled(
        &mut self,
        batch: &Batch,
        replies: &[v1::EnqueueReply],
    ) -> Vec<(u64, String)> {
        use v1::enqueue_reply::Result as Reply;
        self.unanswered.remove(&batch.first);
        let mut refused = batch.refused.clone();
        for (number, reply) in batch.numbers.iter().zip(replies) {
            match &reply.result {
                Some(Reply::Accepted(accepted)) if accepted.duplicate => self.already_there += 1,
                Some(Reply::Accepted(_)) => self.accepted += 1,
                Some(Reply::Refused(refusal)) => {
                    refused.push((*number, words::safe(&refusal.message)));
                }
                None => refused.push((*number, "the bridge's answer is empty".into())),
            }
        }
        self.refused += refused.len() as u64;
        refused.sort_unstable_by_key(|(number, _)| *number);
        refused
    }

    /// Paints the bar, `secs` after the start.
    pub(crate) fn show(&self, progress: &EnqueueProgress, taken: u64, secs: f64) {
        let settled = self.accepted + self.already_there + self.refused;
        progress.advance(taken, self, settled as f64 / secs.max(0.001));
    }

    /// The last line up to which every line's fate is known.
    fn settled_through(&self) -> u64 {
        self.unanswered
            .keys()
            .next()
            .map_or(self.last_sent, |first| first - 1)
    }

    fn unanswered(&self) -> u64 {
        self.unanswered.values().map(|(_, lines)| lines).sum()
    }

    /// Prints the account and says how the process ends.
    pub(crate) fn report(&self, ended: &RunEnd, as_json: bool, quiet: bool) -> CommandResult {
        let clean = matches!(ended, RunEnd::Complete) && self.refused == 0;
        if !(quiet && clean) {
            out::complain(&self.in_words(ended));
        }
        if as_json {
            out::print_json(&self.as_json(ended))?;
        }
        match ended {
            RunEnd::Complete if self.refused > 0 => Ok(Exit::Partly),
            RunEnd::Complete => Ok(Exit::Done),
            RunEnd::Interrupted(exit) => Ok(*exit),
            RunEnd::Stopped(error) => Err(CommandFailure::new(error.exit(), error.to_string())),
            RunEnd::InputFailed(error) => Err(CommandFailure::failed(format!(
                "the input can't be read behind line {}: {error}",
                self.last_read
            ))),
        }
    }

    fn in_words(&self, ended: &RunEnd) -> String {
        let lines = self.accepted + self.already_there + self.refused;
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
            "the bridge knows their keys, nothing was added; --source makes it another input",
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
                0 => "\nno line is settled yet".to_owned(),
                1 => "\nline 1 is settled".to_owned(),
                last => format!("\nlines 1 to {last} are settled"),
            });
            text.push_str(
                "; run the same command on the same input again for the rest, nothing is doubled",
            );
        }
        text
    }

    fn as_json(&self, ended: &RunEnd) -> serde_json::Value {
        json!({
            "ended": match ended {
                RunEnd::Complete => "complete",
                RunEnd::Interrupted(_) => "interrupted",
                RunEnd::Stopped(_) => "stopped",
                RunEnd::InputFailed(_) => "input failed",
            },
            "accepted": self.accepted,
            "already_there": self.already_there,
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

    #[test]
    fn every_line_is_in_exactly_one_number() {
        let mut account = Account {
            took: Duration::from_millis(2_500),
            ..Account::default()
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
        assert_eq!(
            account.settled(&batches[0], &replies),
            [(2, "broken".to_owned()), (3, "no such route".to_owned())]
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
}
