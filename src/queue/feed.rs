//! What happens to tasks, told in order to whoever listens, each thing after it is durable.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::broadcast;

use crate::core::event::{LifeImage, Next, Removal, Settled};
use crate::core::{Epoch, Event, MonoMs, QueueMs, TaskId};
use crate::journal::Position;
use crate::observe::FeedStatus;

/// Events a listener may fall behind before it misses some.
const FEED_EVENTS_MAX: usize = 8192;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifecycleEvent {
    /// Counts all events of this opening, from 1, told or not: a gap means some were missed.
    pub sequence: u64,
    /// When, in queue time.
    pub at: QueueMs,
    /// What happened; the other fields say to whom, and with what result.
    pub kind: LifecycleKind,
    /// To which task; none for what happens to a route.
    pub task: Option<TaskId>,
    /// Under which lease, where one is concerned.
    pub epoch: Option<Epoch>,
    /// On which route.
    pub route: Option<Arc<str>>,
    /// For a grant and an extension: when the lease ends, by the monotonic clock of this process.
    pub until: Option<MonoMs>,
    /// For the end of a lease, and a late *done*: what it came to.
    pub end: Option<LeaseEnd>,
    /// More, in words.
    pub detail: Option<Box<str>>,
}

/// What the end of a lease came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseEnd {
    /// Where the task went.
    pub next: Next,
    /// Whether it was charged to the budget that its outcome has.
    pub charged: bool,
    /// Sends made under the lease.
    pub sends: u8,
}

/// What can happen, as listeners hear of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifecycleKind {
    /// A command was accepted.
    Enqueued,
    /// A lease was granted.
    Granted,
    /// A lease was extended.
    Extended,
    /// The endpoint executed the command.
    Done,
    /// The endpoint answered no.
    Rejected,
    /// The endpoint answered no for good, or a limit forbade the delivery.
    Refused,
    /// The endpoint asked to be spared for a while.
    Unavailable,
    /// No definite answer.
    InDoubt,
    /// Never reached the endpoint.
    NotSent,
    /// Given back before any send.
    Released,
    /// A delay is over.
    Due,
    /// The command's own deadline passed.
    Expired,
    /// The task got older than its route's tasks may.
    TooOld,
    /// Out of poison, back to ready.
    Requeued,
    /// Out of the queue by somebody's hand.
    Purged,
    /// Out of the queue by a drain.
    Drained,
    /// Into the queue from a drain.
    Restored,
    /// Moved to another route.
    Rerouted,
    /// A route stopped leasing.
    Paused,
    /// A route leases again.
    Resumed,
    /// Nobody knows what time it is.
    ClockDoubted,
    /// Somebody has said what time it is, or the clock agrees again.
    ClockSet,
}

impl LifecycleKind {
    /// For people and machines: lower case, words parted by spaces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enqueued => "enqueued",
            Self::Granted => "granted",
            Self::Extended => "extended",
            Self::Done => "done",
            Self::Rejected => "rejected",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::InDoubt => "in doubt",
            Self::NotSent => "not sent",
            Self::Released => "released",
            Self::Due => "due",
            Self::Expired => "expired",
            Self::TooOld => "too old",
            Self::Requeued => "requeued",
            Self::Purged => "purged",
            Self::Drained => "drained",
            Self::Restored => "restored",
            Self::Rerouted => "rerouted",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::ClockDoubted => "clock doubted",
            Self::ClockSet => "clock set",
        }
    }

    fn of(settled: &Settled) -> Self {
        use crate::core::event::LeaseOutcome;
        match settled.outcome {
            LeaseOutcome::Done => Self::Done,
            LeaseOutcome::Rejected => Self::Rejected,
            LeaseOutcome::Refused => Self::Refused,
            LeaseOutcome::Unavailable => Self::Unavailable,
            LeaseOutcome::InDoubt(_) => Self::InDoubt,
            LeaseOutcome::NotSent => Self::NotSent,
            LeaseOutcome::Released => Self::Released,
        }
    }
}

/// What an event does not say of itself.
pub(crate) struct News {
    pub(crate) at: QueueMs,
    pub(crate) route: Option<Arc<str>>,
}

/// The feed's writing end; lives under the queue's lock.
#[derive(Debug)]
pub(crate) struct Feed {
    sequence: u64,
    /// Whether somebody listened when last asked: asking takes the channel's lock, for each event too much.
    listened_to: bool,
    waiting: VecDeque<(Position, Arc<LifecycleEvent>)>,
    sender: broadcast::Sender<Arc<LifecycleEvent>>,
}

impl Feed {
    pub(crate) fn new() -> Self {
        let (sender, _) = broadcast::channel(FEED_EVENTS_MAX);
        Self {
            sequence: 0,
            listened_to: false,
            waiting: VecDeque::new(),
            sender,
        }
    }

    pub(crate) fn status(&self) -> FeedStatus {
        FeedStatus {
            events: self.sequence,
            listeners: self.sender.receiver_count() as u64,
            waiting: self.waiting.len() as u64,
        }
    }

    /// Whether somebody may be listening.
    pub(crate) fn is_listened_to(&self) -> bool {
        self.listened_to
    }

    pub(crate) fn subscribe(&mut self) -> LifecycleFeed {
        self.listened_to = true;
        LifecycleFeed {
            receiver: self.sender.subscribe(),
        }
    }

    /// Counts an applied event that nobody listens to.
    pub(crate) fn pass(&mut self, event: &Event) {
        self.sequence += u64::from(concerns(event).is_some());
    }

    /// Notes an applied event; it is told once `position` is durable.
    pub(crate) fn take(
        &mut self,
        position: Position,
        event: &Event,
        news: impl FnOnce(Option<TaskId>) -> News,
    ) {
        let Some((kind, task, epoch)) = concerns(event) else {
            return;
        };
        self.sequence += 1;
        if self.sender.receiver_count() == 0 {
            self.listened_to = false;
            return;
        }
        let News { at, route } = news(task);
        let detail = detail(event);
        let end = match event {
            Event::Settled(settled) => Some(LeaseEnd {
                next: settled.next,
                charged: settled.charged,
                sends: settled.sends,
            }),
            _ => None,
        };
        let until = match event {
            Event::Granted { lease, .. } => Some(lease.deadline),
            Event::Extended { deadline, .. } => Some(*deadline),
            _ => None,
        };
        let sequence = self.sequence;
        let told = LifecycleEvent {
            sequence,
            at,
            kind,
            task,
            epoch,
            route,
            until,
            end,
            detail,
        };
        self.waiting.push_back((position, Arc::new(told)));
    }

    /// Tells what has become durable.
    pub(crate) fn publish(&mut self, durable: Position) {
        while let Some((_, event)) = self.waiting.pop_front_if(|(at, _)| *at <= durable) {
            // Nobody may be listening any more; that is their affair.
            let _told = self.sender.send(event);
        }
    }
}

type Concern = (LifecycleKind, Option<TaskId>, Option<Epoch>);

fn concerns(event: &Event) -> Option<Concern> {
    use LifecycleKind as Kind;
    let plain = |kind, id: &TaskId| Some((kind, Some(*id), None));
    match event {
        Event::Enqueued(enqueued) => plain(Kind::Enqueued, &enqueued.id),
        Event::Granted { delivery, .. } => {
            Some((Kind::Granted, Some(delivery.task), Some(delivery.epoch)))
        }
        Event::Extended { delivery, .. } => {
            Some((Kind::Extended, Some(delivery.task), Some(delivery.epoch)))
        }
        Event::Settled(settled) => {
            let delivery = settled.delivery;
            Some((Kind::of(settled), Some(delivery.task), Some(delivery.epoch)))
        }
        Event::Due { id } => plain(Kind::Due, id),
        Event::Expired { id, .. } => plain(Kind::Expired, id),
        Event::TooOld { id, .. } => plain(Kind::TooOld, id),
        Event::Requeued { id, .. } => plain(Kind::Requeued, id),
        Event::Removed {
            id,
            why: Removal::Purged | Removal::PurgedWithKey,
            ..
        } => plain(Kind::Purged, id),
        Event::Removed {
            id,
            why: Removal::Drained,
            ..
        } => plain(Kind::Drained, id),
        Event::Restored { image, .. } => plain(Kind::Restored, &image.id),
        Event::Rerouted { id, .. } => plain(Kind::Rerouted, id),
        Event::RoutePaused { paused: true, .. } => Some((Kind::Paused, None, None)),
        Event::RoutePaused { paused: false, .. } => Some((Kind::Resumed, None, None)),
        Event::ClockDoubted => Some((Kind::ClockDoubted, None, None)),
        Event::ClockSet { .. } => Some((Kind::ClockSet, None, None)),
        Event::Opened { .. }
        | Event::RouteDefined { .. }
        | Event::Moved { .. }
        | Event::KeyMoved { .. }
        | Event::KeysForgotten { .. }
        | Event::EpochsRaised { .. }
        | Event::OriginsKept { .. }
        | Event::Job(_)
        | Event::Sent { .. }
        | Event::Quarantined { .. }
        | Event::AgeLimited { .. } => None,
    }
}

fn detail(event: &Event) -> Option<Box<str>> {
    match event {
        Event::Settled(settled) => {
            let went = match settled.next {
                Next::Done => return None,
                Next::Ready => "back to ready".to_owned(),
                Next::Delayed(until) => {
                    format!("again in {} ms", until.since(settled.at).0)
                }
                Next::Poison(cause) => format!("to poison: {}", cause.as_str()),
            };
            Some(match &settled.error {
                Some(error) => format!("{went}; {error}").into(),
                None => went.into(),
            })
        }
        Event::Restored { image, .. } => Some(
            match image.life {
                LifeImage::Poison { .. } => "into poison",
                _ => "to wait for a lease",
            }
            .into(),
        ),
        _ => None,
    }
}

/// The feed's reading end.
#[derive(Debug)]
pub struct LifecycleFeed {
    receiver: broadcast::Receiver<Arc<LifecycleEvent>>,
}

/// What a listener hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// One event, shared with the other listeners.
    Event(Arc<LifecycleEvent>),
    /// The listener was too slow and missed so many events.
    Missed(u64),
}

impl LifecycleFeed {
    /// The next event; `None` once the queue is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<Heard> {
        match self.receiver.recv().await {
            Ok(event) => Some(Heard::Event(event)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Heard::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
