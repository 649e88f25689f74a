use super::builder::*;
use crate::history::Counts;
use crate::oracle::Ask;
use crate::oracle::Invariant::OneTaskPerKey;
use crate::plan::FaultKind;

fn bound() -> Story {
    story()
        .keyed(1, "k", 7)
        .fed("enqueued", 1, None, None)
        .accepted(1, 1, false)
}

#[test]
fn a_repetition_is_told_the_same_task() {
    accepts(
        &bound().keyed(2, "k", 7).accepted(2, 1, true),
        &rules(),
        &[OneTaskPerKey],
    );
    let twin = bound().keyed(2, "k", 7).accepted(2, 2, false);
    rejects(
        &twin,
        &rules(),
        OneTaskPerKey,
        &[
            "one key, two tasks: 1-00000000000000aa was told at 5.000 s",
            "accepted as 2-00000000000000aa at 7.000 s",
        ],
    );
    let new_again = bound().keyed(2, "k", 7).accepted(2, 1, false);
    rejects(
        &new_again,
        &rules(),
        OneTaskPerKey,
        &[
            "told at 7.000 s that 1-00000000000000aa is new",
            "since 5.000 s",
        ],
    );
}

#[test]
fn another_body_is_a_conflict() {
    accepts(
        &bound().keyed(2, "k", 8).declined(2, "key_conflict"),
        &rules(),
        &[OneTaskPerKey],
    );
    let swallowed = bound().keyed(2, "k", 8).accepted(2, 1, true);
    rejects(
        &swallowed,
        &rules(),
        OneTaskPerKey,
        &["another route or body"],
    );
    let groundless = bound().keyed(2, "k", 7).declined(2, "key_conflict");
    rejects(
        &groundless,
        &rules(),
        OneTaskPerKey,
        &["only this one was ever offered"],
    );
}

#[test]
fn a_doubtful_offer_may_have_bound_the_key_or_not() {
    let doubtful = story().keyed(1, "k", 7).unknown(1).keyed(1, "k", 7);
    accepts(
        &doubtful.clone().accepted(1, 1, true),
        &rules(),
        &[OneTaskPerKey],
    );
    accepts(&doubtful.accepted(1, 1, false), &rules(), &[OneTaskPerKey]);
    let first = story().keyed(1, "k", 7).accepted(1, 1, true);
    rejects(&first, &rules(), OneTaskPerKey, &["never offered before"]);
}

#[test]
fn a_doubtful_offer_that_shows_as_a_twin_is_rejected() {
    let twin = bound().keyed(2, "k", 7).unknown(2).executing_for(2, 1, 2);
    rejects(
        &twin,
        &rules(),
        OneTaskPerKey,
        &[
            "executes 2-00000000000000aa for op 2 at 8.000 s",
            "2-00000000000000aa is its twin",
        ],
    );
}

#[test]
fn of_two_offers_at_once_either_is_told_first() {
    let crossed = story()
        .keyed(1, "k", 7)
        .keyed(2, "k", 7)
        .accepted(2, 1, true)
        .accepted(1, 1, false);
    accepts(&crossed, &rules(), &[OneTaskPerKey]);
}

#[test]
fn behind_the_window_a_finished_task_lets_its_key_go() {
    let finished = bound().delivered(1, 1).after(4_000);
    accepts(
        &finished.clone().keyed(2, "k", 7).accepted(2, 2, false),
        &rules(),
        &[OneTaskPerKey],
    );
    let lives = bound().after(4_000).keyed(2, "k", 7).accepted(2, 2, false);
    rejects(&lives, &rules(), OneTaskPerKey, &["one key, two tasks"]);
}

#[test]
fn the_window_of_a_doubtful_offer_begins_with_it_and_not_with_whoever_learnt_of_it() {
    let learnt = |later| {
        let told = story()
            .keyed(1, "k", 7)
            .unknown(1)
            .after(2_000)
            .keyed(2, "k", 7)
            .accepted(2, 1, true);
        told.delivered(1, 1)
            .after(later)
            .keyed(3, "k", 7)
            .accepted(3, 2, false)
    };
    accepts(&learnt(2_000), &rules(), &[OneTaskPerKey]);
    rejects(
        &learnt(500),
        &rules(),
        OneTaskPerKey,
        &["one key, two tasks"],
    );
}

#[test]
fn a_wall_clock_that_was_set_forward_shortens_the_window() {
    let finished = bound().delivered(1, 1).restarted(ready(0));
    let again = finished.keyed(2, "k", 7).accepted(2, 2, false);
    rejects(&again, &rules(), OneTaskPerKey, &["one key, two tasks"]);
    let leap = |ms| {
        let host = BRIDGE.into();
        troubled(rules(), 6, 6, FaultKind::Jump { host, ms })
    };
    accepts(&again, &leap(3_600_000), &[OneTaskPerKey]);
    // Nobody believes that 91 days have passed.
    let far = leap(91 * 24 * 3_600_000);
    rejects(&again, &far, OneTaskPerKey, &["one key, two tasks"]);
}

#[test]
fn without_a_key_nothing_is_a_duplicate() {
    let duplicate = story().offered(1).accepted(1, 1, true);
    rejects(
        &duplicate,
        &rules(),
        OneTaskPerKey,
        &["op 1 has no key", "4.000 s"],
    );
}

fn purged(first: Story) -> (Story, crate::oracle::Rules) {
    let rules = asked(rules(), 1, Ask::Remove(1));
    (first.told("purged", 1).operated("purge", 1), rules)
}

fn refused() -> Story {
    let refused = ended("poison").because("refused");
    bound().granted(1, 1).ended("refused", 1, 1, refused)
}

#[test]
fn a_purge_takes_the_key_of_what_was_never_in_doubt_with_it() {
    let (story, rules) = purged(refused());
    let again = story.keyed(2, "k", 7);
    accepts(
        &again.clone().accepted(2, 2, false),
        &rules,
        &[OneTaskPerKey],
    );
    rejects(
        &again.accepted(2, 1, true),
        &rules,
        OneTaskPerKey,
        &["duplicate of 1-00000000000000aa, which was purged with its key"],
    );
}

#[test]
fn a_purge_leaves_the_key_of_what_may_have_been_executed() {
    let in_doubt = ended("poison").because("in doubt spent");
    let doubted = bound().granted(1, 1);
    let doubted = doubted.ended("in doubt", 1, 1, in_doubt).budget(0);
    let (story, rules) = purged(doubted);
    let again = story.keyed(2, "k", 7);
    accepts(
        &again.clone().accepted(2, 1, true),
        &rules,
        &[OneTaskPerKey],
    );
    rejects(
        &again.accepted(2, 2, false),
        &rules,
        OneTaskPerKey,
        &["one key, two tasks"],
    );
}

#[test]
fn a_death_may_leave_a_doubt_that_nobody_was_told_of() {
    let (story, rules) = purged(refused().restarted(Counts {
        poison: 1,
        ..Counts::default()
    }));
    let again = story.keyed(2, "k", 7);
    accepts(
        &again.clone().accepted(2, 1, true),
        &rules,
        &[OneTaskPerKey],
    );
    accepts(&again.accepted(2, 2, false), &rules, &[OneTaskPerKey]);
}

#[test]
fn a_key_is_another_one_on_another_route() {
    let other = bound().on("bills").keyed(2, "k", 9);
    accepts(
        &other.clone().accepted(2, 2, false),
        &rules(),
        &[OneTaskPerKey],
    );
    rejects(
        &other.accepted(2, 1, true),
        &rules(),
        OneTaskPerKey,
        &["its key was never offered before"],
    );
}
