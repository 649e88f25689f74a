//! The way over gRPC: a few tries, each under its deadline, until one is answered.
//!
//! A send that the socket left open is listened to meanwhile: a definite answer decides, from wherever
//! it comes.
//!
//! Where gRPC is the only way, most commands are answered at the first try. That one is made without the
//! loop around it: with a few thousand commands in flight, what each of them keeps is what they cost.

use super::SendingEnd;
use super::attempt::{DeliveryAttempt, report, until_decided};
use super::send::{OpenSend, Unanswered};
use crate::bridge::keeper::Keeper;
use crate::bridge::options::OnLostInbox;
use crate::bridge::waiters::{KeptAnswer, PendingQuestion, Sign};
use crate::coverage::{Site, reached};
use crate::env::timeout;
use crate::pipeline::{Context, PipelineError, retry};

impl DeliveryAttempt<'_> {
    /// Tries gRPC on a route that has no socket.
    pub(super) async fn by_grpc_alone(&self) -> SendingEnd {
        let why = "the route has no socket";
        let keeper = match &self.route.grpc {
            Some(grpc) if grpc.link().is_some() => grpc,
            _ => return SendingEnd::Unanswered(format!("{why}; gRPC is not connected")),
        };
        let error = match self.try_grpc(keeper, self.ctx.child()).await {
            Ok(answer) => return SendingEnd::Answered(answer),
            Err(error) => error,
        };
        let left = self.route.options.sends_max;
        match Box::pin(self.tries(keeper, left, Some(error))).await {
            Ok(answer) => SendingEnd::Answered(answer),
            Err(error) => ending(error, why),
        }
    }

    /// Tries gRPC where the socket came first. `open` is a send that may yet be answered there.
    pub(super) async fn fall_back(&self, why: String, open: Option<OpenSend>) -> SendingEnd {
        let doubtful = self.progress().doubt.is_some();
        let Some(keeper) = &self.route.grpc else {
            return self.without_grpc(why, open).await;
        };
        let left = self
            .route
            .options
            .sends_max
            .saturating_sub(self.progress().sends);
        // With nothing in doubt there is nothing to gain by waiting for a link.
        if left == 0 || (keeper.link().is_none() && !doubtful) {
            let why = format!("{why}; gRPC is not connected");
            return self.without_grpc(why, open).await;
        }
        let counters = &self.route.counters;
        if doubtful {
            counters.fallbacks_in_doubt.increment();
            reached!(Site::FallbackInDoubt);
        } else {
            counters.fallbacks_not_sent.increment();
            reached!(Site::FallbackNotSent);
        }
        let tries = self.tries(keeper, left, None);
        let outcome = match open {
            None => tries.await,
            Some(mut open) => tokio::select! {
                biased;
                answer = definite(&mut open.pending) => {
                    reached!(Site::OpenSendAnswered);
                    Ok(answer)
                }
                outcome = tries => outcome,
            },
        };
        match outcome {
            Ok(answer) => SendingEnd::Answered(answer),
            Err(error) => ending(error, &why),
        }
    }

    /// There is only the send that is still open, if there is one.
    async fn without_grpc(&self, why: String, open: Option<OpenSend>) -> SendingEnd {
        let Some(OpenSend {
            mut pending,
            in_progress: true,
        }) = open
        else {
            return SendingEnd::Unanswered(why);
        };
        let silence = self
            .route
            .options
            .working_silence(self.route.options.heartbeat);
        loop {
            match timeout(&*self.route.env.clock, silence, pending.next()).await {
                Ok(Sign::Answer(answer)) => return SendingEnd::Answered(answer),
                Ok(Sign::Working) => {}
                Ok(Sign::LinkDied { .. }) | Err(_) => return SendingEnd::Unanswered(why),
            }
        }
    }

    /// As many tries as the route allows, with `left` sends at most. `first` is what the first of them came
    /// to, if it was made already.
    async fn tries(
        &self,
        keeper: &Keeper,
        left: u32,
        mut first: Option<PipelineError<Unanswered>>,
    ) -> Result<KeptAnswer, PipelineError<Unanswered>> {
        let policy = self.route.options.grpc_policy(left);
        retry(&self.ctx, &policy, |_, scope| {
            let made = first.take();
            async move {
                match made {
                    Some(error) => Err(error),
                    None => self.try_grpc(keeper, scope).await,
                }
            }
        })
        .await
    }

    /// One try. (A block, because an `async fn` would keep its arguments twice.)
    fn try_grpc<'b>(
        &'b self,
        keeper: &'b Keeper,
        scope: Context,
    ) -> impl Future<Output = Result<KeptAnswer, PipelineError<Unanswered>>> + Send + 'b {
        let patience = self.route.options.grpc_try;
        async move {
            let Some(link) = keeper.link() else {
                let why = "gRPC is not connected".to_owned();
                let silent = false;
                return Err(Unanswered::NeverSent { why, silent }.into());
            };
            if let Some(held) = self.hold_back(&link) {
                return Err(Unanswered::Stop(held).into());
            }
            let doubt = self.progress().doubt;
            if let Some(known) = doubt
                && known != link.inbox_id()
                && self.route.options.on_lost_inbox == OnLostInbox::Hold
            {
                let why = format!("gRPC leads to inbox {}, not to {known}", link.inbox_id());
                return Err(Unanswered::Stop(SendingEnd::Unanswered(why)).into());
            }
            // There is no other way left, so that the breaker holds nothing back.
            let pass = keeper.pass(false).expect("passes without an alternative");
            let mut unanswered = match self.send(keeper, &link, &scope, patience).await {
                Ok(answer) => {
                    scope.succeed();
                    return Ok(answer);
                }
                Err(unanswered) => unanswered,
            };
            if let Unanswered::InDoubt { open, .. } = &mut unanswered
                && !link.is_accepting()
                && let Some(answer) = Box::pin(until_decided(&link, open)).await
            {
                scope.succeed();
                return Ok(answer);
            }
            match &mut unanswered {
                Unanswered::Stop(_) => {}
                Unanswered::NeverSent { silent, .. } => {
                    report(pass, *silent);
                    scope.succeed();
                }
                // Its rollback stays registered: it runs if no later try is answered. Nobody listens any more.
                Unanswered::InDoubt { silent, open, .. } => {
                    report(pass, *silent);
                    *open = None;
                }
            }
            Err(unanswered.into())
        }
    }
}

/// A definite answer to a send that was given up; never completes if none comes.
async fn definite(open: &mut PendingQuestion) -> KeptAnswer {
    loop {
        if let Sign::Answer(answer) = open.next().await {
            return answer;
        }
    }
}

fn ending(error: PipelineError<Unanswered>, before: &str) -> SendingEnd {
    let error = match error {
        PipelineError::Exhausted { last, .. } => *last,
        other => other,
    };
    match error {
        PipelineError::Failed(Unanswered::Stop(SendingEnd::Unanswered(why))) => {
            SendingEnd::Unanswered(format!("{before}; {why}"))
        }
        PipelineError::Failed(Unanswered::Stop(end)) => end,
        PipelineError::Failed(error) => SendingEnd::Unanswered(format!("{before}; {error}")),
        other => SendingEnd::Unanswered(format!("{before}; {other}")),
    }
}
