//! Tests of contexts and their compensations, under paused time.

use std::future::pending;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::testing::{Journal, context, record_events};
use super::super::{CompensationError, CompensationFailure};
use super::*;

const LIMIT: Duration = Duration::from_millis(100);

/// Registers a compensation that notes its own name.
fn register(ctx: &Context, journal: &Journal, name: &'static str) {
    let journal = journal.clone();
    ctx.register_compensation(name, move || async move {
        journal.note(name);
        Ok(())
    });
}

/// As [`register`], but it never comes to its end after that.
fn register_hanging(ctx: &Context, journal: &Journal, name: &'static str) {
    let journal = journal.clone();
    ctx.register_compensation(name, move || async move {
        journal.note(name);
        pending().await
    });
}

/// As [`register`], but it fails after that.
fn register_failing(ctx: &Context, journal: &Journal, name: &'static str) {
    let journal = journal.clone();
    ctx.register_compensation(name, move || async move {
        journal.note(name);
        Err(BoxError::from("no luck"))
    });
}

fn counted() -> (Context, AbandonedCounter) {
    let options = ContextOptions::default();
    let counter = options.abandoned.clone();
    (Context::new(Env::real(), options), counter)
}

fn names(failures: &[CompensationFailure]) -> Vec<&str> {
    failures.iter().map(|failure| &*failure.name).collect()
}

#[tokio::test(start_paused = true)]
async fn success_drops_all_and_runs_none() {
    let (events, _guard) = record_events();
    let (ctx, abandoned) = counted();
    let journal = Journal::default();
    let held = Arc::new(());
    let hold = Arc::clone(&held);
    register(&ctx, &journal, "first");
    ctx.child()
        .register_compensation("second", move || async move {
            drop(hold);
            Ok(())
        });
    assert_eq!(ctx.compensations(), 2);
    ctx.succeed();
    assert!(journal.names().is_empty());
    assert_eq!(Arc::strong_count(&held), 1, "what it captured is freed");
    assert_eq!(abandoned.count(), 0);
    assert!(events.names().is_empty());
}

#[tokio::test(start_paused = true)]
async fn failure_runs_each_once_last_first() {
    let (mut ctx, abandoned) = counted();
    let journal = Journal::default();
    for name in ["first", "second", "third"] {
        register(&ctx, &journal, name);
    }
    assert_eq!(ctx.compensate(LIMIT).await.expect("no failure"), 3);
    assert_eq!(journal.names(), ["third", "second", "first"]);
    assert_eq!(ctx.compensate(LIMIT).await.expect("no failure"), 0);
    drop(ctx);
    assert_eq!(journal.names().len(), 3);
    assert_eq!(abandoned.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_goes_wrong_keeps_none_of_the_rest_from_running() {
    let mut ctx = context();
    let journal = Journal::default();
    register(&ctx, &journal, "first");
    register_failing(&ctx, &journal, "fails");
    register(&ctx, &journal, "middle");
    register_hanging(&ctx, &journal, "hangs");
    ctx.register_compensation("panics early", || -> std::future::Ready<_> {
        panic!("before its future")
    });
    ctx.register_compensation("panics late", || async { panic!("in its future") });
    register(&ctx, &journal, "last");
    let start = ctx.env().clock.now();
    let errors = ctx.compensate(LIMIT).await.expect_err("four go wrong");
    assert_eq!(
        journal.names(),
        ["last", "hangs", "middle", "fails", "first"]
    );
    assert_eq!(errors.ran, 7);
    assert_eq!(
        errors.to_string(),
        "4 compensations went wrong: panics late: panicked; in doubt; \
         panics early: panicked; in doubt; hangs: cut off after 100ms; in doubt; \
         fails: failed: no luck"
    );
    assert_eq!(ctx.env().clock.now(), start + LIMIT);
    // Reported once, and run once.
    assert_eq!(ctx.compensate(LIMIT).await.expect("nothing left"), 0);
}

#[tokio::test(start_paused = true)]
async fn compensations_run_though_the_command_was_cancelled_and_its_deadline_has_passed() {
    let env = Env::real();
    let options = ContextOptions {
        deadline: Some(env.clock.now()),
        ..ContextOptions::default()
    };
    let token = options.token.clone();
    let mut ctx = Context::new(env, options);
    let journal = Journal::default();
    let (inner, clock) = (journal.clone(), Arc::clone(&ctx.env().clock));
    ctx.register_compensation("slow", move || async move {
        clock.sleep(LIMIT / 2).await;
        inner.note("slow");
        Ok(())
    });
    token.cancel();
    assert!(ctx.token().is_cancelled());
    assert_eq!(ctx.compensate(LIMIT).await.expect("in time"), 1);
    assert_eq!(journal.names(), ["slow"]);
}

#[tokio::test(start_paused = true)]
async fn a_run_dropped_half_way_loses_nothing() {
    let (mut ctx, abandoned) = counted();
    let journal = Journal::default();
    register(&ctx, &journal, "first");
    register_hanging(&ctx, &journal, "under way");
    register_failing(&ctx, &journal, "fails");
    {
        let mut run = std::pin::pin!(ctx.compensate(LIMIT));
        assert!(futures_util::poll!(run.as_mut()).is_pending());
    }
    assert_eq!(journal.names(), ["fails", "under way"]);
    assert_eq!(ctx.compensations(), 1);
    let errors = ctx.compensate(LIMIT).await.expect_err("two went wrong");
    assert_eq!(journal.names(), ["fails", "under way", "first"]);
    assert_eq!(names(&errors.failures), ["fails", "under way"]);
    let interrupted = &errors.failures[1].error;
    assert!(matches!(interrupted, CompensationError::Interrupted));
    assert_eq!(errors.ran, 1);
    drop(ctx);
    assert_eq!(abandoned.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_part_is_reported_to_its_own_scope_or_an_outer_one() {
    let (events, _guard) = record_events();
    let journal = Journal::default();
    for success in [false, true] {
        let mut root = context();
        let (mut part, mut sibling) = (root.child(), root.child());
        register_hanging(&part, &journal, "under way");
        {
            let mut run = std::pin::pin!(part.compensate(LIMIT));
            assert!(futures_util::poll!(run.as_mut()).is_pending());
        }
        drop(part);
        let none = sibling.compensate(LIMIT).await;
        assert_eq!(none.expect("not the sibling's affair"), 0);
        if success {
            root.succeed();
        } else {
            let errors = root.compensate(LIMIT).await.expect_err("one interrupted");
            assert_eq!(names(&errors.failures), ["under way"]);
        }
    }
    let interrupted = "WARN compensation interrupted; in doubt";
    let after_all = "WARN success after an interrupted compensation";
    assert_eq!(events.names(), [interrupted, interrupted, after_all]);
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_context_is_counted_and_logged_and_runs_nothing() {
    let (events, _guard) = record_events();
    let (mut ctx, abandoned) = counted();
    let journal = Journal::default();
    register(&ctx, &journal, "first");
    register(&ctx.child(), &journal, "second");
    register_hanging(&ctx, &journal, "under way");
    {
        let mut run = std::pin::pin!(ctx.compensate(LIMIT));
        assert!(futures_util::poll!(run.as_mut()).is_pending());
    }
    let straggler = ctx.child();
    drop(ctx);
    assert_eq!(abandoned.count(), 2);
    register(&straggler, &journal, "too late");
    assert_eq!(abandoned.count(), 3);
    assert_eq!(journal.names(), ["under way"]);
    let forgotten = "WARN compensations abandoned: neither run nor dropped";
    assert_eq!(
        events.names(),
        [
            "WARN compensation interrupted; in doubt",
            forgotten,
            "WARN the failure of a compensation was never collected",
            forgotten
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn registered_after_the_success_means_dropped() {
    let (ctx, abandoned) = counted();
    let journal = Journal::default();
    let mut straggler = ctx.child();
    ctx.succeed();
    register(&straggler, &journal, "late");
    assert_eq!(straggler.compensate(LIMIT).await.expect("nothing"), 0);
    assert!(journal.names().is_empty());
    assert_eq!(abandoned.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_registered_by_a_running_compensation_is_run_too() {
    let mut ctx = context();
    let journal = Journal::default();
    register(&ctx, &journal, "first");
    let (child, inner) = (ctx.child(), journal.clone());
    ctx.register_compensation("second", move || async move {
        register(&child, &inner, "meanwhile");
        inner.note("second");
        Ok(())
    });
    assert_eq!(ctx.compensate(LIMIT).await.expect("no failure"), 3);
    assert_eq!(journal.names(), ["second", "meanwhile", "first"]);
}

#[tokio::test(start_paused = true)]
async fn a_compensation_that_holds_its_own_context_is_freed_with_the_root() {
    for success in [true, false] {
        let ctx = context();
        let held = Arc::new(());
        let (child, hold) = (ctx.child(), Arc::clone(&held));
        ctx.register_compensation("circle", move || async move {
            drop((child, hold));
            Ok(())
        });
        if success {
            ctx.succeed();
        } else {
            drop(ctx);
        }
        assert_eq!(Arc::strong_count(&held), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn cancellation_goes_down_and_not_up() {
    let options = ContextOptions::default();
    let caller = options.token.clone();
    let root = Context::new(Env::real(), options);
    let (first, second) = (root.child(), root.child_within(LIMIT));
    first.token().cancel();
    assert!(!root.token().is_cancelled() && !second.token().is_cancelled());
    root.token().cancel();
    assert!(second.token().is_cancelled() && !caller.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_child_deadline_is_never_later_than_the_parents() {
    let root = context();
    let at = root.env().clock.now() + LIMIT;
    assert_eq!(root.deadline(), None);
    let child = root.child_within(LIMIT);
    assert_eq!(child.deadline(), Some(at));
    assert_eq!(child.child_within(LIMIT * 2).deadline(), Some(at));
    assert_eq!(child.child().deadline(), Some(at));
}

#[tokio::test(start_paused = true)]
async fn a_delay_lasts_as_long_as_it_says_or_until_cancellation() {
    let ctx = context();
    let start = ctx.env().clock.now();
    assert_eq!(ctx.delay(Duration::ZERO).await, Ok(()));
    assert_eq!(ctx.env().clock.now(), start);
    assert_eq!(ctx.delay(LIMIT).await, Ok(()));
    assert_eq!(ctx.env().clock.now(), start + LIMIT);
    let cancel = async {
        ctx.env().clock.sleep(LIMIT).await;
        ctx.token().cancel();
    };
    let (delayed, ()) = tokio::join!(ctx.delay(LIMIT * 5), cancel);
    assert_eq!(delayed, Err(Cancelled));
    assert_eq!(ctx.env().clock.now(), start + LIMIT * 2);
    assert_eq!(ctx.delay(Duration::ZERO).await, Err(Cancelled));
}

/// One step of a random life of nested scopes. The number picks one of the scopes that still live.
#[derive(Clone, Copy, Debug)]
enum ScopeStep {
    Register(usize),
    RegisterFailing(usize),
    RegisterHanging(usize),
    Open(usize),
    Drop(usize),
    Succeed(usize),
    Compensate(usize),
}

fn steps() -> impl Strategy<Value = Vec<ScopeStep>> {
    let pick = 0..8_usize;
    let step = prop_oneof![
        6 => pick.clone().prop_map(ScopeStep::Register),
        1 => pick.clone().prop_map(ScopeStep::RegisterFailing),
        1 => pick.clone().prop_map(ScopeStep::RegisterHanging),
        4 => pick.clone().prop_map(ScopeStep::Open),
        1 => pick.clone().prop_map(ScopeStep::Drop),
        1 => pick.clone().prop_map(ScopeStep::Succeed),
        1 => pick.prop_map(ScopeStep::Compensate),
    ];
    proptest::collection::vec(step, 0..60)
}

/// What the ledger should do, said in the simplest way: a list of what is registered, where.
#[derive(Default)]
struct Model {
    /// The parent of each scope ever opened; the root is scope 0.
    parents: Vec<Option<usize>>,
    /// Name, scope, and whether it goes wrong; in the order of registration.
    registered: Vec<(String, usize, bool)>,
    ran: Vec<String>,
}

impl Model {
    fn is_within(&self, scope: usize, outer: usize) -> bool {
        scope == outer || self.parents[scope].is_some_and(|parent| self.is_within(parent, outer))
    }

    /// Takes what belongs to `outer`, last first.
    fn take(&mut self, outer: usize) -> Vec<(String, bool)> {
        let all = std::mem::take(&mut self.registered);
        let (mine, others) = all
            .into_iter()
            .partition(|(_, scope, _)| self.is_within(*scope, outer));
        self.registered = others;
        let mine: Vec<(String, usize, bool)> = mine;
        let last_first = mine.into_iter().rev();
        last_first.map(|(name, _, wrong)| (name, wrong)).collect()
    }
}

/// Compensates for real and in the model, and compares the reported failures.
async fn compensate_both(ctx: &mut Context, scope: usize, model: &mut Model) {
    let expected = model.take(scope);
    let outcome = ctx.compensate(LIMIT).await;
    let (ran, failures) = match outcome {
        Ok(ran) => (ran, Vec::new()),
        Err(errors) => (errors.ran, errors.failures),
    };
    assert_eq!(ran, expected.len());
    let wrong = expected.iter().filter(|(_, wrong)| *wrong);
    let wrong: Vec<&str> = wrong.map(|(name, _)| &**name).collect();
    assert_eq!(names(&failures), wrong);
    model.ran.extend(expected.into_iter().map(|(name, _)| name));
}

/// Registers for real and in the model.
fn register_both(
    ctx: &Context,
    scope: usize,
    step: ScopeStep,
    number: usize,
    with: (&Journal, &mut Model),
) {
    let (journal, model) = with;
    let (journal, name) = (journal.clone(), format!("number {number}"));
    let wrong = !matches!(step, ScopeStep::Register(_));
    model.registered.push((name.clone(), scope, wrong));
    ctx.register_compensation(name.clone(), move || async move {
        journal.note(name);
        match step {
            ScopeStep::RegisterFailing(_) => Err(BoxError::from("no luck")),
            ScopeStep::RegisterHanging(_) => pending().await,
            _ => Ok(()),
        }
    });
}

async fn live(steps: Vec<ScopeStep>, success: bool) {
    let (root, abandoned) = counted();
    let journal = Journal::default();
    let mut model = Model {
        parents: vec![None],
        ..Model::default()
    };
    let mut scopes = vec![(0, root)];
    for (number, step) in steps.into_iter().enumerate() {
        let live = scopes.len();
        // The root, which is at place 0, ends at the end.
        let child = |pick: usize| (live > 1).then(|| 1 + pick % (live - 1));
        match step {
            ScopeStep::Register(pick)
            | ScopeStep::RegisterFailing(pick)
            | ScopeStep::RegisterHanging(pick) => {
                let (scope, ctx) = &scopes[pick % live];
                register_both(ctx, *scope, step, number, (&journal, &mut model));
            }
            ScopeStep::Open(pick) => {
                let (scope, ctx) = &scopes[pick % live];
                model.parents.push(Some(*scope));
                let opened = (model.parents.len() - 1, ctx.child());
                scopes.push(opened);
            }
            ScopeStep::Drop(pick) => drop(child(pick).map(|place| scopes.remove(place))),
            ScopeStep::Succeed(pick) => {
                if let Some((scope, ctx)) = child(pick).map(|place| scopes.remove(place)) {
                    ctx.succeed();
                    model.take(scope);
                }
            }
            ScopeStep::Compensate(pick) => {
                let (scope, ctx) = &mut scopes[pick % live];
                compensate_both(ctx, *scope, &mut model).await;
            }
        }
    }
    let (_, mut root) = scopes.swap_remove(0);
    assert_eq!(root.compensations(), model.registered.len());
    if success {
        root.succeed();
    } else {
        compensate_both(&mut root, 0, &mut model).await;
        drop(root);
    }
    assert_eq!(journal.names(), model.ran);
    assert_eq!(abandoned.count(), 0);
}

proptest! {
    /// Over any nesting: each compensation of a failed scope runs exactly once, the one registered
    /// last first, whatever others do; none of a successful one runs.
    #[test]
    fn last_registered_first_over_nested_scopes(steps in steps(), success in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(live(steps, success));
    }
}
