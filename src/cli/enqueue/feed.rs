//! From lines to batches to answers: one thread reads, a bounded window of batches is in flight.
//!
//! The reader never waits for a full batch: when the input has nothing more at hand, what there is goes
//! out, so that `tail -f | leasebridge enqueue` hands each line over at once.
//!
//! Memory is bounded by the batches in the channel and in the window, each of [`BATCH_BYTES`] or one
//! command of the largest size.
#![expect(
    clippy::disallowed_types,
    reason = "reading the program's own input needs a thread of its own"
)]

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use leasebridge::env::Clock;
use leasebridge::wire::v1;
use tokio::sync::mpsc;

use super::account::{Account, RunEnd};
use super::input::{Lines, Opened, Read1};
use super::line::LineRules;
use super::progress::EnqueueProgress;
use super::send::{SendError, Sender};
use super::told::Telling;
use crate::cli::exit::CommandFailure;
use crate::cli::signals::Signals;

/// Bytes of bodies after which a batch is full: enough to make a round trip worth its while, and small
/// against the largest message.
const BATCH_BYTES: usize = 1 << 20;

/// Batches that are read ahead of the window.
const CHUNKS_AHEAD: usize = 2;

/// How long an interrupted run waits for the answers to what is in flight: whoever pressed Ctrl-C waits as well.
const GRACE: Duration = Duration::from_millis(700);

/// Some lines of the input, in order.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Number of the first and last line.
    pub(crate) first: u64,
    /// Number of the last line, which belongs to the batch.
    pub(crate) last: u64,
    /// Bytes the lines took in the input.
    pub(crate) taken: u64,
    /// Empty lines among them.
    pub(crate) blank: u64,
    /// Lines that were refused here, with the reason.
    pub(crate) refused: Vec<(u64, String)>,
    /// Line numbers of `requests`.
    pub(crate) numbers: Vec<u64>,
    /// What goes to the bridge.
    pub(crate) requests: Vec<v1::EnqueueRequest>,
}

/// A batch, or why the input ended early.
pub(crate) type Chunk = Result<Batch, std::io::Error>;

/// Starts the reader.
///
/// # Errors
/// When no thread can be started.
pub(crate) fn read(
    opened: Opened,
    rules: LineRules,
    batch_lines: usize,
) -> Result<mpsc::Receiver<Chunk>, CommandFailure> {
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    std::thread::Builder::new()
        .name("input".into())
        .spawn(move || {
            let mut reader = Reader {
                lines: Lines::new(opened.reader),
                rules,
                batch_lines,
                number: 0,
                carried: None,
            };
            while let Some(chunk) = reader.chunk().transpose() {
                let failed = chunk.is_err();
                // A closed channel says that nobody wants more.
                if sender.blocking_send(chunk).is_err() || failed {
                    return;
                }
            }
        })
        .map_err(|error| CommandFailure::failed(format!("no thread for the input: {error}")))?;
    Ok(receiver)
}

struct Reader {
    lines: Lines,
    rules: LineRules,
    batch_lines: usize,
    number: u64,
    /// A line that no longer fitted into the last batch.
    carried: Option<(v1::EnqueueRequest, u64)>,
}

impl Reader {
    /// The next batch; nothing at the end of the input.
    fn chunk(&mut self) -> std::io::Result<Option<Batch>> {
        let mut batch = Batch {
            first: self.number + 1,
            ..Batch::default()
        };
        let mut bytes = 0;
        if let Some((request, taken)) = self.carried.take() {
            batch.first = self.number;
            bytes = request.body.len();
            batch.push(self.number, request, taken);
        }
        while batch.requests.len() < self.batch_lines
            && bytes < BATCH_BYTES
            && batch.refused.len() + batch.requests.len() < self.batch_lines
        {
            let something = batch.last > 0;
            if something && !self.lines.at_hand() {
                break;
            }
            let (result, taken) = match self.lines.next()? {
                Read1::End => break,
                Read1::Line(line, taken) => {
                    self.number += 1;
                    (self.rules.request(self.number, line), taken)
                }
                Read1::TooLong(taken) => {
                    self.number += 1;
                    (Err(self.rules.too_long(taken)), taken)
                }
            };
            match result {
                Ok(Some(request)) => {
                    if something && bytes + request.body.len() > BATCH_BYTES {
                        self.carried = Some((request, taken));
                        batch.last = self.number - 1;
                        return Ok(Some(batch));
                    }
                    bytes += request.body.len();
                    batch.push(self.number, request, taken);
                }
                Ok(None) => {
                    batch.blank += 1;
                    batch.taken += taken;
                    batch.last = self.number;
                }
                Err(why) => {
                    batch.refused.push((self.number, why));
                    batch.taken += taken;
                    batch.last = self.number;
                }
            }
        }
        Ok((batch.last > 0).then_some(batch))
    }
}

impl Batch {
    fn push(&mut self, number: u64, request: v1::EnqueueRequest, taken: u64) {
        self.numbers.push(number);
        self.requests.push(request);
        self.taken += taken;
        self.last = number;
    }
}

/// Sends batches and keeps account.
pub(crate) struct Feed {
    /// What the reader makes.
    pub(crate) chunks: mpsc::Receiver<Chunk>,
    /// Batches in flight at most.
    pub(crate) window: usize,
    /// Sends one batch and hears what became of it.
    pub(crate) sender: Sender,
    /// Tells how lines ended.
    pub(crate) telling: Telling,
    /// For the grace of an interrupted run, and the rate.
    pub(crate) clock: Arc<dyn Clock>,
}

impl Feed {
    /// Sends everything, until the input ends, the bridge stays away or a signal comes. What became of
    /// each line is in `account` afterwards.
    pub(crate) async fn run(
        mut self,
        account: &mut Account,
        signals: &mut Signals,
        progress: &EnqueueProgress,
    ) -> RunEnd {
        let started = self.clock.now();
        let mut in_flight = FuturesUnordered::new();
        let mut reading = true;
        let mut ended = RunEnd::Complete;
        while reading || !in_flight.is_empty() {
            tokio::select! {
                biased;
                signal = signals.next() => {
                    ended = RunEnd::Interrupted(signal);
                    break;
                }
                Some(answer) = in_flight.next(), if !in_flight.is_empty() => {
                    let (batch, result): (Batch, _) = answer;
                    let taken = batch.taken;
                    if let Err(why) = self.settle(account, progress, batch, result) {
                        ended = why;
                        break;
                    }
                    let secs = self.clock.now().saturating_since(started).as_secs_f64();
                    account.show(progress, taken, secs);
                }
                chunk = self.chunks.recv(), if reading && in_flight.len() < self.window => {
                    match chunk {
                        None => reading = false,
                        Some(Ok(batch)) => {
                            account.sent(&batch);
                            in_flight.push(self.sender.send(batch));
                        }
                        Some(Err(error)) => {
                            ended = RunEnd::InputFailed(error);
                            reading = false;
                        }
                    }
                }
            }
        }
        if !matches!(ended, RunEnd::Complete | RunEnd::InputFailed(_)) {
            if matches!(ended, RunEnd::Interrupted(_)) {
                progress.waits_for("interrupted; waiting for the last answers");
            }
            let deadline = self.clock.sleep(GRACE);
            tokio::pin!(deadline);
            // Answers that have arrived are counted even when nobody waits for the others.
            while !in_flight.is_empty() {
                tokio::select! {
                    biased;
                    Some((batch, result)) = in_flight.next() => {
                        if self.settle(account, progress, batch, result).is_err() {
                            break;
                        }
                    }
                    _ = signals.next() => break,
                    () = &mut deadline => break,
                }
            }
            self.chunks.close();
            while let Ok(Ok(batch)) = self.chunks.try_recv() {
                account.never_sent(&batch);
            }
        }
        ended
    }

    fn settle(
        &mut self,
        account: &mut Account,
        progress: &EnqueueProgress,
        batch: Batch,
        result: Result<Vec<v1::EnqueueReply>, SendError>,
    ) -> Result<(), RunEnd> {
        let replies = result.map_err(RunEnd::Stopped)?;
        let ends = account.settled(&batch, &replies);
        let told = self.telling.tell(&ends, progress);
        told.map_err(|_closed| RunEnd::Untold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_takes_what_is_at_hand_and_no_more_than_it_may() {
        let text: &'static [u8] = b"1\n2\n\n3\n4\n5";
        let mut reader = reader(text, 3);
        let numbers = |batch: Batch| (batch.first, batch.last, batch.numbers, batch.blank);
        assert_eq!(
            numbers(reader.chunk().unwrap().unwrap()),
            (1, 4, vec![1, 2, 4], 1)
        );
        // The last line has no end yet: what is whole goes out first.
        assert_eq!(
            numbers(reader.chunk().unwrap().unwrap()),
            (5, 5, vec![5], 0)
        );
        assert_eq!(
            numbers(reader.chunk().unwrap().unwrap()),
            (6, 6, vec![6], 0)
        );
        assert!(reader.chunk().unwrap().is_none());
    }

    #[test]
    fn a_batch_is_full_by_bytes_too_and_no_line_is_lost_between_two() {
        let mut text = Vec::new();
        for size in [10, BATCH_BYTES - 5, 10, BATCH_BYTES + 1, 1] {
            text.extend(std::iter::repeat_n(b'x', size));
            text.push(b'\n');
        }
        let mut reader = reader(text.leak(), 100);
        let mut seen = Vec::new();
        while let Some(batch) = reader.chunk().unwrap() {
            assert_eq!(batch.first, seen.last().map_or(1, |last| last + 1));
            seen.extend(&batch.numbers);
            assert_eq!(Some(&batch.last), seen.last());
        }
        assert_eq!(seen, [1, 2, 3, 4, 5]);
    }

    fn reader(text: &'static [u8], batch_lines: usize) -> Reader {
        Reader {
            lines: Lines::new(Box::new(text)),
            rules: LineRules::plain("test"),
            batch_lines,
            number: 0,
            carried: None,
        }
    }
}
