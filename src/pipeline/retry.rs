//! Trying again.
//!
//! Registrations of failed tries are kept. Whether the command failed is known only when the last
//! try has ended; until then an earlier try in doubt may still turn out to be the one that worked,
//! and undoing it would undo the command. Then one verdict holds for all: a failed command runs each
//! registered compensation once, last first, across all tries, and a success runs none. An operation
//! that must undo a try before the next one calls `compensate` of the child it was given.

use std::fmt::Display;

use super::timeout::guarded;
use super::{Classify, Context, PipelineError, RetryPolicy, TryNumber};

/// Runs `operation` until it succeeds, gives a final answer or has used up `policy`.
///
/// Each try gets its number, from 1, and a fresh child of `ctx`. A try runs under the token and the
/// deadline of `ctx` and no other limit: wrap it into [`with_timeout`](super::with_timeout). The
/// wait between tries ends at once on cancellation, and a wait that would last beyond the deadline
/// is not begun.
///
/// Cancel safe if the operation is; dropping this cuts the try off. The compensations registered by
/// its tries stay with `ctx`.
///
/// # Errors
/// - [`PipelineError::Failed`] with a [`Class::Final`](super::Class::Final) error: the operation's answer, unchanged. It
///   settles the doubt of earlier tries as well.
/// - [`PipelineError::Cancelled`]: never retried; in doubt if any try may have had its effect.
/// - [`PipelineError::Exhausted`]: all tries failed, or the deadline left no time for the next; in
///   doubt if any of them, not just the last, may have had its effect.
/// - [`PipelineError::Expired`]: the deadline of `ctx` had passed before the first try.
pub async fn retry<T, E, F, Fut>(
    ctx: &Context,
    policy: &RetryPolicy,
    mut operation: F,
) -> Result<T, PipelineError<E>>
where
    E: Classify + Display,
    F: FnMut(TryNumber, Context) -> Fut,
    Fut: Future<Output = Result<T, PipelineError<E>>>,
{
    let mut number = TryNumber::FIRST;
    let mut in_doubt = false;
    loop {
        let outcome = guarded(ctx, ctx.child(), None, |child| operation(number, child)).await;
        let error = match outcome.unwrap_or_else(|cut| Err(cut.into_error())) {
            Ok(value) => {
                if number > TryNumber::FIRST {
                    tracing::debug!(tries = %number, "succeeded after a retry");
                }
                return Ok(value);
            }
            Err(error) => error,
        };
        in_doubt |= !error.is_definite();
        if !error.is_retryable() {
            return Err(conclude(error, number, in_doubt));
        }
        let delay = policy.delay_after(number, &*ctx.env().entropy);
        let next_at = ctx.env().clock.now() + delay;
        let too_late = ctx.deadline().is_some_and(|deadline| next_at >= deadline);
        if number >= policy.max_tries() || too_late {
            tracing::debug!(tries = %number, too_late, in_doubt, %error, "gave up retrying");
            return Err(exhausted(error, number, in_doubt));
        }
        tracing::debug!(number = %number, ?delay, %error, "try failed, trying again");
        if ctx.delay(delay).await.is_err() {
            return Err(PipelineError::Cancelled { in_doubt });
        }
        number = number.next();
    }
}

/// The error of a retry that ends without having used up its policy.
fn conclude<E>(error: PipelineError<E>, number: TryNumber, in_doubt: bool) -> PipelineError<E> {
    match error {
        // Not retryable, hence final: it answers for all tries.
        PipelineError::Failed(answer) => PipelineError::Failed(answer),
        PipelineError::Cancelled { .. } => PipelineError::Cancelled { in_doubt },
        // Nothing was tried before, so there is nothing to add.
        PipelineError::Expired if number == TryNumber::FIRST => PipelineError::Expired,
        other => exhausted(other, number, in_doubt),
    }
}

fn exhausted<E>(last: PipelineError<E>, tries: TryNumber, in_doubt: bool) -> PipelineError<E> {
    PipelineError::Exhausted {
        tries,
        in_doubt,
        last: Box::new(last),
    }
}

#[cfg(test)]
mod tests;
