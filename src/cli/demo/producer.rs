//! The producer: it puts commands in, each under a key, and repeats what it has no answer for.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leasebridge::core::TaskId;
use leasebridge::queue::{Command, EnqueueError, TaskOptions};

use super::DemoCast;
use super::dice::Dice;
use super::ledger::IMPOSSIBLE;
use super::node::Queue;
use crate::cli::exit::CommandFailure;

/// Commands enqueued with one sync.
const BATCH: u64 = 50;

/// Commands that wait or are in flight before the producer takes a breath, so that commands flow for as
/// long as the demo lasts.
const BACKLOG: u64 = 500;

/// What the producer knows of its commands.
#[derive(Default)]
pub(super) struct AcceptedCommands {
    inner: Mutex<AcceptedState>,
}

#[derive(Default)]
struct AcceptedState {
    /// The task of each command, by the command's number.
    ids: Vec<TaskId>,
    /// Answers that told that a command was there already.
    already_there: u64,
    /// Commands that were put in again because their answer never came.
    repeated: u64,
}

impl AcceptedCommands {
    fn inner(&self) -> MutexGuard<'_, AcceptedState> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many were accepted.
    pub(super) fn count(&self) -> u64 {
        self.inner().ids.len() as u64
    }

    /// Their tasks, by number.
    pub(super) fn ids(&self) -> Vec<TaskId> {
        self.inner().ids.clone()
    }

    /// How many were put in again, and how many of those were there.
    pub(super) fn repeated(&self) -> (u64, u64) {
        let inner = self.inner();
        (inner.repeated, inner.already_there)
    }
}

/// The key of the command with a number.
pub(super) fn key(number: u64) -> String {
    format!("demo-{number:06}")
}

/// The numbers of the commands that no endpoint will execute: a handful at most.
pub(super) fn impossible(seed: u64, commands: u64) -> Vec<u64> {
    let mut dice = Dice::new(seed ^ 0x1a4b);
    let wanted = 5.min(commands / 10);
    let part = commands / wanted.max(1);
    let numbers = (0..wanted).map(|nth| nth * part + dice.below(part));
    numbers.collect()
}

/// Puts everything in. Returns when all is accepted.
pub(super) async fn produce(cast: &DemoCast) -> Result<(), CommandFailure> {
    let impossible = impossible(cast.seed, cast.commands);
    let mut queues = cast.node.queue.subscribe();
    loop {
        let first = cast.accepted.count();
        if first == cast.commands {
            return Ok(());
        }
        let ceiling = cast.deeds.ceiling(cast.commands);
        if first >= ceiling || first.saturating_sub(cast.settled()) >= BACKLOG {
            cast.env.clock.sleep(Duration::from_millis(5)).await;
            continue;
        }
        let batch = first..ceiling.min(first + BATCH);
        let open = queues.wait_for(Option::is_some).await;
        let Some(queue) = open.ok().and_then(|queue| queue.clone()) else {
            return Ok(());
        };
        let commands = batch.clone().map(|number| {
            let route = cast.endpoints[cast.endpoint_of(number)].name;
            let body = if impossible.contains(&number) {
                IMPOSSIBLE.to_owned()
            } else {
                format!("dim lamp {} to {} %", number % 400, number * 7 % 101)
            };
            let options = TaskOptions {
                key: Some(key(number)),
                ..TaskOptions::route(route)
            };
            (Command::new(body), options)
        });
        let answered = tokio::select! {
            biased;
            answered = put_in(queue, commands.collect()) => answered,
            // The queue is gone, and nobody knows what became of these: they are put in again.
            _ = queues.wait_for(Option::is_none) => Err(EnqueueError::Closed),
        };
        match answered {
            Ok(answers) => take_down(cast, answers)?,
            Err(
                EnqueueError::Full { retry_after, .. }
                | EnqueueError::RouteFull { retry_after, .. },
            ) => {
                cast.env.clock.sleep(retry_after).await;
            }
            Err(EnqueueError::Closed | EnqueueError::InDoubt(_)) => {
                cast.accepted.inner().repeated += batch.end - batch.start;
                // Wait for the life that follows, not for the one that just ended.
                let _ = queues.wait_for(Option::is_none).await;
            }
            Err(error) => return Err(CommandFailure::failed(error.to_string())),
        }
    }
}

type Answers = Vec<Result<leasebridge::queue::Enqueued, EnqueueError>>;

async fn put_in(
    queue: Queue,
    commands: Vec<(Command, TaskOptions)>,
) -> Result<Answers, EnqueueError> {
    queue.enqueue_batch(commands).await
}

fn take_down(cast: &DemoCast, answers: Answers) -> Result<(), CommandFailure> {
    let mut inner = cast.accepted.inner();
    for answer in answers {
        let enqueued = answer.map_err(|error| CommandFailure::failed(error.to_string()))?;
        inner.already_there += u64::from(enqueued.duplicate);
        inner.ids.push(enqueued.id);
    }
    Ok(())
}
