//! The way over gRPC: a few tries, each under its deadline, until one is answered.
//!
//! A send that the socket left open is listened to meanwhile: a definite answer decides, from wherever
//! it comes.

use super::End;
use super::attempt::{Attempt, report, verdict};
use super::send::{Heard, Open};
use crate::bridge::keeper::Keeper;
use crate::bridge::options::OnLostInbox;
use crate::bridge::waiters::{Answer, Pending, Sign};
use crate::coverage::{Site, reached};
use crate::env::timeout;
use crate::pipeline::{Class, Classify, Context, PipelineError, retry};

/// Why one try over gRPC brought no answer.
#[derive(Debug, thiserror::Error)]
enum TryError {
    #[error("{0}")]
    NotSent(String),
    #[error("{0}")]
    InDoubt(String),
    /// Nothing more is to be tried.
    #[error("stopped: {0:?}")]
    Stop(End),
}

impl Classify for TryError {
    fn class(&self) -> Class {
        match self {
            Self::NotSent(_) => Class::NotDone,
            Self::InDoubt(_) => Class::InDoubt,
            Self::Stop(_) => Class::Final,
        }
    }
}

impl Attempt<'_> {
    /// Tries gRPC after the socket. `open` is a send that may yet be answered there.
    pub(super) async fn fall_back(&self, why: String, open: Option<Open>) -> End {
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
            Ok(answer) => End::Answered(verdict(answer)),
            Err(error) => ending(error, &why),
        }
    }

    /// There is only the send that is still open, if there is one.
    async fn without_grpc(&self, why: String, open: Option<Open>) -> End {
        let Some(Open {
            mut pending,
            in_progress: true,
        }) = open
        else {
            return End::Unanswered(why);
        };
        let silence = self
            .route
            .options
            .working_silence(self.route.options.heartbeat);
        loop {
            match timeout(&*self.route.env.clock, silence, pending.next()).await {
                Ok(Sign::Answer(answer)) => return End::Answered(verdict(answer)),
                Ok(Sign::Working) => {}
                Ok(Sign::LinkDied { .. }) | Err(_) => return End::Unanswered(why),
            }
        }
    }

    async fn try_grpc(
        &self,
        keeper: &Keeper,
        scope: Context,
    ) -> Result<Answer, PipelineError<TryError>> {
        let Some(link) = keeper.link() else {
            return Err(TryError::NotSent("gRPC is not connected".into()).into());
        };
        if let Some(held) = self.hold_back(&link) {
            return Err(TryError::Stop(held).into());
        }
        let doubt = self.progress().doubt;
        if let Some(known) = doubt
            && known != link.inbox_id()
            && self.route.options.on_lost_inbox == OnLostInbox::Hold
        {
            let why = format!("gRPC leads to inbox {}, not to {known}", link.inbox_id());
            return Err(TryError::Stop(End::Unanswered(why)).into());
        }
        // There is no other way left, so that the breaker holds nothing back.
        let pass = keeper.pass(false).expect("passes without an alternative");
        let patience = self.route.options.grpc_try;
        let error = match self.send(keeper, &link, &scope, patience).await {
            Heard::Answer(answer) => {
                scope.succeed();
                return Ok(answer);
            }
            Heard::Stop(end) => {
                keeper.withdrawn(pass);
                TryError::Stop(end)
            }
            Heard::NeverSent { why, silent } => {
                report(keeper, pass, silent);
                scope.succeed();
                TryError::NotSent(why)
            }
            // Its rollback stays registered: it runs if no later try is answered.
            Heard::Doubt { why, silent, .. } => {
                report(keeper, pass, silent);
                TryError::InDoubt(why)
            }
        };
        Err(error.into())
    }
}

/// A definite answer to a send that was given up; never completes if none comes.
async fn definite(open: &mut Pending) -> Answer {
    loop {
        if let Sign::Answer(answer) = open.next().await {
            return answer;
        }
    }
}

fn ending(error: PipelineError<TryError>, before: &str) -> End {
    let error = match error {
        PipelineError::Exhausted { last, .. } => *last,
        other => other,
    };
    match error {
        PipelineError::Failed(TryError::Stop(End::Unanswered(why))) => {
            End::Unanswered(format!("{before}; {why}"))
        }
        PipelineError::Failed(TryError::Stop(end)) => end,
        PipelineError::Failed(error) => End::Unanswered(format!("{before}; {error}")),
        other => End::Unanswered(format!("{before}; {other}")),
    }
}
