use super::builder::*;
use crate::history::LeaseEnd;
use crate::oracle::Invariant::{PoisonHasCause, WithinBudget};

/// A schedule of one, two and ten seconds.
fn scheduled() -> Story {
    story().terms(|terms| terms.schedule_ms = vec![1_000, 2_000, 10_000])
}

fn delayed(delay_ms: u64) -> LeaseEnd {
    LeaseEnd {
        delay_ms: Some(delay_ms),
        ..ended("delayed").charged()
    }
}

#[test]
fn waits_of_the_schedules_steps_a_fifth_off_are_good() {
    let good = scheduled()
        .enqueued(1)
        .granted(1, 1)
        .ended("rejected", 1, 1, delayed(800))
        .due(1)
        .granted(1, 2)
        .ended("rejected", 1, 2, delayed(2_400))
        .after(1)
        .due(1)
        .granted(1, 3);
    accepts(&good, &rules(), &[WithinBudget]);
}

#[test]
fn a_wait_of_another_step_is_rejected() {
    for (delay, words) in [
        (2_000, "waits 2000 ms"),
        (1_202, "waits 1202 ms"),
        (798, "waits 798 ms"),
    ] {
        let wrong = scheduled()
            .enqueued(1)
            .granted(1, 1)
            .ended("rejected", 1, 1, delayed(delay));
        rejects(&wrong, &rules(), WithinBudget, &[words, "[1000] ms"]);
    }
}

#[test]
fn the_step_after_a_death_may_be_the_next_one() {
    let untold = |delay| {
        scheduled()
            .enqueued(1)
            .granted(1, 1)
            .restarted(ready(1))
            .terms(|terms| terms.schedule_ms = vec![1_000, 2_000, 10_000])
            .due(1)
            .granted(1, 2)
            .ended("rejected", 1, 2, delayed(delay))
    };
    accepts(&untold(2_000), &rules(), &[WithinBudget]);
    rejects(
        &untold(10_000),
        &rules(),
        WithinBudget,
        &["[1000, 2000] ms"],
    );
}

#[test]
fn a_grant_before_the_wait_is_over_is_rejected() {
    let early = story()
        .enqueued(1)
        .granted(1, 1)
        .ended("rejected", 1, 1, delayed(9_000))
        .due(1)
        .granted(1, 2);
    rejects(&early, &rules(), WithinBudget, &["told to wait 9.000 s"]);
}

#[test]
fn waits_that_are_never_spread_are_rejected() {
    let waits = |off: u64| {
        (1..=25).fold(scheduled(), |story, n| {
            let wait = delayed(1_000 + if n == 7 { off } else { 0 });
            story
                .enqueued(n)
                .granted(n, 1)
                .ended("rejected", n, 1, wait)
        })
    };
    accepts(&waits(3), &rules(), &[WithinBudget]);
    rejects(&waits(0), &rules(), WithinBudget, &["all 25 waits"]);
}

#[test]
fn no_task_is_granted_or_given_up_at_another_age_than_its_routes() {
    let aged = || story().terms(|terms| terms.max_age_ms = Some(20_000));
    accepts(
        &aged().enqueued(1).after(10).granted(1, 1),
        &rules(),
        &[WithinBudget],
    );
    let old = aged().enqueued(1).after(25);
    rejects(
        &old.clone().granted(1, 1),
        &rules(),
        WithinBudget,
        &["its route's tasks get 20.000 s old"],
    );
    accepts(&old.clone().told("too old", 1), &rules(), &[PoisonHasCause]);
    rejects(
        &aged().enqueued(1).told("too old", 1),
        &rules(),
        PoisonHasCause,
        &["given up at 6.000 s for its age"],
    );
    let again = old
        .told("too old", 1)
        .operated("requeue", 1)
        .told("requeued", 1);
    let asked = asked(rules(), 0, crate::oracle::Ask::Requeue);
    accepts(&again.granted(1, 1), &asked, &[WithinBudget]);
}
