//! Tests of the retry loop, under paused time.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use super::super::testing::{Journal, TestError, context, record_events};
use super::super::{ContextOptions, Exponential, with_timeout};
use super::*;
use crate::env::Env;

const DELAY: Duration = Duration::from_millis(100);

type TryResult = Result<u32, PipelineError<TestError>>;

fn policy(max_tries: u32) -> RetryPolicy {
    RetryPolicy::fixed(max_tries, DELAY).expect("a valid policy")
}

/// Gives the scripted outcomes one after the other, and how many tries were made.
async fn scripted(
    ctx: &Context,
    policy: &RetryPolicy,
    script: &[Result<(), PipelineError<TestError>>],
) -> (TryResult, usize) {
    let mut tries = 0_usize;
    let outcome = retry(ctx, policy, |number, _scope| {
        let step = script[tries].clone();
        tries += 1;
        assert_eq!(usize::try_from(number.get()), Ok(tries));
        async move { step.map(|()| number.get()) }
    })
    .await;
    (outcome, tries)
}

fn failed(error: TestError) -> Result<(), PipelineError<TestError>> {
    Err(PipelineError::Failed(error))
}

#[tokio::test(start_paused = true)]
async fn the_third_try_succeeds_after_two_delays() {
    let (events, _guard) = record_events();
    let ctx = context();
    let start = ctx.env().clock.now();
    let script = [
        failed(TestError::NotDone),
        failed(TestError::InDoubt),
        Ok(()),
    ];
    let (outcome, tries) = scripted(&ctx, &policy(3), &script).await;
    assert_eq!((outcome, tries), (Ok(3), 3));
    assert_eq!(ctx.env().clock.now(), start + DELAY * 2);
    let again = "DEBUG try failed, trying again";
    assert_eq!(
        events.names(),
        [again, again, "DEBUG succeeded after a retry"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_first_success_says_nothing() {
    let (events, _guard) = record_events();
    let (outcome, tries) = scripted(&context(), &policy(3), &[Ok(())]).await;
    assert_eq!((outcome, tries), (Ok(1), 1));
    assert!(events.names().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_always_fails_is_tried_so_often_and_no_more() {
    let (events, _guard) = record_events();
    let ctx = context();
    let start = ctx.env().clock.now();
    let script = [const { Err(PipelineError::Failed(TestError::NotDone)) }; 4];
    let (outcome, tries) = scripted(&ctx, &policy(3), &script).await;
    let error = outcome.expect_err("always fails");
    assert!(error.is_definite());
    let PipelineError::Exhausted {
        tries: said, last, ..
    } = error
    else {
        panic!("the policy is used up, not {error:?}");
    };
    assert_eq!((tries, said.get()), (3, 3));
    assert_eq!(*last, PipelineError::Failed(TestError::NotDone));
    // No delay after the last try.
    assert_eq!(ctx.env().clock.now(), start + DELAY * 2);
    let again = "DEBUG try failed, trying again";
    assert_eq!(events.names(), [again, again, "DEBUG gave up retrying"]);
}

#[tokio::test(start_paused = true)]
async fn one_try_means_no_retry() {
    let script = [failed(TestError::NotDone)];
    let (outcome, tries) = scripted(&context(), &policy(1), &script).await;
    assert_eq!(tries, 1);
    assert!(matches!(outcome, Err(PipelineError::Exhausted { .. })));
}

#[tokio::test(start_paused = true)]
async fn exponential_waits_are_kept() {
    let ctx = context();
    let start = ctx.env().clock.now();
    let numbers = Exponential {
        max_tries: 4,
        initial: DELAY,
        multiplier: 3.0,
        cap: DELAY * 5,
    };
    let policy = RetryPolicy::exponential(numbers).expect("a valid policy");
    let script = [const { Err(PipelineError::Failed(TestError::NotDone)) }; 4];
    let (_, tries) = scripted(&ctx, &policy, &script).await;
    assert_eq!(tries, 4);
    assert_eq!(ctx.env().clock.now(), start + DELAY * (1 + 3 + 5));
}

#[tokio::test(start_paused = true)]
async fn a_final_answer_is_never_retried_and_settles_earlier_doubt() {
    let script = [failed(TestError::InDoubt), failed(TestError::Final)];
    let (outcome, tries) = scripted(&context(), &policy(5), &script).await;
    let error = outcome.expect_err("answered no");
    assert_eq!(error, PipelineError::Failed(TestError::Final));
    assert!(error.is_definite());
    assert_eq!(tries, 2);
}

#[tokio::test(start_paused = true)]
async fn the_doubt_of_an_earlier_try_outlives_a_later_one_that_did_nothing() {
    let after = DELAY;
    let in_doubt = [
        failed(TestError::InDoubt),
        Err(PipelineError::InDoubt { after }),
    ];
    for first in in_doubt {
        let script = [first, failed(TestError::NotDone)];
        let (outcome, _) = scripted(&context(), &policy(2), &script).await;
        assert!(!outcome.expect_err("exhausted").is_definite());
    }
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_reports_cancellation_is_not_retried() {
    for in_doubt in [false, true] {
        let script = [Err(PipelineError::Cancelled { in_doubt })];
        let (outcome, tries) = scripted(&context(), &policy(5), &script).await;
        assert_eq!(outcome, Err(PipelineError::Cancelled { in_doubt }));
        assert_eq!(tries, 1);
    }
    let script = [
        failed(TestError::InDoubt),
        Err(PipelineError::Cancelled { in_doubt: false }),
    ];
    let (outcome, _) = scripted(&context(), &policy(5), &script).await;
    assert_eq!(outcome, Err(PipelineError::Cancelled { in_doubt: true }));
}

#[tokio::test(start_paused = true)]
async fn cancellation_ends_the_wait_at_once_and_keeps_the_doubt() {
    for (class, in_doubt) in [(TestError::NotDone, false), (TestError::InDoubt, true)] {
        let ctx = context();
        let start = ctx.env().clock.now();
        let cancel = async {
            ctx.env().clock.sleep(DELAY / 2).await;
            ctx.token().cancel();
        };
        let policy = policy(5);
        let script = [failed(class)];
        let ((outcome, tries), ()) = tokio::join!(scripted(&ctx, &policy, &script), cancel);
        assert_eq!(outcome, Err(PipelineError::Cancelled { in_doubt }));
        assert_eq!(tries, 1);
        assert_eq!(ctx.env().clock.now(), start + DELAY / 2);
    }
}

#[tokio::test(start_paused = true)]
async fn cancellation_cuts_a_try_off_and_nothing_starts_after_it() {
    let ctx = context();
    let cancel = async {
        ctx.env().clock.sleep(DELAY).await;
        ctx.token().cancel();
    };
    let policy = policy(5);
    let hanging = retry(&ctx, &policy, |_, _| pending::<TryResult>());
    let (outcome, ()) = tokio::join!(hanging, cancel);
    assert_eq!(outcome, Err(PipelineError::Cancelled { in_doubt: true }));
    let (outcome, tries) = scripted(&ctx, &policy, &[]).await;
    assert_eq!(outcome, Err(PipelineError::Cancelled { in_doubt: false }));
    assert_eq!(tries, 0);
}

#[tokio::test(start_paused = true)]
async fn no_wait_is_begun_that_would_last_beyond_the_deadline() {
    let root = context();
    let ctx = root.child_within(DELAY * 5 / 2);
    let start = ctx.env().clock.now();
    let script = [const { Err(PipelineError::Failed(TestError::NotDone)) }; 9];
    let (outcome, tries) = scripted(&ctx, &policy(9), &script).await;
    assert!(matches!(outcome, Err(PipelineError::Exhausted { .. })));
    assert_eq!(tries, 3);
    assert_eq!(ctx.env().clock.now(), start + DELAY * 2);

    let (outcome, tries) = scripted(&root.child_within(Duration::ZERO), &policy(9), &[]).await;
    assert_eq!((outcome, tries), (Err(PipelineError::Expired), 0));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_cuts_a_try_off_in_doubt() {
    let ctx = context().child_within(DELAY);
    let outcome = retry(&ctx, &policy(9), |_, _| pending::<TryResult>()).await;
    let error = outcome.expect_err("cut off");
    assert!(!error.is_definite());
    let PipelineError::Exhausted { tries, last, .. } = error else {
        panic!("no time is left for another try: {error:?}");
    };
    assert_eq!(tries, TryNumber::FIRST);
    assert_eq!(*last, PipelineError::InDoubt { after: DELAY });
}

/// Each try registers two compensations and hangs until its time limit; the last one succeeds if it
/// is try number `succeeds_at`.
async fn with_compensations(ctx: &Context, journal: &Journal, succeeds_at: u32) -> TryResult {
    retry(ctx, &policy(3), |number, scope| {
        assert_eq!(scope.compensations(), 0, "each try has a fresh scope");
        let journal = journal.clone();
        async move {
            with_timeout(&scope, DELAY, |scope| async move {
                for step in ["a", "b"] {
                    let (journal, name) = (journal.clone(), format!("{number}{step}"));
                    scope.register_compensation(name.clone(), move || async move {
                        journal.note(name);
                        Ok(())
                    });
                }
                if number.get() == succeeds_at {
                    return Ok(number.get());
                }
                pending().await
            })
            .await
        }
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_failed_command_runs_the_compensations_of_all_tries_last_first() {
    let mut ctx = context();
    let journal = Journal::default();
    let outcome = with_compensations(&ctx, &journal, 4).await;
    assert!(!outcome.expect_err("all hang").is_definite());
    assert!(journal.names().is_empty());
    assert_eq!(ctx.compensate(DELAY).await.expect("no failure"), 6);
    assert_eq!(journal.names(), ["3b", "3a", "2b", "2a", "1b", "1a"]);
}

#[tokio::test(start_paused = true)]
async fn a_success_after_retries_runs_none() {
    let ctx = context();
    let journal = Journal::default();
    assert_eq!(with_compensations(&ctx, &journal, 3).await, Ok(3));
    assert_eq!(ctx.compensations(), 6);
    ctx.succeed();
    assert!(journal.names().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_loop_can_be_spawned() {
    let env = Env::real();
    let ctx = Arc::new(Context::new(env, ContextOptions::default()));
    let journal = Journal::default();
    let task = tokio::spawn(async move { with_compensations(&ctx, &journal, 1).await });
    assert_eq!(task.await.expect("no panic"), Ok(1));
}
