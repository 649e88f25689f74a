//! Ingest: commands from producers into the queue.
//!
//! Each command is accepted or refused by itself. If the queue is full, closing or broken, the whole request
//! gets one error status, and nothing of it was kept unless the status says that this is in doubt.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status, Streaming};

use super::convert;
use super::{Phase, ServerOptions};
use crate::coverage::{Site, reached};
use crate::env::Wall;
use crate::queue::{
    Command, DEFAULT_ROUTE, EnqueueError, Enqueued, KEY_BYTES_MAX, SafeTaskQueue, TaskOptions,
};
use crate::watched::{TaskEnd, watched};
use crate::wire::v1;
use crate::wire::v1::ingest_server::Ingest;

/// Commands of a stream that share one sync, if they are there.
pub(super) const STREAM_CHUNK_COMMANDS: usize = 512;

/// Bytes of their bodies together; the last one may be larger.
const STREAM_CHUNK_BYTES: usize = 1 << 20;

/// Replies of a stream that may wait for a slow reader before no more is read from it.
pub(super) const STREAM_REPLIES_MAX: usize = 1_024;

/// Bytes of a command's headers, names and values together: half of what a frame has room for beside
/// the body.
pub(super) const HEADERS_BYTES_MAX: usize = 32 << 10;

/// Headers of one command.
pub(super) const HEADERS_MAX: usize = 128;

/// Route names listed when an unknown one is refused.
const ROUTES_NAMED_MAX: usize = 10;

/// Bytes of a refusal's text: it may name what a producer made up, and the replies to a batch must together stay below
/// the 4 MiB that gRPC libraries accept by default.
pub(super) const MESSAGE_BYTES_MAX: usize = 400;

/// The metadata that says when to come again, in milliseconds.
const RETRY_AFTER: &str = "retry-after-ms";

#[derive(Clone)]
pub(super) struct IngestService {
    queue: SafeTaskQueue<Command>,
    options: ServerOptions,
}

/// Commands in order, each ready for the queue or refused.
type Checked = Vec<Result<(Command, TaskOptions), v1::Refusal>>;

impl IngestService {
    pub(super) fn new(queue: SafeTaskQueue<Command>, options: ServerOptions) -> Self {
        Self { queue, options }
    }

    /// Takes all or nothing, save for commands that are refused by themselves.
    async fn take(
        &self,
        commands: Vec<v1::EnqueueRequest>,
    ) -> Result<Vec<v1::EnqueueReply>, Status> {
        self.refuse_while_draining()?;
        let checked: Checked = commands.into_iter().map(|one| self.check(one)).collect();
        self.hand_over(&checked)
            .await
            .map_err(|error| refused_all(&error))
    }

    /// As [`IngestService::take`], but waits for room, in smaller pieces if need be.
    async fn take_patiently(
        &self,
        commands: Vec<v1::EnqueueRequest>,
    ) -> Result<Vec<v1::EnqueueReply>, Status> {
        let checked: Checked = commands.into_iter().map(|one| self.check(one)).collect();
        let mut replies = Vec::with_capacity(checked.len());
        let mut piece = checked.len();
        while replies.len() < checked.len() {
            self.refuse_while_draining()?;
            let end = checked.len().min(replies.len().saturating_add(piece));
            match self.hand_over(&checked[replies.len()..end]).await {
                Ok(more) => {
                    replies.extend(more);
                    piece = piece.saturating_mul(2);
                }
                Err(
                    EnqueueError::Full { retry_after, .. }
                    | EnqueueError::RouteFull { retry_after, .. },
                ) => {
                    reached!(Site::IngestWaited);
                    // A piece larger than the whole queue would wait for ever.
                    piece = (piece.min(checked.len()) / 2).max(1);
                    self.queue.env().clock.sleep(retry_after).await;
                }
                Err(EnqueueError::BatchTooLarge { .. }) => {
                    piece = (piece.min(checked.len()) / 2).max(1);
                }
                Err(error) => return Err(refused_all(&error)),
            }
        }
        Ok(replies)
    }

    async fn hand_over(
        &self,
        checked: &[Result<(Command, TaskOptions), v1::Refusal>],
    ) -> Result<Vec<v1::EnqueueReply>, EnqueueError> {
        let good = checked.iter().filter_map(|one| one.as_ref().ok()).cloned();
        let mut answers = self.queue.enqueue_batch(good).await?.into_iter();
        let reply = |one: &Result<_, v1::Refusal>| match one {
            Ok(_) => answer(answers.next().expect("one answer for each command")),
            Err(refusal) => v1::enqueue_reply::Result::Refused(refusal.clone()),
        };
        let wrap = |result| v1::EnqueueReply {
            result: Some(result),
        };
        Ok(checked.iter().map(reply).map(wrap).collect())
    }

    /// What can be said without the queue.
    fn check(&self, request: v1::EnqueueRequest) -> Result<(Command, TaskOptions), v1::Refusal> {
        use v1::refusal::Reason;
        let v1::EnqueueRequest {
            route,
            body,
            headers,
            key,
            deadline_unix_ms,
        } = request;
        let route = if route.is_empty() {
            DEFAULT_ROUTE.to_owned()
        } else {
            route
        };
        let Some(body_bytes_max) = self.options.routes.get(&route) else {
            return Err(refusal(Reason::UnknownRoute, self.no_route(&route)));
        };
        if body.len() > *body_bytes_max as usize {
            let message = format!(
                "the body has {} bytes, route `{route}` takes at most {body_bytes_max}",
                body.len()
            );
            return Err(refusal(Reason::BodyTooLarge, message));
        }
        let header_bytes: usize = headers
            .iter()
            .map(|header| header.name.len().saturating_add(header.value.len()))
            .fold(0, usize::saturating_add);
        if headers.len() > HEADERS_MAX || header_bytes > HEADERS_BYTES_MAX {
            let message = format!(
                "{} headers of {header_bytes} bytes, at most {HEADERS_MAX} of {HEADERS_BYTES_MAX} \
                 bytes together are allowed",
                headers.len()
            );
            return Err(refusal(Reason::HeadersTooLarge, message));
        }
        if key.len() > KEY_BYTES_MAX {
            let message = EnqueueError::KeyTooLong(key.len()).to_string();
            return Err(refusal(Reason::KeyTooLong, message));
        }
        let options = TaskOptions {
            route: route.into(),
            key: Some(key).filter(|key| !key.is_empty()),
            deadline: (deadline_unix_ms > 0).then(|| Wall::from_unix_ms(deadline_unix_ms)),
        };
        Ok((Command { headers, body }, options))
    }

    fn no_route(&self, route: &str) -> String {
        let names = self.options.routes.keys().map(String::as_str);
        let named: Vec<_> = names.take(ROUTES_NAMED_MAX).collect();
        let more = self.options.routes.len().saturating_sub(named.len());
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        format!(
            "there is no route `{route}` (configured: {}{more})",
            named.join(", ")
        )
    }

    fn refuse_while_draining(&self) -> Result<(), Status> {
        if *self.options.phase.borrow() > Phase::Serving {
            reached!(Site::IngestDraining);
            return Err(Status::unavailable(
                "the bridge is draining and takes nothing new",
            ));
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Ingest for IngestService {
    type EnqueueStreamStream = Replies;

    async fn enqueue(
        &self,
        request: Request<v1::EnqueueRequest>,
    ) -> Result<Response<v1::EnqueueReply>, Status> {
        let mut replies = self.take(vec![request.into_inner()]).await?;
        Ok(Response::new(
            replies.pop().expect("one reply for one command"),
        ))
    }

    async fn enqueue_batch(
        &self,
        request: Request<v1::EnqueueBatchRequest>,
    ) -> Result<Response<v1::EnqueueBatchReply>, Status> {
        let commands = request.into_inner().commands;
        let replies = self.take(commands).await?;
        Ok(Response::new(v1::EnqueueBatchReply { replies }))
    }

    async fn enqueue_stream(
        &self,
        request: Request<Streaming<v1::EnqueueRequest>>,
    ) -> Result<Response<Self::EnqueueStreamStream>, Status> {
        let (replies, told) = mpsc::channel(STREAM_REPLIES_MAX);
        let (finished, finish) = oneshot::channel();
        let service = self.clone();
        let commands = request.into_inner();
        let following = async move {
            // A reader that has gone away ends it: what was accepted stays, its replies are lost.
            let gone = replies.clone();
            tokio::select! {
                biased;
                () = gone.closed() => {}
                () = service.follow(commands, replies) => {}
            }
        };
        tokio::spawn(watched(following, move |end| match end {
            // Nobody may be left to hear it.
            TaskEnd::Ended(()) => finished.send(()).unwrap_or_default(),
            TaskEnd::Panicked(why) => {
                tracing::error!(why, "a stream of commands panicked; it is closed")
            }
            TaskEnd::CutOff => {}
        }));
        Ok(Response::new(Replies {
            told,
            finish: Some(finish),
        }))
    }
}

/// The replies of a stream. They end in order only if whoever makes them says so: one who died leaves commands
/// without a reply, and their producer must hear of it.
pub(super) struct Replies {
    told: mpsc::Receiver<Result<v1::EnqueueReply, Status>>,
    /// Taken once the end was told.
    finish: Option<oneshot::Receiver<()>>,
}

impl Stream for Replies {
    type Item = Result<v1::EnqueueReply, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(reply) = ready!(self.told.poll_recv(context)) {
            return Poll::Ready(Some(reply));
        }
        let Some(finish) = &mut self.finish else {
            return Poll::Ready(None);
        };
        let finished = ready!(Pin::new(finish).poll(context));
        self.finish = None;
        Poll::Ready(finished.err().map(|_gone| {
            Err(Status::unknown(
                "the bridge gave up on this stream; commands without a reply are in doubt: send them again with \
                 their keys",
            ))
        }))
    }
}

impl IngestService {
    /// Answers a stream's commands in order, until it ends or can't go on.
    async fn follow(
        &self,
        mut commands: Streaming<v1::EnqueueRequest>,
        replies: mpsc::Sender<Result<v1::EnqueueReply, Status>>,
    ) {
        while let Some((good, broken)) = next_chunk(&mut commands).await {
            let mut failed = false;
            match self.take_patiently(good).await {
                Ok(answers) => {
                    for answer in answers {
                        failed |= replies.send(Ok(answer)).await.is_err();
                    }
                }
                Err(status) => {
                    failed = true;
                    // Nobody may be left to hear it.
                    replies.send(Err(status)).await.unwrap_or_default();
                }
            }
            if let Some(status) = broken {
                failed = true;
                replies.send(Err(status)).await.unwrap_or_default();
            }
            if failed {
                return;
            }
        }
    }
}

/// Commands of a stream that are there, at least one, and the status that ended them, if one did. `None` at the end.
async fn next_chunk(
    commands: &mut Streaming<v1::EnqueueRequest>,
) -> Option<(Vec<v1::EnqueueRequest>, Option<Status>)> {
    let mut good = Vec::new();
    let mut bytes = 0_usize;
    let mut next = commands.next().await?;
    loop {
        match next {
            Ok(command) => {
                bytes = bytes.saturating_add(command.body.len());
                good.push(command);
            }
            Err(status) => return Some((good, Some(status))),
        }
        if good.len() >= STREAM_CHUNK_COMMANDS || bytes >= STREAM_CHUNK_BYTES {
            return Some((good, None));
        }
        match commands.next().now_or_never() {
            Some(Some(more)) => next = more,
            // An end is told again.
            Some(None) | None => return Some((good, None)),
        }
    }
}

fn answer(result: Result<Enqueued, EnqueueError>) -> v1::enqueue_reply::Result {
    use v1::refusal::Reason;
    let error = match result {
        Ok(enqueued) => {
            return v1::enqueue_reply::Result::Accepted(v1::Accepted {
                task: Some(enqueued.id.into()),
                duplicate: enqueued.duplicate,
                state: convert::state(enqueued.state).into(),
            });
        }
        Err(error) => error,
    };
    let mut retry_after = Duration::ZERO;
    let reason = match &error {
        EnqueueError::Full {
            retry_after: after, ..
        }
        | EnqueueError::RouteFull {
            retry_after: after, ..
        } => {
            retry_after = *after;
            Reason::QueueFull
        }
        EnqueueError::UnknownRoute(_) => Reason::UnknownRoute,
        EnqueueError::BodyTooLarge { .. } => Reason::BodyTooLarge,
        EnqueueError::KeyTooLong(_) => Reason::KeyTooLong,
        EnqueueError::KeyConflict { .. } => Reason::KeyConflict,
        EnqueueError::DeadlinePassed => Reason::DeadlinePassed,
        EnqueueError::Closed => Reason::Closing,
        // Only ever said of a whole request.
        EnqueueError::BatchTooLarge { .. } | EnqueueError::InDoubt(_) => Reason::Unspecified,
    };
    v1::enqueue_reply::Result::Refused(v1::Refusal {
        retry_after_ms: millis(retry_after),
        ..refusal(reason, error.to_string())
    })
}

fn refusal(reason: v1::refusal::Reason, mut message: String) -> v1::Refusal {
    message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
    v1::Refusal {
        reason: reason.into(),
        message,
        retry_after_ms: 0,
    }
}

/// An error that holds for a whole request.
fn refused_all(error: &EnqueueError) -> Status {
    let text = error.to_string();
    match error {
        EnqueueError::Full { retry_after, .. } | EnqueueError::RouteFull { retry_after, .. } => {
            reached!(Site::IngestExhausted);
            let mut status = Status::resource_exhausted(text);
            status
                .metadata_mut()
                .insert(RETRY_AFTER, millis(*retry_after).into());
            status
        }
        // No time makes it right: fewer at once do.
        EnqueueError::BatchTooLarge { .. } => Status::out_of_range(text),
        EnqueueError::Closed => Status::unavailable(text),
        EnqueueError::InDoubt(_) => {
            reached!(Site::IngestAnsweredInDoubt);
            Status::unknown(text)
        }
        _ => Status::internal(text),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
