//! What a queue tells of itself, as records.

use std::time::Duration;

use super::{Counts, LeaseEnd, RouteTerms, TaskName, What};
use crate::core::event::Next;
use crate::core::{Epoch, LaneCounts, TaskState};
use crate::queue::{Backoff, Explained, LifecycleEvent, QueueOptions, RouteLimits, SafeTaskQueue};

/// Ranges of tasks that left in earlier lives which a history tells of.
const LEFT_RANGES_MAX: usize = 1024;

impl From<LaneCounts> for Counts {
    fn from(counts: LaneCounts) -> Self {
        let LaneCounts {
            ready,
            delayed,
            leased,
            poison,
        } = counts;
        Self {
            ready,
            delayed,
            leased,
            poison,
        }
    }
}

/// A queue has been opened, by the process of that number on its host.
pub fn opened<T>(boot: u32, queue: &SafeTaskQueue<T>) -> What {
    let options = queue.options();
    let own = options.routes.iter();
    let own = own.filter(|(_, limits)| **limits != RouteLimits::default());
    What::Opened {
        boot,
        origin: queue.origin().to_string(),
        counts: queue.counts().into(),
        terms: terms(options, &RouteLimits::default()),
        routes: own
            .map(|(name, limits)| (name.clone(), terms(options, limits)))
            .collect(),
    }
}

/// What endpoints are told of the lives before this opening: the largest ranges, as many as a history needs. Nothing if
/// the log has failed meanwhile.
pub async fn left_earlier<T>(queue: &SafeTaskQueue<T>) -> Vec<What> {
    let left = queue.left_in_earlier_lives(LEFT_RANGES_MAX).await;
    let ranges = left.unwrap_or_default().into_iter();
    let told = ranges.map(|range| {
        let (first, last) = range.ends();
        What::LeftEarlier {
            first: TaskName::from(first),
            last: TaskName::from(last),
        }
    });
    told.collect()
}

fn terms(options: &QueueOptions, own: &RouteLimits) -> RouteTerms {
    let millis = |span: &Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    RouteTerms {
        max_retries: own.max_retries.unwrap_or(options.max_retries),
        max_in_doubt: own.max_in_doubt.unwrap_or(options.max_in_doubt),
        schedule_ms: match own.backoff.as_ref().unwrap_or(&options.backoff) {
            Backoff::Exponential => Vec::new(),
            Backoff::Schedule(steps) => steps.iter().map(millis).collect(),
        },
        max_age_ms: own.max_age.or(options.max_age).as_ref().map(millis),
    }
}

/// One event of a queue's feed.
pub fn fed(event: &LifecycleEvent) -> What {
    What::Fed {
        sequence: event.sequence,
        kind: event.kind.as_str().into(),
        task: event.task.map(TaskName::from),
        epoch: event.epoch.map(Epoch::get),
        route: event.route.clone(),
        until_ms: event.until.map(|until| until.0),
        end: event.end.map(|end| {
            let (next, cause, until) = match end.next {
                Next::Done => ("done", None, None),
                Next::Ready => ("ready", None, None),
                Next::Delayed(until) => ("delayed", None, Some(until)),
                Next::Poison(cause) => ("poison", Some(cause.as_str().to_owned()), None),
            };
            LeaseEnd {
                next: next.into(),
                cause,
                charged: end.charged,
                sends: u32::from(end.sends),
                delay_ms: until.map(|until| until.since(event.at).0),
            }
        }),
    }
}

/// A task that lives, as the queue shows it. Which of its attempts a death of the bridge was charged for is left open.
pub fn found<T>(task: &Explained<T>) -> What {
    let (state, cause) = match task.state {
        TaskState::Ready => ("ready", None),
        TaskState::Delayed(_) => ("delayed", None),
        TaskState::Leased(_) => ("leased", None),
        TaskState::Poison(cause) => ("poison", Some(cause)),
        TaskState::Done => ("done", None),
        TaskState::Removed => ("gone", None),
    };
    let attempts = task
        .history
        .iter()
        .flat_map(|history| history.attempts())
        .map(|attempt| attempt.epoch.get());
    What::Found {
        task: TaskName::from(task.id),
        state: state.to_owned(),
        cause: cause.map(|cause| cause.as_str().to_owned()),
        epoch: Epoch::or_zero(task.epoch),
        retries: task.retries,
        in_doubt: task.in_doubt,
        attempts: attempts.collect(),
        blamed_for_deaths: Vec::new(),
    }
}
