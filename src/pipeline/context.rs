//! The context of one command: time, cancellation, deadline and what to undo on failure.
//!
//! A root context ends in one of three ways. [`Context::succeed`] drops its compensations unrun.
//! [`Context::compensate`] runs each of them once. Dropping it with compensations left is a bug, or the
//! work of a panic or of a task that was torn down: it is counted and logged. A child context ends by
//! being dropped; what it registered stays with its parent.

use std::borrow::Cow;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::BoxError;
use super::compensation::{CompensationErrors, run_one};
use super::scope::{AbandonedCounter, Scope};
use crate::env::{Env, Mono};

/// What a root context starts with. The default is never cancelled and has no deadline.
#[derive(Clone, Debug, Default)]
pub struct ContextOptions {
    /// Cancels the context; the context can't cancel it.
    pub token: CancellationToken,
    /// After this, by the clock of the environment, nothing is started and what runs is cut off.
    pub deadline: Option<Mono>,
    /// Counts forgotten compensations, usually together with those of other commands.
    pub abandoned: AbandonedCounter,
}

/// The caller cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cancelled by the caller")]
pub struct Cancelled;

/// What goes along with one command, or with a part of it.
pub struct Context {
    env: Env,
    token: CancellationToken,
    deadline: Option<Mono>,
    scope: Scope,
}

impl Context {
    /// The context of a new command.
    pub fn new(env: Env, options: ContextOptions) -> Self {
        Self {
            env,
            token: options.token.child_token(),
            deadline: options.deadline,
            scope: Scope::root(options.abandoned),
        }
    }

    /// A context for a part of the work: cancelled with this one, under the same deadline.
    ///
    /// What is registered in the child belongs to this context too, at its place in the order of
    /// registration, at once and for good: dropping the child changes nothing. [`Self::compensate`]
    /// and [`Self::succeed`] of the child concern the child's part only.
    pub fn child(&self) -> Self {
        Self {
            env: self.env.clone(),
            token: self.token.child_token(),
            deadline: self.deadline,
            scope: self.scope.child(),
        }
    }

    /// As [`Self::child`], with a deadline `limit` from now if that is the earlier one.
    pub fn child_within(&self, limit: Duration) -> Self {
        let at = self.env.clock.now() + limit;
        Self {
            deadline: Some(self.deadline.map_or(at, |deadline| deadline.min(at))),
            ..self.child()
        }
    }

    /// The environment: clock and entropy come from here.
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// The token of this context. Cancelling it cancels this context and its children.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// The deadline, if there is one.
    pub fn deadline(&self) -> Option<Mono> {
        self.deadline
    }

    /// Waits for `duration`. Cancel safe.
    ///
    /// # Errors
    /// [`Cancelled`] as soon as the context is cancelled, also when it was before.
    pub async fn delay(&self, duration: Duration) -> Result<(), Cancelled> {
        tokio::select! {
            biased;
            () = self.token.cancelled() => Err(Cancelled),
            () = self.env.clock.sleep(duration) => Ok(()),
        }
    }

    /// Registers what undoes a step, to be run if the command fails. Register it before the step is
    /// begun: an effect without its compensation can't be undone.
    ///
    /// `name` appears in errors and logs. Once the root context has succeeded, `compensation` is
    /// dropped; once it has been dropped, it is counted as abandoned.
    pub fn register_compensation<F, Fut>(&self, name: impl Into<Cow<'static, str>>, compensation: F)
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let run = Box::new(move || Box::pin(compensation()) as _);
        self.scope.register(name.into(), run);
    }

    /// How many compensations are registered in this context and its children, and not yet run.
    pub fn compensations(&self) -> usize {
        self.scope.len()
    }

    /// The work succeeded: drops all compensations of this context and its children without running
    /// them. Of a child, this makes its part final even if the command fails later.
    pub fn succeed(self) {
        self.scope.succeed();
    }

    /// The work failed: runs every compensation of this context and its children exactly once, one
    /// after the other, the one registered last first, and returns how many there were.
    ///
    /// Each is given `limit_each`; one that hangs, fails or panics doesn't keep the others from
    /// running. Neither the token nor the deadline of the context has any say here: it is after
    /// their end that undoing matters most. One registered meanwhile is run too.
    ///
    /// Cancel safe in that nothing is lost: dropped half-way, this leaves those not yet begun
    /// registered, and the one under way is reported as
    /// [`Interrupted`](super::CompensationError::Interrupted) by the next call, together with the
    /// failures found until then. Call again to run the rest.
    ///
    /// # Errors
    /// [`CompensationErrors`] with each one that went wrong, after all of them have been run.
    pub async fn compensate(&mut self, limit_each: Duration) -> Result<usize, CompensationErrors> {
        let mut ran = 0;
        while let Some((under_way, compensation)) = self.scope.take_last() {
            let outcome = run_one(&*self.env.clock, limit_each, compensation).await;
            let stop = planted!(Bug::CompensationErrorStops) && outcome.is_err();
            under_way.finish(outcome);
            ran += 1;
            if stop {
                break;
            }
        }
        let failures = self.scope.take_failures();
        if failures.is_empty() {
            Ok(ran)
        } else {
            Err(CompensationErrors { failures, ran })
        }
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("cancelled", &self.token.is_cancelled())
            .field("deadline", &self.deadline)
            .field("compensations", &self.scope.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
