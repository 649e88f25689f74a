//! Sends one batch until the bridge has answered for each of its lines.
//!
//! Each line has a key, so sending a batch again whose answer stayed out doubles nothing. A full queue
//! is waited out; a bridge that is away is tried again with backoff until patience ends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leasebridge::env::{Env, Mono, timeout};
use leasebridge::wire::v1;
use leasebridge::wire::v1::ingest_client::IngestClient;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::feed::Batch;
use super::progress::EnqueueProgress;
use crate::cli::client::root_cause;
use crate::cli::exit::Exit;
use crate::cli::history::{HistoryLost, Teller};
use crate::cli::words;

/// How long one answer may take before the batch is sent again. A sync of a slow disk takes seconds at
/// most; this is far above.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// First and last pause before a bridge that is away is tried again.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(3);

/// How long a bridge has to be away or full before it is said: a restart is quicker.
const TELL_AFTER: Duration = Duration::from_secs(2);

/// How long a full queue is left alone when it doesn't say.
const FULL_PAUSE: Duration = Duration::from_millis(500);

/// The longest a full queue is left alone, whatever it says.
const FULL_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Why a batch was given up. Its lines may be in the queue or not.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// No answer for longer than patience lasts.
    #[error(
        "the bridge at {address} has not answered for {} ({why}); is `leasebridge run` up?",
        words::age(*waited)
    )]
    Away {
        /// Where it should be.
        address: String,
        /// Since its last answer, or the start.
        waited: Duration,
        /// What the last try met.
        why: String,
    },
    /// An answer that makes trying again useless.
    #[error("the bridge at {address} answered: {why}")]
    Useless {
        /// Where it is.
        address: String,
        /// What it said.
        why: String,
    },
    /// Nobody would know of what is sent from here on.
    #[error(transparent)]
    History(#[from] HistoryLost),
}

impl SendError {
    /// The exit code it stands for.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Away { .. } => Exit::Unreachable,
            Self::Useless { .. } | Self::History(_) => Exit::Failed,
        }
    }
}

/// Sends batches; clones share what they learn about the bridge.
#[derive(Clone)]
pub(crate) struct Sender {
    shared: Arc<SenderShared>,
    client: IngestClient<Channel>,
    teller: Teller,
}

struct SenderShared {
    env: Env,
    address: String,
    patience: Duration,
    progress: EnqueueProgress,
    seen: Mutex<Seen>,
}

/// What is known about the bridge.
struct Seen {
    /// Its last answer, or the start.
    answered: Mono,
    /// It is full: nothing goes out before.
    rests_until: Mono,
    /// The person at the keyboard was told that it is away.
    away_told: bool,
    /// Since when every answer says that it is full.
    full_since: Option<Mono>,
    /// The person at the keyboard was told that it is full, and why.
    full_told: bool,
}

/// What one try came to.
enum BatchTry {
    Answered(Vec<v1::EnqueueReply>),
    Full(Duration, String),
    TooMany(String),
    Unanswered(String),
    Useless(String),
}

impl Sender {
    /// A sender over `channel`, which leads to `address`.
    pub(crate) fn new(
        env: Env,
        channel: Channel,
        address: String,
        patience: Duration,
        progress: EnqueueProgress,
    ) -> Self {
        let seen = Seen {
            answered: env.clock.now(),
            rests_until: env.clock.now(),
            away_told: false,
            full_since: None,
            full_told: false,
        };
        Self {
            shared: Arc::new(SenderShared {
                env,
                address,
                patience,
                progress,
                seen: Mutex::new(seen),
            }),
            client: IngestClient::new(channel),
            teller: Teller(None),
        }
    }

    /// The same, with a history that is told of every send and its answer.
    pub(crate) fn told_to(self, teller: Teller) -> Self {
        Self { teller, ..self }
    }

    /// Sends `batch` until it is answered in full. The replies are those of its requests, in order.
    ///
    /// Dropping it leaves the batch's fate unknown; sending it again is safe.
    pub(crate) fn send(
        &self,
        batch: Batch,
    ) -> impl Future<Output = (Batch, Result<Vec<v1::EnqueueReply>, SendError>)> + Send + use<>
    {
        let sender = self.clone();
        async move {
            let result = sender.answers(&batch.requests).await;
            (batch, result)
        }
    }

    async fn answers(
        &self,
        requests: &[v1::EnqueueRequest],
    ) -> Result<Vec<v1::EnqueueReply>, SendError> {
        let mut replies: Vec<Option<v1::EnqueueReply>> = vec![None; requests.len()];
        let mut tries: u32 = 0;
        let mut piece = requests.len();
        loop {
            let open: Vec<usize> = (0..requests.len())
                .filter(|at| replies[*at].is_none())
                .take(piece)
                .collect();
            if open.is_empty() {
                return Ok(replies.into_iter().flatten().collect());
            }
            self.wait_while_full().await;
            let commands: Vec<_> = open.iter().map(|at| requests[*at].clone()).collect();
            match self.try_and_tell(commands).await? {
                BatchTry::Answered(answers) => {
                    tries = 0;
                    piece = piece.saturating_mul(2);
                    let mut full = None;
                    for (at, answer) in open.into_iter().zip(answers) {
                        match come_again(&answer) {
                            Some(again) => full = full.max(Some(again)),
                            None => replies[at] = Some(answer),
                        }
                    }
                    self.answered(full.as_ref().map(|(pause, why)| (*pause, why.as_str())));
                }
                BatchTry::Full(pause, why) => {
                    // Half of it may find room, and a queue smaller than a batch never has room for all.
                    piece = (piece.min(requests.len()) / 2).max(1);
                    self.answered(Some((pause, &why)));
                }
                // Fewer at once have a chance, and need not wait for it.
                BatchTry::TooMany(_) if open.len() > 1 => piece = open.len() / 2,
                BatchTry::TooMany(why) | BatchTry::Useless(why) => {
                    return Err(SendError::Useless {
                        address: self.shared.address.clone(),
                        why,
                    });
                }
                BatchTry::Unanswered(why) => self.away(&mut tries, why).await?,
            }
        }
    }

    /// One try, with a word before it and one after.
    async fn try_and_tell(&self, commands: Vec<v1::EnqueueRequest>) -> Result<BatchTry, SendError> {
        let teller = &self.teller;
        teller.offered(&commands).await?;
        // What is sent is gone then; without a history nobody asks for it again.
        let told = teller.keep(&commands);
        let tried = self.try_once(commands).await;
        match &tried {
            BatchTry::Answered(replies) => teller.answered(&told, replies).await?,
            BatchTry::Full(..) | BatchTry::TooMany(_) => teller.turned_away(&told).await?,
            BatchTry::Unanswered(why) | BatchTry::Useless(why) => {
                teller.unanswered(&told, why).await?
            }
        }
        Ok(tried)
    }

    async fn try_once(&self, commands: Vec<v1::EnqueueRequest>) -> BatchTry {
        let count = commands.len();
        let mut client = self.client.clone();
        let request = client.enqueue_batch(v1::EnqueueBatchRequest { commands });
        match timeout(&*self.shared.env.clock, ANSWER_TIMEOUT, request).await {
            Err(elapsed) => BatchTry::Unanswered(elapsed.to_string()),
            Ok(Err(status)) => classify(&status),
            Ok(Ok(response)) => {
                let replies = response.into_inner().replies;
                if replies.len() == count {
                    BatchTry::Answered(replies)
                } else {
                    BatchTry::Useless(format!(
                        "{} answers to {count} commands; is it a bridge?",
                        replies.len()
                    ))
                }
            }
        }
    }

    /// The bridge lives. If it is full, it wants to be left alone for a while, and says why.
    fn answered(&self, full: Option<(Duration, &str)>) {
        let now = self.shared.env.clock.now();
        let mut seen = self.seen();
        seen.answered = now;
        if std::mem::take(&mut seen.away_told) {
            self.shared.progress.complain("the bridge answers again");
        }
        let Some((pause, why)) = full else {
            seen.full_since = None;
            drop(seen);
            self.shared.progress.waits_for("");
            return;
        };
        seen.rests_until = seen.rests_until.max(now + pause.min(FULL_PAUSE_MAX));
        let since = *seen.full_since.get_or_insert(now);
        let waited = now.saturating_since(since);
        // Said once: a slow endpoint fills the queue again and again.
        if waited >= TELL_AFTER && !std::mem::replace(&mut seen.full_told, true) {
            self.shared.progress.complain(&format!(
                "the bridge at {} says: {}; this goes on by itself when there is room",
                self.shared.address,
                words::safe(why)
            ));
        }
    }

    async fn wait_while_full(&self) {
        loop {
            let until = self.seen().rests_until;
            if self.shared.env.clock.now() >= until {
                return;
            }
            self.shared.progress.waits_for("the queue is full");
            self.shared.env.clock.sleep_until(until).await;
        }
    }

    /// No answer: waits before the next try, or gives up.
    async fn away(&self, tries: &mut u32, why: String) -> Result<(), SendError> {
        let clock = &self.shared.env.clock;
        let waited = clock.now().saturating_since(self.seen().answered);
        if waited >= self.shared.patience {
            return Err(SendError::Away {
                address: self.shared.address.clone(),
                waited,
                why,
            });
        }
        self.shared
            .progress
            .waits_for(&format!("the bridge is away for {}", words::age(waited)));
        if waited >= TELL_AFTER && !std::mem::replace(&mut self.seen().away_told, true) {
            self.shared.progress.complain(&format!(
                "the bridge at {} does not answer ({why}); trying again for up to {}",
                self.shared.address,
                words::age(self.shared.patience)
            ));
        }
        let ceiling = BACKOFF_MIN
            .saturating_mul(1_u32 << (*tries).min(10))
            .min(BACKOFF_MAX);
        *tries = tries.saturating_add(1);
        // Half of the pause is fixed, so that a bridge that is coming up is not hammered.
        let half = ceiling / 2;
        let half_ms = u64::try_from(half.as_millis()).unwrap_or(u64::MAX);
        let jitter = Duration::from_millis(self.shared.env.entropy.below(half_ms + 1));
        let left = self.shared.patience.saturating_sub(waited);
        clock.sleep((half + jitter).min(left)).await;
        Ok(())
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.shared
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a refusal only says "not now", for how long, and why.
fn come_again(answer: &v1::EnqueueReply) -> Option<(Duration, String)> {
    use v1::refusal::Reason;
    let Some(v1::enqueue_reply::Result::Refused(refusal)) = &answer.result else {
        return None;
    };
    match refusal.reason() {
        Reason::QueueFull | Reason::Closing => {
            let pause = match refusal.retry_after_ms {
                0 => FULL_PAUSE,
                ms => Duration::from_millis(ms),
            };
            Some((pause, refusal.message.clone()))
        }
        _ => None,
    }
}

/// What a failed call means for the batch.
fn classify(status: &Status) -> BatchTry {
    match status.code() {
        Code::ResourceExhausted => {
            let pause = status
                .metadata()
                .get("retry-after-ms")
                .and_then(|value| value.to_str().ok())
                .and_then(|value| value.parse().ok())
                .map_or(FULL_PAUSE, Duration::from_millis);
            BatchTry::Full(pause, status.message().to_owned())
        }
        Code::OutOfRange => BatchTry::TooMany(words::safe(status.message())),
        Code::InvalidArgument
        | Code::Unimplemented
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition => BatchTry::Useless(words::safe(status.message())),
        // Whatever else it is, the batch may be in the queue or not, and the bridge may come back.
        _ => BatchTry::Unanswered(root_cause(status)),
    }
}
