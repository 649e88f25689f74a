//! The state of one attempt, its first send over the socket, and its end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::rollback::{Learned, register};
use super::{End, Evidence, Verdict, sends};
use crate::bridge::breaker::Pass;
use crate::bridge::keeper::Keeper;
use crate::bridge::link::{Link, Outbound};
use crate::bridge::options::OnLostInbox;
use crate::bridge::route::Route;
use crate::bridge::waiters::{Answer, NotAsked, Pending, RollbackState, Sign};
use crate::core::event::TransportKind;
use crate::env::timeout;
use crate::pipeline::{Context, ContextOptions};
use crate::queue::{Command, Failure, Lease, Sends};
use crate::wire::{DeliveryId, Epoch, InboxId, NotSent, SendNumber, TaskId};

/// See the module's description. Its futures share it by reference.
pub(super) struct Attempt<'a> {
    pub(super) route: &'a Route,
    pub(super) lease: &'a Lease<Command>,
    pub(super) ctx: Context,
    delivery: DeliveryId,
    learned: Arc<Learned>,
    progress: Mutex<Progress>,
}

/// What was sent so far.
#[derive(Default)]
pub(super) struct Progress {
    /// Sends that left or may have left.
    pub(super) sends: u32,
    last: Option<TransportKind>,
    /// The queue knows that something may be sent.
    marked: bool,
    /// The inbox of the first send in doubt.
    pub(super) doubt: Option<InboxId>,
}

/// How one send ended.
pub(super) enum Heard {
    Answer(Answer),
    /// Definite: no byte of it left. With whether the link was silent, as opposed to closed.
    NeverSent {
        why: String,
        silent: bool,
    },
    /// It may have arrived. The question stays open if the link lives.
    Doubt {
        why: String,
        open: Option<Pending>,
        silent: bool,
    },
    /// It can't be sent on this link, ever.
    TooLong(String),
    LeaseLost,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(route: &'a Route, lease: &'a Lease<Command>) -> Self {
        let options = ContextOptions {
            abandoned: route.abandoned.clone(),
            ..ContextOptions::default()
        };
        Self {
            route,
            lease,
            ctx: Context::new(route.env.clone(), options),
            delivery: wire_delivery(lease.delivery()),
            learned: Arc::default(),
            progress: Mutex::default(),
        }
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends with fallback until there is a definite answer or nothing is left to try.
    pub(super) async fn run(&self) -> End {
        if let Some(end) = self.refuse_locally() {
            return end;
        }
        let Some(keeper) = &self.route.socket else {
            let why = "the route has no socket";
            return Box::pin(self.fall_back(why.to_owned(), None)).await;
        };
        let alternative = self.route.grpc.as_ref();
        let alternative = alternative.is_some_and(|grpc| grpc.link().is_some());
        let Some(link) = keeper.link() else {
            let why = "the socket is not connected".to_owned();
            return Box::pin(self.fall_back(why, None)).await;
        };
        let Some(pass) = keeper.pass(alternative) else {
            let why = "the socket's breaker is open".to_owned();
            return Box::pin(self.fall_back(why, None)).await;
        };
        if let Some(held) = self.hold_back(&link) {
            keeper.withdrawn(pass);
            return held;
        }
        let scope = self.ctx.child();
        let patience = self.route.options.first_sign_of_life;
        match self.send(keeper, &link, &scope, patience).await {
            Heard::Answer(answer) => {
                scope.succeed();
                End::Answered(verdict(answer))
            }
            other => Box::pin(self.after_socket(keeper, pass, scope, other)).await,
        }
    }

    /// The socket gave no answer: the rest of the diagram.
    async fn after_socket(
        &self,
        keeper: &Keeper,
        pass: Pass,
        mut scope: Context,
        heard: Heard,
    ) -> End {
        match heard {
            Heard::Answer(answer) => End::Answered(verdict(answer)),
            Heard::LeaseLost => {
                keeper.withdrawn(pass);
                End::LeaseLost
            }
            Heard::TooLong(why) => {
                keeper.withdrawn(pass);
                scope.succeed();
                End::Unsendable(why)
            }
            Heard::NeverSent { why, silent } => {
                report(keeper, pass, silent);
                scope.succeed();
                self.fall_back(why, None).await
            }
            Heard::Doubt { why, open, silent } => {
                report(keeper, pass, silent);
                self.undo(&mut scope).await;
                match self.learned.take_last() {
                    Some(RollbackState::AlreadyDone) => End::Answered(Verdict::Done),
                    // It won't run: its answer is not waited for.
                    Some(RollbackState::RolledBack | RollbackState::Unknown) => {
                        drop(open);
                        self.fall_back(why, None).await
                    }
                    Some(RollbackState::InProgress) | None => self.fall_back(why, open).await,
                }
            }
        }
    }

    /// What needs no endpoint to be turned away.
    fn refuse_locally(&self) -> Option<End> {
        let bytes = self.lease.value().body.len();
        let most = self.route.options.body_bytes_max;
        if bytes > most as usize {
            let why = format!("the body has {bytes} bytes, the route allows {most}");
            return Some(End::Unsendable(why));
        }
        let expired = self.lease.expires_in() == Some(Duration::ZERO);
        // Given back unsent, the queue finds it expired itself.
        expired.then_some(End::Stopped(Verdict::Released))
    }

    /// With `on_lost_inbox = hold`, a task in doubt goes to the inbox that knows, or to nobody.
    pub(super) fn hold_back(&self, link: &Link) -> Option<End> {
        if self.route.options.on_lost_inbox == OnLostInbox::Redeliver {
            return None;
        }
        let known = self.route.doubts().inbox_of(self.lease.id())?;
        let now = link.inbox_id();
        (known != now).then(|| {
            End::Stopped(Verdict::Held(format!(
                "held: a send is in doubt at inbox {known}, and the endpoint now has inbox {now}; \
                 requeue it if it was not executed, else purge it"
            )))
        })
    }

    /// One send on `link`, until an answer, the link's death, or silence. `patience` bounds the first
    /// sign of life; after it the endpoint has to repeat it.
    pub(super) async fn send(
        &self,
        keeper: &Keeper,
        link: &Arc<Link>,
        scope: &Context,
        patience: Duration,
    ) -> Heard {
        let body_bytes_max = link.hello().body_bytes_max;
        let bytes = self.lease.value().body.len();
        if bytes > body_bytes_max as usize {
            let why = format!("the body has {bytes} bytes, the endpoint accepts {body_bytes_max}");
            return Heard::TooLong(why);
        }
        let pending = match self.ask(link, scope, patience).await {
            Ok(pending) => pending,
            Err(heard) => return heard,
        };
        let heard = self.hear(keeper, link, pending, patience).await;
        match &heard {
            // It gives its number back; the next send may have it.
            Heard::NeverSent { .. } => self.progress().sends -= 1,
            Heard::Doubt { .. } => {
                let mut progress = self.progress();
                progress.doubt.get_or_insert(link.inbox_id());
            }
            _ => {}
        }
        heard
    }

    /// Queues the command on `link`, waiting for the endpoint's window if need be.
    async fn ask(
        &self,
        link: &Arc<Link>,
        scope: &Context,
        patience: Duration,
    ) -> Result<Pending, Heard> {
        let number = self.progress().sends + 1;
        let send = SendNumber::new(number).expect("sends are limited far below");
        if !self.mark_sent() {
            return Err(Heard::LeaseLost);
        }
        loop {
            let asked = link.execute(self.delivery, send, self.outbound());
            let closed = match asked {
                Ok(pending) => {
                    // Queued and not yet polled away from here: the rollback is in place before
                    // anybody can learn of the send.
                    register(scope, link, self.delivery, send, &self.learned);
                    let mut progress = self.progress();
                    progress.sends = number;
                    progress.last = Some(link.transport());
                    return Ok(pending);
                }
                Err(NotAsked::Window) => {
                    let room = timeout(&*self.route.env.clock, patience, link.window()).await;
                    match room {
                        Ok(()) => continue,
                        Err(_) => NotAsked::Window.to_string(),
                    }
                }
                Err(NotAsked::Link(error @ NotSent::TooLong { .. })) => {
                    return Err(Heard::TooLong(error.to_string()));
                }
                Err(error @ NotAsked::Link(NotSent::Closed | NotSent::Full)) => error.to_string(),
            };
            return Err(Heard::NeverSent {
                why: closed,
                silent: false,
            });
        }
    }

    /// Waits for what becomes of a send.
    async fn hear(
        &self,
        keeper: &Keeper,
        link: &Link,
        mut pending: Pending,
        patience: Duration,
    ) -> Heard {
        let transport = link.transport().as_str();
        let mut limit = patience;
        let mut working = false;
        loop {
            match timeout(&*self.route.env.clock, limit, pending.next()).await {
                Ok(Sign::Answer(answer)) => {
                    keeper.answered();
                    return Heard::Answer(answer);
                }
                Ok(Sign::Working) => {
                    keeper.answered();
                    working = true;
                    let theirs = link.hello().heartbeat;
                    limit = self.route.options.working_silence(theirs);
                }
                Ok(Sign::LinkDied { maybe_sent: true }) => {
                    return Heard::Doubt {
                        why: format!("the {transport} link died before an answer came"),
                        open: None,
                        silent: false,
                    };
                }
                Ok(Sign::LinkDied { maybe_sent: false }) => {
                    return Heard::NeverSent {
                        why: format!("the {transport} link died before the command left"),
                        silent: false,
                    };
                }
                Err(elapsed) if pending.withdraw() => {
                    let what = if working { "word" } else { "sign of life" };
                    return Heard::Doubt {
                        why: format!("no {what} over {transport} within {:?}", elapsed.after),
                        open: Some(pending),
                        silent: !working,
                    };
                }
                Err(elapsed) => {
                    return Heard::NeverSent {
                        why: format!("the {transport} took nothing for {:?}", elapsed.after),
                        silent: true,
                    };
                }
            }
        }
    }

    fn mark_sent(&self) -> bool {
        let marked = self.progress().marked;
        let marked = marked || self.lease.mark_sent().is_ok();
        self.progress().marked = marked;
        marked
    }

    fn outbound(&self) -> Outbound {
        let command = self.lease.value();
        let expires_in = self.lease.expires_in();
        Outbound {
            route: self.route.options.name.clone(),
            headers: command.headers.clone(),
            body: command.body.clone(),
            key: self.lease.key().unwrap_or_default().to_owned(),
            // Zero means none, so that the last millisecond is rounded up.
            expires_in_ms: expires_in.map_or(0, |left| {
                u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1)
            }),
        }
    }

    /// Runs the compensations of a scope, last first.
    async fn undo(&self, scope: &mut Context) {
        if let Err(errors) = scope.compensate(self.route.options.rollback).await {
            let counter = &self.route.counters.compensation_failures;
            counter.add(errors.failures.len());
            tracing::debug!(delivery = %self.delivery, %errors, "a send could not be rolled back");
        }
    }

    /// Compensates what failed, and says what the lease's settlement is.
    pub(super) async fn conclude(mut self, end: End) -> (Verdict, Evidence, Sends) {
        let (mut verdict, mut evidence) = self.judge(end);
        if verdict == Verdict::Done {
            let (sends, ctx) = (self.sends(), self.ctx);
            ctx.succeed();
            return (verdict, evidence, sends);
        }
        if self.ctx.compensations() > 0 {
            let learned = Arc::clone(&self.learned);
            let options = ContextOptions::default();
            let spare = Context::new(self.route.env.clone(), options);
            let mut ctx = std::mem::replace(&mut self.ctx, spare);
            self.undo(&mut ctx).await;
            if learned.is_done() {
                // A rollback came too late, and that is an answer.
                (verdict, evidence) = (Verdict::Done, Evidence::Answers);
            }
        }
        self.note_doubt(&verdict);
        (verdict, evidence, self.sends())
    }

    fn judge(&self, end: End) -> (Verdict, Evidence) {
        let doubtful = self.progress().doubt.is_some();
        let in_doubt = |why| Verdict::Failed(Failure::InDoubt(why));
        match end {
            End::Answered(verdict) => (verdict, Evidence::Answers),
            End::Unanswered(why) if doubtful => (in_doubt(why), Evidence::Silence),
            End::Unanswered(why) => (Verdict::Failed(Failure::NotSent(why)), Evidence::Silence),
            // What may have been executed is not refused for good.
            End::Unsendable(why) if doubtful => (in_doubt(why), Evidence::None),
            End::Unsendable(why) => (Verdict::Failed(Failure::Refused(why)), Evidence::None),
            End::Stopped(verdict) => (verdict, Evidence::None),
            End::LeaseLost => (Verdict::Lost, Evidence::None),
            End::Cut if self.progress().sends > 0 => {
                let why = "the bridge stopped before an answer came".to_owned();
                (in_doubt(why), Evidence::None)
            }
            End::Cut => (Verdict::Released, Evidence::None),
        }
    }

    fn note_doubt(&self, verdict: &Verdict) {
        if self.route.options.on_lost_inbox == OnLostInbox::Redeliver {
            return;
        }
        let task = self.lease.id();
        match verdict {
            Verdict::Failed(Failure::InDoubt(_)) | Verdict::Lost => {
                if let Some(inbox) = self.progress().doubt {
                    self.route.doubts().remember(task, inbox);
                }
            }
            Verdict::Done | Verdict::Held(_) => self.route.doubts().forget(task),
            // Any other answer binds its own epoch only; the doubt about an earlier one stays.
            Verdict::Failed(_) | Verdict::Released => {}
        }
    }

    fn sends(&self) -> Sends {
        let progress = self.progress();
        sends(progress.sends, progress.last)
    }
}

/// Tells a link's breaker how a send without an answer ended.
pub(super) fn report(keeper: &Keeper, pass: Pass, silent: bool) {
    if silent {
        keeper.unanswered(pass);
    } else {
        keeper.withdrawn(pass);
    }
}

/// What an answer to a command means for its lease.
pub(super) fn verdict(answer: Answer) -> Verdict {
    Verdict::Failed(match answer {
        Answer::Done | Answer::RolledBack(RollbackState::AlreadyDone) => return Verdict::Done,
        Answer::Rejected(error) => Failure::Rejected(error),
        Answer::Refused(error) => Failure::Refused(error),
        Answer::Unavailable {
            retry_after_ms,
            error,
        } => Failure::Unavailable {
            retry_after: Duration::from_millis(retry_after_ms),
            reason: error,
        },
        // Nothing was executed for this epoch, but a newer or settled one may have been.
        Answer::Stale { current_epoch } => Failure::InDoubt(format!(
            "the endpoint calls the delivery stale; it knows epoch {current_epoch}"
        )),
        Answer::RolledBack(state) => unreachable!("{state:?} answers a rollback, not a command"),
    })
}

fn wire_delivery(delivery: crate::core::DeliveryId) -> DeliveryId {
    DeliveryId {
        task: TaskId {
            origin: delivery.task.origin.0,
            seq: delivery.task.seq.0,
        },
        epoch: Epoch::new(delivery.epoch.0).expect("a lease's epoch is at least 1"),
    }
}
