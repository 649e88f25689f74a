//! The state of one attempt, its first send over the socket, and its end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::rollback::Learned;
use super::send::{OpenSend, Unanswered};
use super::{AttemptVerdict, Evidence, SendingEnd, sends};
use crate::bridge::keeper::LinkPass;
use crate::bridge::limits::UNDO_MAX;
use crate::bridge::link::Link;
use crate::bridge::options::OnLostInbox;
use crate::bridge::route::Route;
use crate::bridge::waiters::{KeptAnswer, PendingQuestion, RollbackState, Sign};
use crate::core::DeliveryId;
use crate::core::event::TransportKind;
use crate::coverage::{Site, reached};
use crate::env::Mono;
use crate::pipeline::{Context, ContextOptions};
use crate::queue::{Command, Failure, Lease, Sends};
use crate::wire::{HandlerError, InboxId};

/// See the module's description. Its futures share it by reference.
pub(super) struct DeliveryAttempt<'a> {
    pub(super) route: &'a Route,
    pub(super) lease: &'a Lease<Command>,
    pub(super) ctx: Context,
    pub(super) delivery: DeliveryId,
    pub(super) learned: Arc<Learned>,
    /// The socket is passed over if there is an alternative.
    by_grpc: bool,
    progress: Mutex<SendProgress>,
}

/// What was sent so far.
#[derive(Default)]
pub(super) struct SendProgress {
    /// When the first send is made: as soon as the attempt starts. Gone once that was tried.
    pub(super) starts: Option<Mono>,
    /// Sends that left or may have left.
    pub(super) sends: u32,
    pub(super) last: Option<TransportKind>,
    /// The queue knows that something may be sent.
    pub(super) marked: bool,
    /// The inbox of the first send in doubt.
    pub(super) doubt: Option<InboxId>,
    /// The inbox of the send that is listened to. Still there when the attempt is cut off in the middle of that: then
    /// it is in doubt as well.
    pub(super) listening: Option<InboxId>,
}

impl<'a> DeliveryAttempt<'a> {
    pub(super) fn new(
        route: &'a Route,
        lease: &'a Lease<Command>,
        by_grpc: bool,
        starts: Mono,
    ) -> Self {
        let options = ContextOptions {
            abandoned: route.abandoned.clone(),
            ..ContextOptions::default()
        };
        Self {
            route,
            lease,
            ctx: Context::new(route.env.clone(), options),
            delivery: lease.delivery(),
            learned: Arc::default(),
            by_grpc,
            progress: Mutex::new(SendProgress {
                starts: Some(starts),
                ..SendProgress::default()
            }),
        }
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, SendProgress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends with fallback until there is a definite answer or nothing is left to try.
    pub(super) async fn run(&self) -> SendingEnd {
        if let Some(end) = self.refuse_locally() {
            return end;
        }
        if let Some(end) = self.left_behind().await {
            return end;
        }
        let Some(keeper) = &self.route.socket else {
            return self.by_grpc_alone().await;
        };
        let alternative = self.route.grpc.as_ref();
        let alternative = alternative.is_some_and(|grpc| grpc.link().is_some());
        let Some(link) = keeper.link() else {
            let why = "the socket is not connected".to_owned();
            return Box::pin(self.fall_back(why, None)).await;
        };
        if self.by_grpc && alternative {
            let why = "the socket was passed over".to_owned();
            return Box::pin(self.fall_back(why, None)).await;
        }
        let Some(pass) = keeper.pass(alternative) else {
            let why = "the socket's breaker is open".to_owned();
            return Box::pin(self.fall_back(why, None)).await;
        };
        if let Some(held) = self.hold_back(&link) {
            return held;
        }
        let scope = self.ctx.child();
        let patience = self.route.options.first_sign_of_life;
        match self.send(keeper, &link, &scope, patience).await {
            Ok(answer) => {
                scope.succeed();
                SendingEnd::Answered(answer)
            }
            Err(unanswered) => Box::pin(self.after_socket(&link, pass, scope, unanswered)).await,
        }
    }

    /// The socket gave no answer: the rest of the diagram.
    async fn after_socket(
        &self,
        link: &Link,
        pass: LinkPass<'_>,
        mut scope: Context,
        unanswered: Unanswered,
    ) -> SendingEnd {
        match unanswered {
            Unanswered::Stop(end) => end,
            Unanswered::NeverSent { why, silent } => {
                report(pass, silent);
                scope.succeed();
                self.fall_back(why, None).await
            }
            Unanswered::InDoubt {
                why,
                mut open,
                silent,
            } => {
                report(pass, silent);
                self.undo(&mut scope).await;
                let in_progress = match self.learned.take_last() {
                    Some(RollbackState::AlreadyDone(result)) => {
                        return SendingEnd::Answered(KeptAnswer::Ended(Ok(result)));
                    }
                    // It won't run: its answer is not waited for.
                    Some(RollbackState::RolledBack | RollbackState::Unknown) => {
                        drop(open);
                        return self.fall_back(why, None).await;
                    }
                    Some(RollbackState::InProgress) => true,
                    None => false,
                };
                if let Some(answer) = until_decided(link, &mut open).await {
                    return SendingEnd::Answered(answer);
                }
                let open = open.map(|pending| OpenSend {
                    pending,
                    in_progress,
                });
                self.fall_back(why, open).await
            }
        }
    }

    /// An earlier lease may have left a send on a link that takes nothing new and finishes what it has. Before that is
    /// answered, or that link is dead, the task goes nowhere else: it may be executed there still, and another inbox
    /// doesn't know of it.
    fn left_behind(&self) -> impl Future<Output = Option<SendingEnd>> + Send {
        // Rarely there, and a large future: in a box of its own.
        let link = self.route.leaving_with(self.lease.id());
        let waits = link.map(|link| Box::pin(self.wait_for_the_left(link)));
        async move { waits?.await }
    }

    async fn wait_for_the_left(&self, mut link: Arc<Link>) -> Option<SendingEnd> {
        let task = self.lease.id();
        reached!(Site::LeftBehindWaited);
        loop {
            while let Some(mut pending) = link.take_up(task) {
                let done = |answer: &KeptAnswer| matches!(answer, KeptAnswer::Ended(Ok(_)));
                // Another answer binds the epoch that it was given to.
                if let Some(answer) = last_word(&mut pending).await.filter(done) {
                    return Some(SendingEnd::Answered(answer));
                }
            }
            link = self.route.leaving_with(task)?;
        }
    }

    /// What needs no endpoint to be turned away.
    fn refuse_locally(&self) -> Option<SendingEnd> {
        let bytes = self.lease.value().body.len();
        let most = self.route.options.body_bytes_max;
        if bytes > most as usize {
            let why = format!("the body has {bytes} bytes, the route allows {most}");
            return Some(SendingEnd::Unsendable(why));
        }
        self.is_expired().then_some(SendingEnd::Expired)
    }

    pub(super) fn is_expired(&self) -> bool {
        self.lease.expires_in() == Some(Duration::ZERO)
    }

    /// With `on_lost_inbox = hold`, a task in doubt goes to the inbox that knows, or to nobody.
    pub(super) fn hold_back(&self, link: &Link) -> Option<SendingEnd> {
        if self.route.options.on_lost_inbox == OnLostInbox::Redeliver {
            return None;
        }
        let known = self.route.doubts().inbox_of(self.lease.id())?;
        let now = link.inbox_id();
        (known != now).then(|| {
            reached!(Site::LostInboxHeld);
            SendingEnd::Held(format!(
                "held: a send is in doubt at inbox {known}, and the endpoint now has inbox {now}; \
                 requeue it if it was not executed, else purge it"
            ))
        })
    }

    /// Runs the compensations of a scope, last first. Each rollback has a patience of its own.
    async fn undo(&self, scope: &mut Context) {
        if let Err(errors) = scope.compensate(UNDO_MAX).await {
            let counter = &self.route.counters.compensation_failures;
            counter.add(errors.failures.len());
            tracing::debug!(delivery = %self.delivery, %errors, "a send could not be rolled back");
        }
    }

    /// It is done: nothing is taken back.
    pub(super) fn succeed(self) -> Sends {
        let sends = self.sends();
        self.ctx.succeed();
        sends
    }

    /// Compensates what failed, which may show that it did not.
    pub(super) async fn compensate(
        mut self,
        mut verdict: AttemptVerdict,
        mut evidence: Evidence,
    ) -> (AttemptVerdict, Evidence, Sends) {
        if self.ctx.compensations() > 0 {
            let learned = Arc::clone(&self.learned);
            let options = ContextOptions::default();
            let spare = Context::new(self.route.env.clone(), options);
            let mut ctx = std::mem::replace(&mut self.ctx, spare);
            self.undo(&mut ctx).await;
            if let Some(result) = learned.done() {
                // A rollback came too late, and that is an answer.
                (verdict, evidence) = (AttemptVerdict::Done(result), Evidence::Answers);
            }
        }
        self.note_doubt(&verdict);
        (verdict, evidence, self.sends())
    }

    /// What the end means for the lease, before anything is compensated, and what it says about the endpoint.
    pub(super) fn judge(&self, end: SendingEnd) -> (AttemptVerdict, Evidence) {
        let doubtful = self.progress().doubt.is_some();
        let in_doubt = |why| AttemptVerdict::Failed(Failure::InDoubt(why));
        match end {
            SendingEnd::Answered(answer) => (verdict(answer), Evidence::Answers),
            SendingEnd::Unanswered(why) if doubtful => (in_doubt(why), Evidence::Silence),
            SendingEnd::Unanswered(why) => (
                AttemptVerdict::Failed(Failure::NotSent(why)),
                Evidence::Silence,
            ),
            // What may have been executed is not refused for good.
            SendingEnd::Unsendable(why) if doubtful => (in_doubt(why), Evidence::None),
            SendingEnd::Unsendable(why) => (
                AttemptVerdict::Failed(Failure::Refused(why)),
                Evidence::None,
            ),
            SendingEnd::Held(why) => (AttemptVerdict::Held(why), Evidence::None),
            SendingEnd::Expired if doubtful => {
                let why = "its deadline passed before an answer came".to_owned();
                (in_doubt(why), Evidence::None)
            }
            // Given back unsent, the queue finds it expired itself.
            SendingEnd::Expired => (AttemptVerdict::Released, Evidence::None),
            SendingEnd::TooLate(why) if doubtful => (in_doubt(why), Evidence::None),
            SendingEnd::TooLate(why) => (
                AttemptVerdict::Failed(Failure::NotSent(why)),
                Evidence::None,
            ),
            SendingEnd::Panicked(why) => {
                let task = self.lease.id();
                tracing::error!(route = %self.route.options.name, %task, why, "a delivery panicked");
                self.route.counters.panicked.increment();
                let why = format!("the bridge panicked while it delivered this: {why}");
                let failure = Failure::Panicked(why);
                (AttemptVerdict::Failed(failure), Evidence::None)
            }
            SendingEnd::LeaseLost => {
                reached!(Site::LeaseLostInFlight);
                (AttemptVerdict::Lost, Evidence::None)
            }
            SendingEnd::Cut if self.progress().sends > 0 => {
                reached!(Site::CutByDrain);
                let why = "the bridge stopped before an answer came".to_owned();
                (in_doubt(why), Evidence::None)
            }
            SendingEnd::Cut => (AttemptVerdict::Released, Evidence::None),
        }
    }

    fn note_doubt(&self, verdict: &AttemptVerdict) {
        if self.route.options.on_lost_inbox == OnLostInbox::Redeliver {
            return;
        }
        let task = self.lease.id();
        match verdict {
            AttemptVerdict::Failed(Failure::InDoubt(_) | Failure::Panicked(_))
            | AttemptVerdict::Lost => {
                let progress = self.progress();
                if let Some(inbox) = progress.doubt.or(progress.listening) {
                    self.route.doubts().remember(task, inbox);
                }
            }
            AttemptVerdict::Done(_) | AttemptVerdict::Held(_) => self.route.doubts().forget(task),
            // Any other answer binds its own epoch only; the doubt about an earlier one stays.
            AttemptVerdict::Failed(_) | AttemptVerdict::Released => {}
        }
    }

    fn sends(&self) -> Sends {
        let progress = self.progress();
        sends(progress.sends, progress.last)
    }
}

/// Waits for what becomes of a send in doubt on a link that takes nothing new: until it is answered, or that link is
/// dead, the command is sent over no other. On a link that goes on nothing is waited for: what comes next leads to the
/// same inbox, or is known not to.
pub(super) async fn until_decided(
    link: &Link,
    open: &mut Option<PendingQuestion>,
) -> Option<KeptAnswer> {
    if link.is_accepting() {
        return None;
    }
    reached!(Site::LeavingWaited);
    let answer = last_word(open.as_mut()?).await;
    *open = None;
    answer
}

/// The answer to a send; `None` if its link has ended without one.
async fn last_word(pending: &mut PendingQuestion) -> Option<KeptAnswer> {
    loop {
        match pending.next().await {
            Sign::Answer(answer) => return Some(answer),
            Sign::LinkDied { .. } => return None,
            Sign::Working => {}
        }
    }
}

/// Tells a link's breaker how a send without an answer ended.
pub(super) fn report(pass: LinkPass<'_>, silent: bool) {
    if silent {
        pass.unanswered();
    }
}

/// What an answer to a command means for its lease.
fn verdict(answer: KeptAnswer) -> AttemptVerdict {
    AttemptVerdict::Failed(match answer {
        KeptAnswer::Ended(Ok(result)) => return AttemptVerdict::Done(result),
        KeptAnswer::Ended(Err(HandlerError::Rejected(text))) => Failure::Rejected(text),
        KeptAnswer::Ended(Err(HandlerError::Refused(text))) => Failure::Refused(text),
        KeptAnswer::Ended(Err(HandlerError::Unavailable { retry_after, text })) => {
            Failure::Unavailable {
                retry_after,
                reason: text,
            }
        }
        // Nothing was executed for this epoch, but a newer or settled one may have been.
        KeptAnswer::Stale { current_epoch } => {
            reached!(Site::StaleAnswer);
            Failure::InDoubt(format!(
                "the endpoint calls the delivery stale; it knows epoch {current_epoch}"
            ))
        }
        KeptAnswer::RolledBack(state) => {
            unreachable!("{state:?} answers a rollback, not a command")
        }
    })
}
