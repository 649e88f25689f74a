//! One route's lane: takes leases, has them delivered side by side, settles them in groups.
//!
//! One task per route drives all its deliveries, so that what arrives together is handled together:
//! leases come in batches, answers wake this task once per batch, and one sync settles what finished
//! meanwhile. Nothing here waits for another route.
//!
//! Invariants: deliveries over one link and settlements together never exceed the window; each lease that is taken is
//! settled exactly once or given back; while the gate is shut nothing is kept from the queue.

mod gate;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;

use super::breaker::BreakerPass;
use super::delivery::{AttemptVerdict, Finished, deliver};
use super::feed::{DeliveryEnd, DeliveryFeed};
use super::limits::COMMAND_BYTES_GUESS;
use super::link::Link;
use super::result::TaskResult;
use super::route::Route;
use super::settled::Announcer;
use crate::core::RouteId;
use crate::core::event::Next;
use crate::coverage::{Site, reached};
use crate::env::{BoxFuture, Mono, Point};
use crate::queue::{
    AdapterError, Command, Failure, Lease, LeaseError, SafeTaskQueue, Sends,
    TaskQueueChannelAdapter,
};
use gate::LaneGate;

/// See the module's description.
pub(super) struct DeliveryLane {
    route: Arc<Route>,
    /// The route's number in the queue.
    id: RouteId,
    queue: SafeTaskQueue<Command>,
    adapter: TaskQueueChannelAdapter<Command>,
    gate: LaneGate,
    deliveries: FuturesUnordered<BoxFuture<'static, (BreakerPass, Finished)>>,
    settlements: FuturesUnordered<BoxFuture<'static, SettledGroup>>,
    /// Leases in `settlements`.
    settling: usize,
    announcer: Announcer,
    feed: DeliveryFeed,
    /// How large a command usually is, once one was seen.
    command_bytes: Option<usize>,
    /// The queue has closed, or its journal has failed.
    over: bool,
}

/// How a lane is told to end: until when it may finish what is in flight.
pub(super) type DrainBy = watch::Receiver<Option<Mono>>;

/// A lease with what its holder says of it, on its way into the queue.
type LeaseReport = (Lease<Command>, Result<TaskResult, Failure>, Sends);

/// What became of a group of settlements.
struct SettledGroup {
    leases: usize,
    outcome: Result<Vec<crate::core::TaskId>, LeaseError>,
    refused: Vec<LeaseError>,
}

impl DeliveryLane {
    /// A lane over `queue`.
    ///
    /// # Errors
    /// [`AdapterError`] when the queue has no such route.
    pub(super) fn new(
        route: Arc<Route>,
        queue: SafeTaskQueue<Command>,
        feed: DeliveryFeed,
    ) -> Result<Self, AdapterError> {
        let options = &route.options;
        let (name, concurrency) = (&options.name, options.window);
        let adapter =
            TaskQueueChannelAdapter::create_for_route(queue.clone(), name, concurrency, false)?;
        let id = queue.route_id(name);
        let id = id.map_err(|_| AdapterError::UnknownRoute(name.clone()))?;
        // Shut until a link is up: nothing is taken that can't be sent.
        adapter.set_open(false);
        // How many are worth it is known once a command has been seen, and how fast they go.
        adapter.set_ahead(1);
        Ok(Self {
            gate: LaneGate::new(Arc::clone(&route)),
            route,
            id,
            queue,
            adapter,
            deliveries: FuturesUnordered::new(),
            settlements: FuturesUnordered::new(),
            settling: 0,
            announcer: Announcer::default(),
            feed,
            command_bytes: None,
            over: false,
        })
    }

    /// Delivers until `drain` says until when to finish; then gives back what is unread and returns when
    /// nothing is in flight. Dropping it cuts everything off: what was sent is in doubt.
    pub(super) async fn run(mut self, mut drain: DrainBy) {
        let mut drain_by = None;
        let mut cut: Option<BoxFuture<'static, ()>> = None;
        loop {
            let ending = drain_by.is_some() || self.over;
            if self.gate.look(!ending) {
                self.adapter.set_open(self.gate.is_open());
            }
            self.publish();
            if ending && self.deliveries.is_empty() && self.settlements.is_empty() {
                break;
            }
            let is_wanted = self.demand();
            let room = self.room();
            let link = self.gate.open_link();
            let bytes = self.command_bytes();
            tokio::select! {
                biased;
                Some(finished) = self.deliveries.next(), if !self.deliveries.is_empty() => {
                    self.finish(finished);
                }
                Some(settled) = self.settlements.next(), if !self.settlements.is_empty() => {
                    self.settled(settled);
                }
                leases = take(link, bytes, &mut self.adapter, room), if !self.over && room > 0 => {
                    self.start(leases);
                }
                () = self.route.changed.notified() => self.announce(),
                () = self.queue.has_come(self.id), if !is_wanted => {}
                answered = self.gate.probe(), if self.gate.is_probing() => {
                    self.gate.probed(answered);
                }
                until = asked_to_drain(&mut drain), if drain_by.is_none() => {
                    drain_by = Some(until);
                    cut = Some(self.route.env.clock.sleep_until(until));
                }
                () = passed(&mut cut), if cut.is_some() => {
                    cut = None;
                    self.route.cut.cancel();
                }
            }
        }
        if let Err(error) = self.adapter.stop().await {
            tracing::warn!(route = %self.route.options.name, %error, "leases could not be given back");
        }
    }

    /// Whether there is anything to do for a link, which the keepers are told. While one is up there is.
    fn demand(&self) -> bool {
        let is_wanted =
            self.gate.has_link() || !self.deliveries.is_empty() || self.queue.has_ready(self.id);
        let demand = &self.route.demand;
        demand.send_if_modified(|told| std::mem::replace(told, is_wanted) != is_wanted);
        is_wanted
    }

    /// How many leases may be taken now. While the gate is shut, whatever still comes is given back.
    fn room(&self) -> usize {
        let window = self.route.options.window;
        if !self.gate.is_open() {
            return window;
        }
        // Each link has a window of its own: what another one finishes takes nothing from this.
        let elsewhere = self.route.leaving_in_flight();
        let delivering = self.deliveries.len().saturating_sub(elsewhere);
        let busy = delivering.saturating_add(self.settling);
        let mine = window.saturating_sub(busy).min(self.bytes_allow());
        let theirs = self.gate.in_flight_max().saturating_sub(delivering);
        self.gate.limit(mine.min(theirs))
    }

    /// How many more commands of the usual size may be on their way, one at the least.
    fn bytes_allow(&self) -> usize {
        let left = self
            .gate
            .open_link()
            .map_or(0, |link| link.byte_room_left());
        left.checked_div(self.command_bytes())
            .unwrap_or(left)
            .max(1)
    }

    fn command_bytes(&self) -> usize {
        self.command_bytes.unwrap_or(COMMAND_BYTES_GUESS)
    }

    /// A command of so many bytes is sent: that is what the next ones are taken to be like, by and by. What is leased
    /// ahead is limited by it, so that no lease waits for minutes behind others on a slow link.
    fn learn_size(&mut self, bytes: usize) {
        let usual = self.command_bytes.unwrap_or(bytes);
        let usual = usual.saturating_sub(usual / 8);
        let usual = usual.saturating_add(bytes.div_ceil(8));
        let usual = usual.max(1);
        self.command_bytes = Some(usual);
        let most = self.route.options.window_bytes;
        let link = self.gate.open_link();
        let most = link.map_or(most, |link| link.byte_window());
        let ahead = most.checked_div(usual).unwrap_or(most);
        // In powers of two, so that it changes now and then only.
        let next = ahead.max(1).saturating_add(1).checked_next_power_of_two();
        let ahead = next.map_or(ahead, |next| next / 2);
        self.adapter.set_ahead(ahead);
    }

    fn start(&mut self, leases: Vec<Result<Lease<Command>, LeaseError>>) {
        // An adapter yields nothing only when there will be nothing more.
        self.over |= leases.is_empty();
        let by_grpc = self.route.env.points.fires(Point::ForcedFallback);
        // One reading for all of them: those that are sent at once were sent now.
        let now = self.route.env.clock.now();
        for lease in leases {
            match lease {
                Ok(lease) if self.gate.is_open() => {
                    self.learn_size(lease.value().body.len());
                    let pass = self.gate.pass();
                    let delivery = deliver(Arc::clone(&self.route), lease, by_grpc, now);
                    self.deliveries
                        .push(delivery.map(move |finished| (pass, finished)).boxed());
                }
                // Never sent: dropping it puts the task back to its place.
                Ok(_unsent) => self.route.counters.released.increment(),
                Err(error) => {
                    tracing::error!(route = %self.route.options.name, %error, "no more leases");
                    self.route.note_error(error.to_string());
                    self.over = true;
                }
            }
        }
    }

    /// Settles this attempt and all that have finished with it, with one sync.
    fn finish(&mut self, first: (BreakerPass, Finished)) {
        let mut group = Vec::new();
        let alone = self.route.env.points.fires(Point::BatchOfOne);
        let now = self.route.env.clock.now();
        let mut next = Some(first);
        while let Some((pass, finished)) = next {
            self.gate.finished(now, pass, finished.evidence);
            let failed = matches!(finished.verdict, AttemptVerdict::Failed(_));
            self.over |= failed && planted!(Bug::LaneStopsAfterFailure);
            group.extend(self.settlement(finished));
            next = match alone {
                true => None,
                false => self.deliveries.next().now_or_never().flatten(),
            };
        }
        if group.is_empty() {
            return;
        }
        let leases = group.len();
        self.settling = self.settling.saturating_add(leases);
        let (queue, feed) = (self.queue.clone(), self.feed.clone());
        self.settlements.push(settle(queue, feed, group).boxed());
    }

    /// What is to be settled, if anything is.
    fn settlement(&self, finished: Finished) -> Option<LeaseReport> {
        let Finished {
            lease,
            verdict,
            sends,
            ..
        } = finished;
        let counters = &self.route.counters;
        let outcome = match verdict {
            AttemptVerdict::Done(result) => {
                counters.done.increment();
                Ok(result)
            }
            AttemptVerdict::Failed(failure) => {
                let (counter, outcome, why) = match &failure {
                    Failure::Rejected(why) => (&counters.rejected, "rejected", why),
                    Failure::Refused(why) => (&counters.refused, "refused", why),
                    Failure::Unavailable { reason, .. } => {
                        (&counters.unavailable, "unavailable", reason)
                    }
                    Failure::InDoubt(why) | Failure::Panicked(why) => {
                        (&counters.in_doubt, "in doubt", why)
                    }
                    Failure::NotSent(why) => (&counters.not_sent, "not sent", why),
                };
                counter.increment();
                self.route.note_failure(lease.delivery(), outcome, why);
                Err(failure)
            }
            AttemptVerdict::Held(why) => {
                counters.held.increment();
                self.route.note_failure(lease.delivery(), "held", &why);
                Err(Failure::Refused(why))
            }
            AttemptVerdict::Released => {
                counters.released.increment();
                // It may have been marked and never sent, which dropping it would call in doubt.
                let why = "given back before any send".to_owned();
                Err(Failure::NotSent(why))
            }
            AttemptVerdict::Lost => {
                counters.lost.increment();
                return None;
            }
        };
        Some((lease, outcome, sends))
    }

    fn settled(&mut self, settled: SettledGroup) {
        let settling = self.settling.checked_sub(settled.leases);
        self.settling = settling.expect("they were counted when their settlement began");
        let counters = &self.route.counters;
        for error in &settled.refused {
            counters.settle_failures.increment();
            reached!(Site::SettledTooLate);
            tracing::debug!(route = %self.route.options.name, %error, "a settlement was not taken");
        }
        match settled.outcome {
            Ok(done) => {
                done.into_iter().for_each(|task| self.announcer.add(task));
                self.announce();
            }
            Err(error) => {
                counters.settle_failures.add(settled.leases);
                tracing::error!(route = %self.route.options.name, %error, "settlements are in doubt");
                self.route.note_error(error.to_string());
                self.over = true;
            }
        }
    }

    fn announce(&mut self) {
        let links = self.route.links_by_inbox();
        let queue = &self.queue;
        let told = self
            .announcer
            .announce(links, |task| queue.settled_range(task));
        self.route.counters.announced.add(told);
    }

    fn publish(&self) {
        let in_flight = self.deliveries.len().saturating_add(self.settling);
        self.route.in_flight.store(in_flight, Ordering::Relaxed);
        self.route
            .open
            .store(self.gate.is_open(), Ordering::Relaxed);
    }
}

/// The next leases, once the link they would go over has room for one of so many bytes.
async fn take(
    link: Option<Arc<Link>>,
    bytes: usize,
    adapter: &mut TaskQueueChannelAdapter<Command>,
    room: usize,
) -> Vec<Result<Lease<Command>, LeaseError>> {
    if let Some(link) = link {
        link.room(bytes).await;
    }
    adapter.next_batch(room).await
}

async fn settle(
    queue: SafeTaskQueue<Command>,
    feed: DeliveryFeed,
    group: Vec<LeaseReport>,
) -> SettledGroup {
    let leases = group.len();
    let tasks: Vec<_> = group.iter().map(|(lease, ..)| lease.id()).collect();
    let ends: Vec<DeliveryEnd> = match feed.is_listened_to() {
        true => group.iter().map(end).collect(),
        false => Vec::new(),
    };
    let mut ends = ends.into_iter();
    // The queue stores no results: they end here.
    let endings = group
        .into_iter()
        .map(|(lease, outcome, sends)| (lease, outcome.map(drop), sends));
    let mut refused = Vec::new();
    let outcome = queue.settle_batch(endings).await.map(|replies| {
        let mut done = Vec::with_capacity(leases);
        for (task, reply) in tasks.into_iter().zip(replies) {
            let end = ends.next();
            match reply {
                Ok(next) => {
                    done.extend((next == Next::Done).then_some(task));
                    end.into_iter().for_each(|end| feed.tell(end));
                }
                Err(error) => refused.push(error),
            }
        }
        done
    });
    SettledGroup {
        leases,
        outcome,
        refused,
    }
}

/// What listeners are told of a lease, should the queue take what its holder says.
fn end((lease, outcome, sends): &LeaseReport) -> DeliveryEnd {
    let result = outcome.as_ref().map(TaskResult::detached);
    DeliveryEnd {
        delivery: lease.delivery(),
        outcome: result.map_err(Failure::clone),
        sends: *sends,
    }
}

/// Waits until the lane is asked to end. If nobody can ask any more, it ends at once.
async fn asked_to_drain(drain: &mut DrainBy) -> Mono {
    match drain.wait_for(Option::is_some).await {
        Ok(until) => until.unwrap_or_default(),
        Err(_gone) => Mono::from_start(Duration::ZERO),
    }
}

async fn passed(cut: &mut Option<BoxFuture<'static, ()>>) {
    if let Some(cut) = cut {
        cut.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::earlier::EarlierLives;
    use crate::bridge::options::RouteOptions;
    use crate::env::{Address, Env};
    use crate::queue::{QueueOptions, TaskOptions};

    #[tokio::test]
    async fn a_route_without_a_link_has_something_to_do_once_a_task_can_be_leased() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let queue = SafeTaskQueue::open(QueueOptions::new(dir.path())).await;
        let queue = queue.expect("a folder of our own");
        queue.define_route("a").await.expect("a good name");
        let put = async |what: &'static str| {
            let put = queue.enqueue(Command::new(what), TaskOptions::route("a"));
            put.await.expect("there is room").id
        };
        let options = RouteOptions::new("a").socket(Address::tcp("127.0.0.1", 1));
        let earlier = Arc::new(EarlierLives::new(queue.clone()));
        let hold = queue.max_hold();
        let route = Arc::new(Route::new(&Env::real(), options, "", &earlier, hold));
        let lane = DeliveryLane::new(Arc::clone(&route), queue.clone(), DeliveryFeed::new());
        let (drain, draining) = watch::channel(None);
        let running = tokio::spawn(lane.expect("the route is there").run(draining));
        let mut demand = route.demand.subscribe();
        let mut is = async |wanted| {
            let changed = demand.wait_for(|now| *now == wanted).await;
            changed.expect("the route lives");
        };
        is(false).await;
        let id = put("one").await;
        is(true).await;
        // Nobody is hurried for what is held back.
        queue.pause("a").await.expect("it is there");
        route.changed.notify_one();
        is(false).await;
        queue.resume("a").await.expect("it is there");
        is(true).await;
        let drained = queue.drain("a", 1).await.expect("it is ready");
        assert_eq!(drained.tasks()[0].id(), id);
        drained.commit().await.expect("the log is whole");
        route.changed.notify_one();
        is(false).await;
        put("two").await;
        is(true).await;
        drain.send_replace(Some(Mono::from_start(Duration::ZERO)));
        running.await.expect("it ends in order");
    }
}
