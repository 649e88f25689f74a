//! What happens in a bridge's queue, told as its feed and its counts tell it.

use std::time::Duration;

use futures_util::FutureExt;
use leasebridge::env::Env;
use leasebridge::history::{self, What, fed};
use leasebridge::queue::{Command, Heard, LifecycleFeed, OpenError, SafeTaskQueue};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{HistoryLost, HistorySink, Past};
use crate::cli::exit::{CommandFailure, CommandResult, Exit};

/// How often the tasks are counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);

/// Events of the feed that are told together, if they are there.
const EVENTS_PER_TELLING: usize = 256;

/// How the life of a queue ended.
pub(crate) enum QueueEnd {
    /// In order, sealed.
    Closed,
    /// With its journal.
    Failed(String),
    /// Somehow else: the next life says what was there.
    Cut,
}

impl QueueEnd {
    /// The one that a bridge's outcome tells of.
    pub(crate) fn of(outcome: &CommandResult) -> Self {
        match outcome {
            Ok(Exit::Done) => Self::Closed,
            Err(failure) if failure.exit == Exit::Journal => Self::Failed(failure.message.clone()),
            Ok(_) | Err(_) => Self::Cut,
        }
    }
}

/// Follows a queue's feed in a task of its own.
pub(crate) struct Follower {
    history: HistorySink,
    queue: SafeTaskQueue<Command>,
    stop: oneshot::Sender<()>,
    following: JoinHandle<Result<LifecycleFeed, HistoryLost>>,
}

impl Follower {
    /// Tells that the queue is open, and from now on what happens in it.
    ///
    /// What the opening itself did to the leases of the process before lies behind: the feed begins here.
    pub(crate) async fn start(
        history: HistorySink,
        past: &Past,
        env: Env,
        queue: SafeTaskQueue<Command>,
    ) -> Result<Self, CommandFailure> {
        let feed = queue.subscribe();
        let opened = history::opened(past.boots + 1, &queue);
        let mut whats = vec![opened];
        whats.extend(history::left_earlier(&queue).await);
        let told = history.tell(whats).await;
        told.map_err(|lost| CommandFailure::failed(lost.to_string()))?;
        let (stop, stopped) = oneshot::channel();
        let following = tokio::spawn(follow(history.clone(), env, queue.clone(), feed, stopped));
        Ok(Self {
            history,
            queue,
            stop,
            following,
        })
    }

    /// Completes only when the history can't be written any more.
    pub(crate) async fn lost(&mut self) -> CommandFailure {
        let why = match (&mut self.following).await {
            Ok(Ok(_feed)) => "nobody follows the queue any more".to_owned(),
            Ok(Err(lost)) => lost.to_string(),
            Err(error) => format!("the history's task ended badly: {error}"),
        };
        CommandFailure::failed(why)
    }

    /// The process has come to its end: tells what is left to tell. After an end in order that is all of the
    /// feed, every task as it was left, and that the queue is closed.
    pub(crate) async fn end(self, end: QueueEnd) -> Result<(), HistoryLost> {
        // Nobody listens only if the task has ended already, and then its result says why.
        let _heard = self.stop.send(());
        let Ok(feed) = self.following.await else {
            return Ok(());
        };
        let mut whats = what_is_there(&mut feed?);
        match end {
            QueueEnd::Closed => {
                whats.push(counted(&self.queue));
                whats.extend(found(&self.queue).await);
                whats.push(What::Closed {});
            }
            QueueEnd::Failed(why) => whats.push(What::JournalFailed { why }),
            QueueEnd::Cut => {}
        }
        self.history.tell(whats).await
    }
}

/// Why a queue was not opened.
pub(crate) async fn refused(history: &HistorySink, error: &OpenError) -> Result<(), HistoryLost> {
    let refused = What::OpenRefused {
        why: error.to_string(),
        damaged: error.is_damaged(),
    };
    history.tell(vec![refused]).await
}

async fn follow(
    history: HistorySink,
    env: Env,
    queue: SafeTaskQueue<Command>,
    mut feed: LifecycleFeed,
    mut stopped: oneshot::Receiver<()>,
) -> Result<LifecycleFeed, HistoryLost> {
    let mut count = env.clock.sleep(COUNT_INTERVAL);
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => return Ok(feed),
            () = &mut count => {
                let mut whats = what_is_there(&mut feed);
                whats.push(counted(&queue));
                history.tell(whats).await?;
                count = env.clock.sleep(COUNT_INTERVAL);
            }
            heard = feed.next() => {
                let Some(heard) = heard else { return Ok(feed) };
                let mut whats = vec![told(&heard)];
                while whats.len() < EVENTS_PER_TELLING
                    && let Some(Some(heard)) = feed.next().now_or_never()
                {
                    whats.push(told(&heard));
                }
                history.tell(whats).await?;
            }
        }
    }
}

fn told(heard: &Heard) -> What {
    match heard {
        Heard::Event(event) => fed(event),
        Heard::Missed(count) => What::FeedMissed { count: *count },
    }
}

/// All that the feed has told by now.
fn what_is_there(feed: &mut LifecycleFeed) -> Vec<What> {
    let next = || feed.next().now_or_never().flatten();
    std::iter::from_fn(next).map(|heard| told(&heard)).collect()
}

/// How many tasks are where.
fn counted(queue: &SafeTaskQueue<Command>) -> What {
    What::Counted {
        counts: queue.counts().into(),
        listed: None,
    }
}

/// Every task that lives.
async fn found(queue: &SafeTaskQueue<Command>) -> Vec<What> {
    let mut whats = Vec::new();
    for listed in queue.list() {
        if let Ok(Some(task)) = queue.explain(listed.id).await {
            whats.push(history::found(&task));
        }
    }
    whats
}
