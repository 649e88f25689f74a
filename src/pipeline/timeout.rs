//! Cutting an operation off, by time or by cancellation, without lying about what became of it.

use std::time::Duration;

use super::{Context, PipelineError};
use crate::env::timeout;

/// Runs `operation` for at most `limit`, or until the deadline of `ctx` if that is sooner.
///
/// The operation gets a child context with that deadline. When it is cut off, its future is dropped
/// and the child's token is cancelled, so that what it has spawned can stop too. There is no time
/// limit with [`Duration::MAX`]. An operation that is ready at its first poll always wins.
///
/// Cancel safe if the operation is; dropping this is cutting the operation off.
///
/// # Errors
/// - [`PipelineError::Failed`]: the operation's own error, in time and unchanged.
/// - [`PipelineError::InDoubt`]: the limit or the deadline passed while it ran.
/// - [`PipelineError::Cancelled`]: `ctx` was cancelled; in doubt if the operation had been started.
/// - [`PipelineError::Expired`]: the deadline of `ctx` had passed already; it was not started.
pub async fn with_timeout<T, E, F, Fut>(
    ctx: &Context,
    limit: Duration,
    operation: F,
) -> Result<T, PipelineError<E>>
where
    F: FnOnce(Context) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let child = ctx.child_within(limit);
    match guarded(ctx, child, Some(limit), operation).await {
        Ok(result) => result.map_err(PipelineError::Failed),
        Err(cut) => Err(cut.into_error()),
    }
}

/// Why an operation was not let run to its end.
pub(super) enum OperationCut {
    Cancelled { started: bool },
    Expired,
    TimedOut { after: Duration },
}

impl OperationCut {
    pub(super) fn into_error<E>(self) -> PipelineError<E> {
        match self {
            Self::Cancelled { started } => PipelineError::Cancelled { in_doubt: started },
            Self::Expired => PipelineError::Expired,
            Self::TimedOut { after } => PipelineError::InDoubt { after },
        }
    }
}

/// Runs `operation` with `child` under the token and deadline of `ctx`, and under `limit` if any.
pub(super) async fn guarded<F, Fut>(
    ctx: &Context,
    child: Context,
    limit: Option<Duration>,
    operation: F,
) -> Result<Fut::Output, OperationCut>
where
    F: FnOnce(Context) -> Fut,
    Fut: Future,
{
    if ctx.token().is_cancelled() {
        return Err(OperationCut::Cancelled { started: false });
    }
    let now = ctx.env().clock.now();
    let left = ctx.deadline().map(|at| at.saturating_since(now));
    if left == Some(Duration::ZERO) {
        return Err(OperationCut::Expired);
    }
    // Cancels the child on every way out but the operation's own end, a drop of this future included.
    let cut_off = child.token().clone().drop_guard();
    let watched = async move {
        tokio::select! {
            // The operation comes first: a result that is there is never thrown away.
            biased;
            output = async move { operation(child).await } => Ok(output),
            () = ctx.token().cancelled() => Err(OperationCut::Cancelled { started: true }),
        }
    };
    let bound = limit.into_iter().chain(left).min();
    let outcome = match bound {
        None => watched.await,
        Some(bound) => timeout(&*ctx.env().clock, bound, watched)
            .await
            .unwrap_or_else(|elapsed| {
                Err(OperationCut::TimedOut {
                    after: elapsed.after,
                })
            }),
    };
    if outcome.is_ok() {
        cut_off.disarm();
    }
    outcome
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::super::testing::{Journal, TestError, context};
    use super::super::{ContextOptions, PipelineError};
    use super::*;
    use crate::env::Env;

    const LIMIT: Duration = Duration::from_millis(100);

    type TimedResult = Result<u32, PipelineError<TestError>>;

    #[tokio::test(start_paused = true)]
    async fn a_slow_operation_is_in_doubt_at_the_limit_and_its_token_is_cancelled() {
        let ctx = context();
        let start = ctx.env().clock.now();
        let mut token = None;
        let outcome: TimedResult = with_timeout(&ctx, LIMIT, |scope| {
            token = Some(scope.token().clone());
            pending()
        })
        .await;
        assert_eq!(outcome, Err(PipelineError::InDoubt { after: LIMIT }));
        assert_eq!(ctx.env().clock.now(), start + LIMIT);
        assert!(token.expect("the operation was started").is_cancelled());
        assert!(!ctx.token().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_send_that_succeeds_after_the_limit_stays_in_doubt() {
        let ctx = context();
        let journal = Journal::default();
        let sender = journal.clone();
        let outcome: TimedResult = with_timeout(&ctx, LIMIT, |scope| async move {
            let clock = std::sync::Arc::clone(&scope.env().clock);
            let sending = tokio::spawn(async move {
                clock.sleep(LIMIT * 2).await;
                sender.note("arrived");
            });
            sending.await.expect("the sender runs to its end");
            Ok(1)
        })
        .await;
        assert_eq!(outcome, Err(PipelineError::InDoubt { after: LIMIT }));
        ctx.env().clock.sleep(LIMIT * 2).await;
        assert_eq!(journal.names(), ["arrived"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_result_in_time_is_unchanged() {
        let ctx = context();
        for limit in [LIMIT, Duration::MAX] {
            let mut token = None;
            let ok: TimedResult = with_timeout(&ctx, limit, |scope| {
                token = Some(scope.token().clone());
                async move {
                    scope.delay(LIMIT / 2).await.expect("not cancelled");
                    Ok(7)
                }
            })
            .await;
            assert_eq!(ok, Ok(7));
            // What a finished operation left running is none of the timeout's business.
            assert!(!token.expect("started").is_cancelled());
            let failed: TimedResult =
                with_timeout(&ctx, limit, |_| async { Err(TestError::Final) }).await;
            assert_eq!(failed, Err(PipelineError::Failed(TestError::Final)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_ready_at_once_beats_a_limit_of_zero() {
        let ctx = context();
        let ready: TimedResult = with_timeout(&ctx, Duration::ZERO, |_| async { Ok(7) }).await;
        assert_eq!(ready, Ok(7));
        let slow: TimedResult = with_timeout(&ctx, Duration::ZERO, |_| pending()).await;
        let after = Duration::ZERO;
        assert_eq!(slow, Err(PipelineError::InDoubt { after }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_caller_gets_cancelled_not_in_time_out() {
        let ctx = context();
        let start = ctx.env().clock.now();
        let cancel = async {
            ctx.env().clock.sleep(LIMIT / 2).await;
            ctx.token().cancel();
        };
        let operation = with_timeout(&ctx, LIMIT, |_| pending());
        let (outcome, ()): (TimedResult, ()) = tokio::join!(operation, cancel);
        assert_eq!(outcome, Err(PipelineError::Cancelled { in_doubt: true }));
        assert_eq!(ctx.env().clock.now(), start + LIMIT / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_result_that_comes_together_with_the_cancellation_is_kept() {
        let ctx = context();
        let (answer, answered) = tokio::sync::oneshot::channel();
        let operation = with_timeout(&ctx, LIMIT, |_| async {
            Ok(answered.await.expect("an answer is sent"))
        });
        let both = async {
            ctx.token().cancel();
            answer.send(7).expect("the operation waits for it");
        };
        let (outcome, ()): (TimedResult, ()) = tokio::join!(operation, both);
        assert_eq!(outcome, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_starts_after_cancellation_or_deadline() {
        let cancelled = context();
        cancelled.token().cancel();
        let refused: TimedResult =
            with_timeout(&cancelled, LIMIT, |_| async { panic!("must not start") }).await;
        assert_eq!(refused, Err(PipelineError::Cancelled { in_doubt: false }));

        let expired = context().child_within(Duration::ZERO);
        let refused: TimedResult =
            with_timeout(&expired, LIMIT, |_| async { panic!("must not start") }).await;
        assert_eq!(refused, Err(PipelineError::Expired));
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_of_limit_and_deadline_counts() {
        let env = Env::real();
        let deadline = Some(env.clock.now() + LIMIT);
        let options = ContextOptions {
            deadline,
            ..ContextOptions::default()
        };
        let ctx = Context::new(env, options);
        let outcome: TimedResult = with_timeout(&ctx, LIMIT * 5, |scope| {
            assert_eq!(scope.deadline(), deadline);
            pending()
        })
        .await;
        assert_eq!(outcome, Err(PipelineError::InDoubt { after: LIMIT }));
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_the_timeout_cancels_what_the_operation_spawned() {
        let ctx = context();
        let mut token = None;
        {
            let operation = with_timeout(&ctx, LIMIT, |scope| {
                token = Some(scope.token().clone());
                pending::<Result<u32, TestError>>()
            });
            let mut operation = std::pin::pin!(operation);
            assert!(futures_util::poll!(operation.as_mut()).is_pending());
        }
        assert!(token.expect("the operation was started").is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_timed_out_operation_registered_is_run() {
        let mut ctx = context();
        let journal = Journal::default();
        let undo = journal.clone();
        let outcome: TimedResult = with_timeout(&ctx, LIMIT, |scope| {
            scope.register_compensation("undo", move || async move {
                undo.note("undone");
                Ok(())
            });
            pending()
        })
        .await;
        assert!(outcome.is_err());
        assert_eq!(ctx.compensate(LIMIT).await.expect("no failure"), 1);
        assert_eq!(journal.names(), ["undone"]);
    }
}
