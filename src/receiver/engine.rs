//! What all links of a receiver share: the inbox, who waits on which link, what runs, and what waits to
//! become durable.
//!
//! One lock guards it, held for short synchronous steps only. A command's way: the inbox decides; with a
//! store its start is committed; it waits for a free handler; it runs; its outcome is committed; everybody
//! who waits is answered. The committer takes all that has gathered while the last commit was under way,
//! so that many commands share one sync. After a failed commit nothing is answered any more.

mod commit;
mod run;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};

use super::handler::{Delivered, Handler};
use super::inbox::{Decision, Inbox, LinkId, RollbackDecision, RunId, Waiter};
use super::options::ReceiverOptions;
use super::server::ReceiverFailure;
use super::stats::Counters;
use super::store::{EffectLog, InboxStore};
use crate::core::{DeliveryId, IdRange, SendNumber};
use crate::coverage::{Site, reached};
use crate::env::{Env, Mono};
use crate::listening::{Guesses, Reception, Speech};
use crate::observe::{InboxStatus, ReceiverStats, ReceiverStatus};
use crate::repeated::Repeated;
use crate::watched::{TaskEnd, watched};
use crate::wire::v1::frame::Kind;
use crate::wire::{
    EmptyRange, ExecutionOutcome, FrameSender, HandlerError, IdError, InboxId, NotSent,
    delivery_and_send, v1,
};

/// What is told to commands that find no room: when to come again.
const FULL_RETRY_AFTER: Duration = Duration::from_secs(1);

/// How commands are executed and remembered.
pub(super) enum ExecutionMode {
    /// A handler, and the store that remembers what it did.
    Handler {
        handler: Arc<dyn Handler>,
        store: Arc<dyn InboxStore>,
    },
    /// The record is the effect.
    Effects(Arc<dyn EffectLog>),
}

/// How far a receiver has come in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Running,
    Draining,
    Stopped,
}

/// See the module's description.
pub(super) struct Engine {
    pub(super) env: Env,
    pub(super) options: ReceiverOptions,
    pub(super) inbox_id: InboxId,
    pub(super) counters: Counters,
    pub(super) repeats: Repeats,
    /// Who is connected: over framed sockets, and over gRPC.
    pub(super) receptions: [Arc<Reception>; 2],
    /// Who has said a wrong secret.
    pub(super) guesses: Guesses,
    pub(super) phase: watch::Sender<Phase>,
    /// How often the links that were up were to be made anew.
    pub(super) renewals: watch::Sender<u64>,
    work: ExecutionMode,
    state: Mutex<EngineState>,
    /// Why it can't go on. Not under the lock, which a panic may have broken.
    failed: OnceLock<ReceiverFailure>,
    /// Something waits to be committed.
    commit: Notify,
    /// Told whenever an answer went out, a link left, or the store failed.
    pub(super) changed: Notify,
}

/// What peers may cause as often as they like.
#[derive(Default)]
pub(super) struct Repeats {
    /// Links that ended before they were greeted, or by a violation.
    pub(super) strangers: Repeated,
}

struct EngineState {
    inbox: Inbox,
    links: BTreeMap<LinkId, EngineLink>,
    next_link: u64,
    pending: Vec<PendingCommit>,
    /// Whether the committer is at work on what it took from `pending`.
    committing: bool,
    ready: VecDeque<Job>,
    running: usize,
}

struct EngineLink {
    sender: FrameSender,
    /// The sends that wait for an answer, and when their bridge is next told that they are worked on.
    unanswered: BTreeMap<(DeliveryId, SendNumber), Mono>,
}

/// A command on its way to being executed.
struct Job {
    run: RunId,
    command: Delivered,
    /// When it arrived.
    since: Mono,
}

/// Something that waits to become durable.
enum PendingCommit {
    /// To be started once that is durable.
    Start(Job),
    /// To be executed by recording it.
    Effect(Job),
    /// Ended, to be answered once that is durable. The delivery carries the newest epoch waiting.
    Finish(RunId, DeliveryId, ExecutionOutcome),
    /// Taken back before it started; nobody waits.
    NotStarted(DeliveryId),
    /// Settled; nobody waits.
    Settled(IdRange),
}

/// A fault of the peer in a frame that is whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProtocolViolation {
    #[error(transparent)]
    Id(#[from] IdError),
    #[error(transparent)]
    EmptyRange(#[from] EmptyRange),
    #[error("unexpected `{0}`")]
    Unexpected(&'static str),
    #[error("no acceptable message: {0}")]
    Message(String),
    #[error("more than {0} rollbacks of sends that never came")]
    Tombstones(usize),
}

impl Engine {
    pub(super) fn new(
        env: Env,
        options: ReceiverOptions,
        work: ExecutionMode,
        inbox_id: InboxId,
        inbox: Inbox,
    ) -> Arc<Self> {
        let reception = |speech| Reception::new(&env, options.connections_max, speech);
        Arc::new(Self {
            guesses: Guesses::default(),
            receptions: [reception(Speech::Other), reception(Speech::Http2)],
            env,
            options,
            inbox_id,
            counters: Counters::default(),
            repeats: Repeats::default(),
            phase: watch::Sender::new(Phase::Running),
            renewals: watch::Sender::new(0),
            work,
            state: Mutex::new(EngineState {
                inbox,
                links: BTreeMap::new(),
                next_link: 0,
                pending: Vec::new(),
                committing: false,
                ready: VecDeque::new(),
                running: 0,
            }),
            failed: OnceLock::new(),
            commit: Notify::new(),
            changed: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, EngineState> {
        // A panic under this lock is a broken invariant of our own: nothing may go on from there.
        self.state
            .lock()
            .expect("no invariant of the inbox was broken before")
    }

    /// A link has introduced itself.
    pub(super) fn add_link(&self, sender: FrameSender) -> LinkId {
        self.counters.links.add(1);
        let mut state = self.state();
        state.next_link = state.next_link.saturating_add(1);
        let id = LinkId(state.next_link);
        let unanswered = BTreeMap::new();
        state.links.insert(id, EngineLink { sender, unanswered });
        id
    }

    /// A link is gone. What it sent goes on; its answers go nowhere.
    pub(super) fn remove_link(&self, link: LinkId) {
        // Called on the way of a panic, too: with a broken state the receiver ends anyway.
        if let Ok(mut state) = self.state.lock() {
            state.links.remove(&link);
            state.inbox.on_link_gone(link);
        }
        self.changed.notify_waiters();
    }

    /// A command arrived on `link`.
    pub(super) fn on_command(
        self: &Arc<Self>,
        link: LinkId,
        command: v1::Command,
    ) -> Result<(), ProtocolViolation> {
        self.counters.commands.add(1);
        let command = delivered(command)?;
        let waiter = Waiter {
            delivery: command.delivery,
            send: command.send,
            link,
        };
        if command.body.len() > self.options.body_bytes_max as usize {
            self.counters.too_large.add(1);
            let limit = self.options.body_bytes_max;
            let error = format!(
                "the body has {} bytes, the limit is {limit}",
                command.body.len()
            );
            let outcome: ExecutionOutcome = Err(HandlerError::Refused(error));
            self.reply(&mut self.state(), waiter, outcome.into());
            return Ok(());
        }
        let mut state = self.state();
        if !state.may_wait(waiter, self.options.in_flight_max as usize) {
            self.counters.unavailable.add(1);
            let outcome = full("more commands in flight than this link was granted".to_owned());
            self.reply(&mut state, waiter, outcome.into());
            return Ok(());
        }
        match state.inbox.on_command(waiter) {
            Decision::Run(run) => {
                self.wait_for_answer(&mut state, waiter);
                let since = self.env.clock.now();
                let job = Job {
                    run,
                    command,
                    since,
                };
                match &self.work {
                    ExecutionMode::Effects(_) => {
                        self.submit(&mut state, PendingCommit::Effect(job))
                    }
                    ExecutionMode::Handler { store, .. } if store.is_volatile() => {
                        state.ready.push_back(job);
                        drop(state);
                        self.start_ready(since);
                    }
                    ExecutionMode::Handler { .. } => {
                        self.submit(&mut state, PendingCommit::Start(job))
                    }
                }
            }
            Decision::Join => {
                self.counters.joined.add(1);
                self.wait_for_answer(&mut state, waiter);
            }
            decided => self.answer_at_once(&mut state, waiter, decided),
        }
        Ok(())
    }

    fn answer_at_once(&self, state: &mut EngineState, waiter: Waiter, decided: Decision) {
        match decided {
            Decision::Answer(outcome) => {
                self.counters.duplicates.add(1);
                self.reply(state, waiter, outcome.into());
            }
            Decision::Stale(current) => {
                self.counters.stale.add(1);
                self.reply(state, waiter, stale(current.get()));
            }
            Decision::Settled => {
                self.counters.settled.add(1);
                self.reply(state, waiter, stale(waiter.delivery.epoch.get()));
            }
            Decision::RolledBack => {
                // The bridge may be busy with a later send of this delivery: a reply could be taken for
                // that one's. This says only what is true of this send.
                self.counters.rolled_back.add(1);
                let told = v1::rollback_reply::State::RolledBack;
                let (delivery, send) = (waiter.delivery, waiter.send);
                let kind = rollback_reply(delivery, send, told, Bytes::new());
                self.send(state, waiter.link, kind);
            }
            Decision::Full(why) => {
                reached!(Site::InboxFull);
                self.counters.unavailable.add(1);
                self.reply(state, waiter, full(why.to_string()).into());
            }
            Decision::Run(_) | Decision::Join => unreachable!("handled by the caller"),
        }
    }

    /// A rollback arrived on `link`.
    pub(super) fn on_rollback(
        &self,
        link: LinkId,
        rollback: v1::Rollback,
    ) -> Result<(), ProtocolViolation> {
        use v1::rollback_reply::State as Told;
        self.counters.rollbacks.add(1);
        let (delivery, send) = delivery_and_send(rollback.delivery, rollback.send)?;
        let mut state = self.state();
        let (told, result) = match state.inbox.on_rollback(link, delivery, send) {
            RollbackDecision::RolledBack(links) => {
                self.counters.rolled_back.add(links.len());
                for waiting in links {
                    if let Some(waiting) = state.links.get_mut(&waiting) {
                        waiting.unanswered.remove(&(delivery, send));
                    }
                }
                self.changed.notify_waiters();
                (Told::RolledBack, Bytes::new())
            }
            RollbackDecision::Unknown => (Told::Unknown, Bytes::new()),
            RollbackDecision::InProgress => (Told::InProgress, Bytes::new()),
            RollbackDecision::AlreadyDone(result) => (Told::AlreadyDone, result),
            RollbackDecision::Full => {
                self.counters.rollbacks_unanswered.add(1);
                return Ok(());
            }
            RollbackDecision::TooMany => {
                let limit = self.options.inbox.tombstones_per_link;
                return Err(ProtocolViolation::Tombstones(limit));
            }
        };
        self.send(
            &mut state,
            link,
            rollback_reply(delivery, send, told, result),
        );
        Ok(())
    }

    /// The bridge says which tasks have left its queue.
    pub(super) fn on_settled(&self, settled: v1::Settled) -> Result<(), ProtocolViolation> {
        let mut state = self.state();
        for range in settled.ranges {
            let range = IdRange::try_from(range)?;
            let Some(waiting) = state.inbox.on_settled(range) else {
                self.counters.settlements_ignored.add(1);
                continue;
            };
            for waiter in waiting {
                self.counters.settled.add(1);
                let epoch = waiter.delivery.epoch.get();
                self.answer(&mut state, waiter, stale(epoch));
            }
            if matches!(&self.work, ExecutionMode::Handler { store, .. } if !store.is_volatile()) {
                self.submit(&mut state, PendingCommit::Settled(range));
            }
        }
        Ok(())
    }

    /// Tells the bridge of `link` what is being worked on for long enough, and how many bytes it was sent have arrived.
    /// Whether there was anything to tell.
    pub(super) fn tell_working(&self, link: LinkId, now: Mono, received_bytes: u64) -> bool {
        let mut state = self.state();
        let Some(link) = state.links.get_mut(&link) else {
            return false;
        };
        let mut told = false;
        let again = now.saturating_add(self.options.heartbeat);
        for ((delivery, send), due) in &mut link.unanswered {
            if *due <= now {
                *due = again;
                let working = v1::Working {
                    delivery: Some((*delivery).into()),
                    send: send.get(),
                    received_bytes,
                };
                // A link that is gone needs no sign of life.
                told |= link.sender.force(Kind::Working(working)).is_ok();
            }
        }
        told
    }

    /// Starts to drain: nothing new runs.
    pub(super) fn drain(&self) {
        self.state().inbox.drain();
        self.phase.send_if_modified(|phase| {
            let change = *phase < Phase::Draining;
            *phase = (*phase).max(Phase::Draining);
            change
        });
    }

    /// Ends every link and the committer.
    pub(super) fn stop(&self) {
        self.phase.send_replace(Phase::Stopped);
        self.commit.notify_one();
        self.changed.notify_waiters();
    }

    /// How much was received and not answered yet.
    pub(super) fn unfinished(&self) -> usize {
        let state = self.state();
        let waiting: usize = state.links.values().map(|link| link.unanswered.len()).sum();
        let queued = state.ready.len().saturating_add(state.pending.len());
        let busy = queued.saturating_add(state.running);
        waiting.max(busy).max(usize::from(state.committing))
    }

    /// Everything that is seen of the receiver.
    pub(super) fn status(&self) -> ReceiverStatus {
        let counters = &self.counters;
        let state = self.state();
        let unanswered = state.links.values().map(|link| link.unanswered.len());
        ReceiverStatus {
            inbox_id: self.inbox_id.to_string(),
            links: state.links.len() as u64,
            running: state.running as u64,
            ready: state.ready.len() as u64,
            unanswered: unanswered.sum::<usize>() as u64,
            uncommitted: state.pending.len() as u64,
            inbox: InboxStatus {
                tasks: state.inbox.len() as u64,
                result_bytes: state.inbox.result_bytes() as u64,
                settled_ranges: state.inbox.settled().len() as u64,
            },
            stats: self.stats(),
            bad_frames: counters.bad_frames(),
            handler_time: counters.handler_time.snapshot(),
            commit_time: counters.commit_time.snapshot(),
        }
    }

    /// What it has done, counted.
    pub(super) fn stats(&self) -> ReceiverStats {
        let listeners = self.receptions.each_ref().map(|one| one.status());
        self.counters.read(listeners)
    }

    /// How many links there are.
    pub(super) fn links(&self) -> usize {
        self.state().links.len()
    }

    /// Why the receiver can't go on, if it can't.
    pub(super) fn failure(&self) -> Option<ReceiverFailure> {
        self.failed.get().cloned()
    }

    /// The receiver can't go on. The first reason counts.
    pub(super) fn fail(&self, failure: ReceiverFailure) {
        self.failed.get_or_init(|| failure);
        self.stop();
        self.changed.notify_waiters();
    }

    /// A part of the receiver is gone without which it can't go on.
    pub(super) fn lose_part(&self, part: &'static str, how: String) {
        tracing::error!(part, how, "the receiver stops: it is not whole any more");
        self.fail(ReceiverFailure::Part { part, how });
    }

    /// The work of one link. If it panics, the link is gone, which its bridge sees and makes another; unless it broke
    /// what all links share.
    pub(super) fn of_link<F: Future<Output = ()>>(
        self: &Arc<Self>,
        work: F,
    ) -> impl Future<Output = ()> + use<F> {
        let engine = Arc::clone(self);
        watched(work, move |end| {
            if let TaskEnd::Panicked(why) = end {
                tracing::error!(why, "a link panicked; it is closed");
                engine.counters.links_panicked.add(1);
                if engine.state.is_poisoned() {
                    engine.lose_part("a link", format!("panicked: {why}"));
                }
            }
        })
    }

    /// Gives up the store's files.
    pub(super) async fn close_store(&self) {
        match &self.work {
            ExecutionMode::Handler { store, .. } => store.close().await,
            ExecutionMode::Effects(log) => log.close().await,
        }
    }

    fn submit(&self, state: &mut EngineState, pending: PendingCommit) {
        if state.pending.is_empty() {
            self.commit.notify_one();
        }
        state.pending.push(pending);
    }

    fn wait_for_answer(&self, state: &mut EngineState, waiter: Waiter) {
        let now = self.env.clock.now();
        let due = now.saturating_add(self.options.working_after);
        if let Some(link) = state.links.get_mut(&waiter.link) {
            link.unanswered
                .entry((waiter.delivery, waiter.send))
                .or_insert(due);
        }
    }

    /// Answers one who waited.
    fn answer(&self, state: &mut EngineState, waiter: Waiter, outcome: v1::reply::Outcome) {
        if let Some(link) = state.links.get_mut(&waiter.link) {
            link.unanswered.remove(&(waiter.delivery, waiter.send));
        }
        self.reply(state, waiter, outcome);
    }

    fn reply(&self, state: &mut EngineState, waiter: Waiter, outcome: v1::reply::Outcome) {
        let reply = v1::Reply {
            delivery: Some(waiter.delivery.into()),
            send: waiter.send.get(),
            outcome: Some(outcome),
        };
        self.send(state, waiter.link, Kind::Reply(reply));
    }

    fn send(&self, state: &mut EngineState, link: LinkId, kind: Kind) {
        let Some(link) = state.links.get(&link) else {
            self.counters.answers_undelivered.add(1);
            reached!(Site::AnswerUndelivered);
            return;
        };
        // Forced: a link's loop reads no further commands while its outbox is full.
        match link.sender.force(kind.clone()) {
            Ok(_) => {}
            Err(NotSent::TooLong { bytes, limit }) => {
                // It was executed, and that is what counts: the result is left out.
                tracing::warn!(
                    bytes,
                    limit,
                    "a result is too large for the bridge; answering without it"
                );
                self.counters.results_dropped.add(1);
                let _ = link.sender.force(without_result(kind));
            }
            Err(NotSent::Closed | NotSent::Full) => self.counters.answers_undelivered.add(1),
        }
    }
}

impl EngineState {
    /// Whether the link has room for one more unanswered send.
    fn may_wait(&self, waiter: Waiter, in_flight_max: usize) -> bool {
        self.links.get(&waiter.link).is_none_or(|link| {
            link.unanswered.len() < in_flight_max
                || link
                    .unanswered
                    .contains_key(&(waiter.delivery, waiter.send))
        })
    }
}

fn delivered(command: v1::Command) -> Result<Delivered, IdError> {
    let (delivery, send) = delivery_and_send(command.delivery, command.send)?;
    Ok(Delivered {
        delivery,
        send,
        route: command.route,
        headers: command.headers,
        body: command.body,
        key: command.key,
        expires_in: match command.expires_in_ms {
            0 => None,
            ms => Some(Duration::from_millis(ms)),
        },
    })
}

fn full(text: String) -> ExecutionOutcome {
    Err(HandlerError::Unavailable {
        retry_after: FULL_RETRY_AFTER,
        text,
    })
}

fn stale(current_epoch: u32) -> v1::reply::Outcome {
    v1::reply::Outcome::Stale(v1::Stale { current_epoch })
}

fn rollback_reply(
    delivery: DeliveryId,
    send: SendNumber,
    state: v1::rollback_reply::State,
    result: Bytes,
) -> Kind {
    Kind::RollbackReply(v1::RollbackReply {
        delivery: Some(delivery.into()),
        send: send.get(),
        state: state.into(),
        result,
    })
}

fn without_result(kind: Kind) -> Kind {
    match kind {
        Kind::Reply(mut reply) => {
            if let Some(v1::reply::Outcome::Done(done)) = &mut reply.outcome {
                done.result.clear();
            }
            Kind::Reply(reply)
        }
        Kind::RollbackReply(mut reply) => {
            reply.result.clear();
            Kind::RollbackReply(reply)
        }
        other => other,
    }
}
