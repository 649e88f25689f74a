use super::builder::*;
use crate::oracle::Ask;
use crate::oracle::Invariant::{
    DoneStaysDone, DurableIsDurable, EpochsGrow, NothingLost, OldestFirst, OneLiveLease,
    PoisonHasCause, StaleChangesNothing,
};

#[test]
fn a_task_that_goes_round_is_good() {
    let round = story()
        .enqueued(1)
        .granted(1, 1)
        .extended(1, 1)
        .rejected(1, 1)
        .due(1)
        .granted(1, 2)
        .ended("not sent", 1, 2, ended("ready").sent(0))
        .delivered(1, 3);
    accepts(
        &round,
        &rules(),
        &[OneLiveLease, EpochsGrow, StaleChangesNothing],
    );
}

#[test]
fn a_second_lease_beside_a_live_one_is_rejected() {
    let two = story().enqueued(1).granted(1, 1).granted(1, 2);
    rejects(
        &two,
        &rules(),
        OneLiveLease,
        &["at 7.000 s while its lease of 6.000 s"],
    );
}

#[test]
fn an_epoch_that_was_told_is_not_granted_again() {
    let again = story()
        .enqueued(1)
        .granted(1, 1)
        .restarted(ready(1))
        .due(1)
        .granted(1, 1);
    rejects(
        &again,
        &rules(),
        EpochsGrow,
        &["epoch 1 at 10.000 s, after epoch 1"],
    );
    let skipped = story().enqueued(1).granted(1, 2);
    rejects(
        &skipped,
        &rules(),
        EpochsGrow,
        &["epoch 2", "after epoch 0"],
    );
}

#[test]
fn an_epoch_that_an_endpoint_saw_before_the_crash_is_not_granted_again() {
    // The grant was never told, so that only its use shows that it was there.
    let reused = story()
        .enqueued(1)
        .executing(1, 1)
        .restarted(ready(1))
        .due(1)
        .granted(1, 1);
    rejects(
        &reused,
        &rules(),
        EpochsGrow,
        &["before the opening at 8.000 s it was already in use with epoch 1"],
    );
    let next = story()
        .enqueued(1)
        .executing(1, 1)
        .restarted(ready(1))
        .due(1)
        .granted(1, 2);
    accepts(&next, &rules(), &[EpochsGrow]);
}

#[test]
fn an_epoch_in_use_is_kept() {
    let forgot = story()
        .enqueued(1)
        .executing(1, 1)
        .restarted(ready(1))
        .found(1, found("ready", 0));
    rejects(
        &forgot,
        &rules(),
        EpochsGrow,
        &["kept with epoch 0", "epoch 1 was in use"],
    );
}

#[test]
fn a_crash_may_hide_a_grant_and_its_end() {
    let hidden = story()
        .enqueued(1)
        .restarted(ready(1))
        .due(1)
        .granted(1, 2)
        .restarted(ready(1))
        .granted(1, 4);
    accepts(&hidden, &rules(), &[EpochsGrow, OneLiveLease]);
}

#[test]
fn what_was_acked_is_never_granted_again() {
    let again = story()
        .enqueued(1)
        .delivered(1, 1)
        .restarted(ready(0))
        .granted(1, 2);
    rejects(
        &again,
        &rules(),
        DoneStaysDone,
        &[
            "executed at 8.000 s",
            "acked with epoch 1 at 9.000 s",
            "restarted at 11.000 s",
            "granted again at 12.000 s",
        ],
    );
}

#[test]
fn a_stale_word_changes_nothing() {
    let waiting = story().enqueued(1).granted(1, 1).rejected(1, 1).due(1);
    let late_no = waiting
        .clone()
        .ended("rejected", 1, 1, ended("delayed").charged());
    rejects(
        &late_no,
        &rules(),
        StaleChangesNothing,
        &["settled as `rejected` with epoch 1 at 9.000 s"],
    );
    let late_beat = waiting.clone().extended(1, 1);
    rejects(
        &late_beat,
        &rules(),
        StaleChangesNothing,
        &["extended with epoch 1 at 9.000 s"],
    );
    let old_ack = waiting
        .granted(1, 2)
        .executing(1, 1)
        .executed(1, 1)
        .done(1, 1);
    rejects(
        &old_ack,
        &rules(),
        StaleChangesNothing,
        &["settled as `done` with epoch 1 at 12.000 s"],
    );
}

#[test]
fn a_late_done_of_the_current_epoch_counts_wherever_the_task_is() {
    let delayed = story()
        .enqueued(1)
        .granted(1, 1)
        .executing(1, 1)
        .executed(1, 1);
    let delayed = delayed.ended("in doubt", 1, 1, ended("delayed").charged());
    accepts(
        &delayed.clone().done(1, 1),
        &rules(),
        &[StaleChangesNothing],
    );
    let poisoned = story()
        .enqueued(1)
        .granted(1, 1)
        .executing(1, 1)
        .executed(1, 1)
        .ended("refused", 1, 1, ended("poison").because("refused"))
        .done(1, 1);
    accepts(&poisoned, &rules(), &[StaleChangesNothing]);
}

#[test]
fn what_left_by_an_operators_hand_stays_away() {
    let rules = asked(rules(), 1, Ask::Remove(3));
    let purged = story()
        .enqueued(1)
        .granted(1, 1)
        .ended("refused", 1, 1, ended("poison").because("refused"))
        .told("purged", 1)
        .granted(1, 2);
    rejects(
        &purged,
        &rules,
        DurableIsDurable,
        &["purged at 8.000 s", "granted again at 9.000 s"],
    );
    let from_nowhere = story().enqueued(1).told("purged", 1);
    rejects(
        &from_nowhere,
        &rules,
        StaleChangesNothing,
        &["ready since 4.000 s", "`purged` at 6.000 s"],
    );
    let unleased = story().enqueued(1).fed("drained", 1, Some(1), None);
    rejects(&unleased, &rules, StaleChangesNothing, &["left by a drain"]);
}

#[test]
fn poison_is_granted_only_after_a_requeue() {
    let poisoned = story().enqueued(1).granted(1, 1).ended(
        "refused",
        1,
        1,
        ended("poison").because("refused"),
    );
    let back = poisoned.clone().told("requeued", 1).granted(1, 2);
    accepts(&back, &rules(), &[DurableIsDurable]);
    let untold = poisoned.restarted(ready(1)).granted(1, 2);
    rejects(
        &untold,
        &rules(),
        DurableIsDurable,
        &["in poison since 7.000 s", "nobody had requeued it"],
    );
    accepts(
        &untold,
        &asked(rules(), 7, Ask::Requeue),
        &[DurableIsDurable],
    );
}

#[test]
fn a_delay_is_waited_for() {
    let early = story()
        .enqueued(1)
        .granted(1, 1)
        .rejected(1, 1)
        .granted(1, 2);
    rejects(
        &early,
        &rules(),
        OldestFirst,
        &["delayed at 7.000 s", "before its delay was over"],
    );
}

#[test]
fn tasks_move_only_from_where_they_are() {
    let twice = story().enqueued(1).told("enqueued", 1);
    rejects(&twice, &rules(), NothingLost, &["`enqueued` at 6.000 s"]);
    let due = story().enqueued(1).due(1);
    rejects(&due, &rules(), StaleChangesNothing, &["`due` at 6.000 s"]);
    let held = story()
        .due_by(1, 3)
        .accepted(1, 1, false)
        .told("enqueued", 1)
        .granted(1, 1)
        .told("expired", 1);
    rejects(
        &held,
        &rules(),
        PoisonHasCause,
        &["leased with epoch 1 at 6.000 s", "`expired` at 7.000 s"],
    );
}

#[test]
fn a_lease_is_not_held_for_ever() {
    let held = story().enqueued(1).granted(1, 1).after(200).extended(1, 1);
    accepts(&held, &rules(), &[StaleChangesNothing]);
    let held = held.after(200).extended(1, 1);
    rejects(
        &held,
        &rules(),
        StaleChangesNothing,
        &["granted at 6.000 s", "still extended at 408.000 s"],
    );
}

#[test]
fn a_lease_that_is_over_is_not_extended() {
    let granted = story().enqueued(1).held_until("granted", 1, 1, 40_000);
    let in_time = granted.clone().held_until("extended", 1, 1, 69_999);
    accepts(&in_time, &rules(), &[StaleChangesNothing]);
    let too_late = granted.held_until("extended", 1, 1, 70_000);
    rejects(
        &too_late,
        &rules(),
        StaleChangesNothing,
        &["1-00000000000000aa was extended at 7.000 s, at least 0 ms after its lease was over"],
    );
    let twice = in_time.held_until("extended", 1, 1, 100_500);
    rejects(
        &twice,
        &rules(),
        StaleChangesNothing,
        &["at 8.000 s, at least 501 ms after"],
    );
}

#[test]
fn missed_news_makes_places_uncertain() {
    let missed = story().enqueued(1).granted(1, 1).missed(2).granted(1, 2);
    accepts(&missed, &rules(), &[EpochsGrow]);
}
