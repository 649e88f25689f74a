//! The way over gRPC: a few tries, each under its deadline, until one is answered.
//!
//! A send that the socket left open is listened to meanwhile: a definite answer decides, from wherever
//! it comes.

use super::SendingEnd;
use super::attempt::{DeliveryAttempt, report};
use super::send::{OpenSend, Unanswered};
use crate::bridge::keeper::Keeper;
use crate::bridge::options::OnLostInbox;
use crate::bridge::waiters::{KeptAnswer, PendingQuestion, Sign};
use crate::coverage::{Site, reached};
use crate::env::timeout;
use crate::pipeline::{Context, PipelineError, retry};

impl DeliveryAttempt<'_> {
    /// Tries gRPC after the socket. `open` is a send that may yet be answered there.
    pub(super) async fn fall_back(&self, why: String, open: Option<OpenSend>) -> SendingEnd {
        let doubtful = self.progress().doubt.is_some();
        let Some(keeper) = &self.route.grpc else {
            return self.without_grpc(why, open).await;
        };
        let left = self.route.options.sends_max - self.progress().sends;
        // With nothing in doubt there is nothing to gain by waiting for a link.
        if left == 0 || (keeper.link().is_none() && !doubtful) {
            let why = format!("{why}; gRPC is not connected");
            return self.without_grpc(why, open).await;
        }
        let counters = &self.route.counters;
        if doubtful {
            counters.fallbacks_in_doubt.increment();
            reached!(Site::FallbackInDoubt);
        } else if self.route.socket.is_some() {
            counters.fallbacks_not_sent.increment();
            reached!(Site::FallbackNotSent);
        }
        let policy = self.route.options.grpc_policy(left);
        let tries = retry(&self.ctx, &policy, |_, scope| self.try_grpc(keeper, scope));
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

    async fn try_grpc(
        &self,
        keeper: &Keeper,
        scope: Context,
    ) -> Result<KeptAnswer, PipelineError<Unanswered>> {
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
        let patience = self.route.options.grpc_try;
        let mut unanswered = match self.send(keeper, &link, &scope, patience).await {
            Ok(answer) => {
                scope.succeed();
                return Ok(answer);
            }
            Err(unanswered) => unanswered,
        };
        match &mut unanswered {
            Unanswered::Stop(_) => keeper.withdrawn(pass),
            Unanswered::NeverSent { silent, .. } => {
                report(keeper, pass, *silent);
                scope.succeed();
            }
            // Its rollback stays registered: it runs if no later try is answered. Nobody listens any more.
            Unanswered::InDoubt { silent, open, .. } => {
                report(keeper, pass, *silent);
                *open = None;
            }
        }
        Err(unanswered.into())
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
