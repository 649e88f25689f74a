use super::builder::*;
use crate::history::Counts;
use crate::oracle::Ask;
use crate::oracle::Invariant::{CountsAddUp, NothingLost};

#[test]
fn every_place_a_task_may_end_in_is_good() {
    let all = story()
        .enqueued(1)
        .enqueued(2)
        .enqueued(3)
        .delivered(1, 1)
        .granted(2, 1)
        .rejected(2, 1)
        .counted(
            Counts {
                ready: 1,
                delayed: 1,
                ..Counts::default()
            },
            2,
        )
        .found(1, found("done", 0))
        .found(
            2,
            TaskAtEnd {
                retries: 1,
                attempts: vec![1],
                ..found("delayed", 1)
            },
        )
        .found(3, found("ready", 0));
    accepts(&all, &rules(), &[NothingLost, CountsAddUp]);
}

#[test]
fn an_accepted_task_that_is_gone_unexecuted_is_lost() {
    let lost = story()
        .enqueued(1)
        .restarted(ready(0))
        .found(1, found("gone", 0));
    let rules = rules();
    rejects(
        &lost,
        &rules,
        CountsAddUp,
        &["bridge counted 0 tasks at", "accepted at 5.000 s"],
    );
    let uncounted = story().enqueued(1).found(1, found("gone", 0));
    rejects(
        &uncounted,
        &rules,
        NothingLost,
        &["accepted at 5.000 s", "no endpoint has ever executed it"],
    );
}

#[test]
fn an_accepted_task_that_nobody_finds_is_lost() {
    let nowhere = story().enqueued(1).enqueued(2).found(1, found("ready", 0));
    rejects(
        &nowhere,
        &rules(),
        NothingLost,
        &["2-00000000000000aa, accepted at 8.000 s, is nowhere"],
    );
}

#[test]
fn the_end_of_a_task_may_die_untold_with_the_process() {
    let untold = story()
        .enqueued(1)
        .granted(1, 1)
        .executing(1, 1)
        .executed(1, 1)
        .restarted(ready(0))
        .found(1, found("gone", 0));
    accepts(&untold, &rules(), &[NothingLost, CountsAddUp]);
}

#[test]
fn without_a_death_leaving_is_news() {
    let silent = story()
        .enqueued(1)
        .granted(1, 1)
        .executing(1, 1)
        .executed(1, 1)
        .found(1, found("gone", 0));
    rejects(
        &silent,
        &rules(),
        CountsAddUp,
        &["the feed never said how it left"],
    );
}

#[test]
fn an_offer_without_an_answer_may_be_there_or_not() {
    let maybe = story().offered(1).unknown(1).enqueued(2);
    for there in [1, 2] {
        accepts(
            &maybe.clone().counted(ready(there), there),
            &rules(),
            &[CountsAddUp],
        );
    }
    let one_more = maybe.counted(ready(3), 3);
    rejects(
        &one_more,
        &rules(),
        CountsAddUp,
        &["counted 3 tasks at 8.000 s", "at most 2"],
    );
}

#[test]
fn what_was_declined_is_not_there() {
    let declined = story().offered(1).declined(1, "full").counted(ready(1), 1);
    rejects(
        &declined,
        &rules(),
        CountsAddUp,
        &["at most 0 can be there"],
    );
}

#[test]
fn counts_and_listing_agree() {
    let torn = story().enqueued(1).counted(ready(1), 2);
    rejects(
        &torn,
        &rules(),
        CountsAddUp,
        &["counted 1 tasks at 6.000 s and listed 2"],
    );
}

#[test]
fn nothing_is_taken_out_that_nobody_asked_for() {
    let taken = |number| story().enqueued(number).granted(number, 1);
    let drained = taken(1).fed("drained", 1, Some(1), None);
    let once = asked(rules(), 1, Ask::Remove(1));
    accepts(&drained, &once, &[NothingLost]);
    let tried = asked(rules(), 1, Ask::Remove(0));
    rejects(
        &drained,
        &tried,
        NothingLost,
        &[
            "1-00000000000000aa was taken out at 7.000 s",
            "operators had asked for 0",
        ],
    );
    let twice = drained
        .enqueued(2)
        .granted(2, 1)
        .fed("drained", 2, Some(1), None);
    rejects(&twice, &once, NothingLost, &["the 2. that left so"]);
}

#[test]
fn an_operator_may_have_taken_it_out() {
    let drained = story()
        .enqueued(1)
        .granted(1, 1)
        .restarted(ready(0))
        .found(1, found("gone", 0));
    let rules = asked(rules(), 5, Ask::Remove(1));
    accepts(&drained, &rules, &[NothingLost, CountsAddUp]);
}
