use super::builder::*;
use crate::oracle::Invariant::{AckMeansExecuted, EpochsGrow, OneLiveLease};

#[test]
fn an_ack_behind_its_execution_is_good_whatever_its_epoch() {
    let earlier = story()
        .enqueued(1)
        .granted(1, 1)
        .executing(1, 1)
        .executed(1, 1)
        .ended("in doubt", 1, 1, ended("delayed").charged())
        .due(1)
        .granted(1, 2)
        .done(1, 2);
    accepts(&earlier, &rules(), &[AckMeansExecuted]);
}

#[test]
fn an_ack_of_what_nobody_executed_is_rejected() {
    let never = story().enqueued(1).granted(1, 1).done(1, 1);
    rejects(
        &never,
        &rules(),
        AckMeansExecuted,
        &["acked with epoch 1 at 7.000 s"],
    );
    let refused = story()
        .enqueued(1)
        .granted(1, 1)
        .executing(1, 1)
        .answered(ENDPOINT, 1, 1, "rejected")
        .done(1, 1);
    rejects(
        &refused,
        &rules(),
        AckMeansExecuted,
        &["acked with epoch 1 at 9.000 s"],
    );
}

#[test]
fn a_rejection_is_of_its_own_lease() {
    let sent = |epoch| move |story: Story| story.granted(1, epoch).executing(1, epoch);
    let no = |story: Story, epoch| story.answered(ENDPOINT, 1, epoch, "rejected");
    let first = no(sent(1)(story().enqueued(1)), 1);
    accepts(&first.clone().rejected(1, 1), &rules(), &[AckMeansExecuted]);
    // A newer epoch joins what runs, and has its answer.
    let silent = |story: Story| story.ended("in doubt", 1, 1, ended("delayed").charged());
    let joined = silent(sent(1)(story().enqueued(1))).due(1).granted(1, 2);
    accepts(&no(joined, 1).rejected(1, 2), &rules(), &[AckMeansExecuted]);
    let late = sent(2)(silent(first).due(1)).rejected(1, 2);
    rejects(
        &late,
        &rules(),
        AckMeansExecuted,
        &[
            "1-00000000000000aa was rejected with epoch 2",
            "last rejected it at 8.000 s (epoch 1), before its grant at",
        ],
    );
}

#[test]
fn what_was_not_sent_arrives_nowhere() {
    let unsent = |story: Story| story.ended("not sent", 1, 1, ended("ready").sent(0));
    let granted = story().enqueued(1).granted(1, 1);
    let again = unsent(granted.clone()).granted(1, 2).executing(1, 2);
    accepts(&again, &rules(), &[AckMeansExecuted]);
    for arrived in [
        unsent(granted.clone()).executing(1, 1),
        unsent(granted.executing(1, 1)),
    ] {
        rejects(
            &arrived,
            &rules(),
            AckMeansExecuted,
            &["given back unsent with epoch 1", "began to execute it"],
        );
    }
    // Where epochs come again, it was the other one.
    let mut again = rules();
    again.lifts.insert(EpochsGrow);
    let twice = story().enqueued(1).granted(1, 1).executing(1, 1);
    accepts(&unsent(twice), &again, &[OneLiveLease]);
}

#[test]
fn another_endpoint_than_the_routes_does_not_count() {
    let elsewhere = story()
        .enqueued(1)
        .granted(1, 1)
        .answered(OTHER, 1, 1, "done")
        .done(1, 1);
    rejects(
        &elsewhere,
        &rules(),
        AckMeansExecuted,
        &["executed by endpoint-2 at 7.000 s", "leads to endpoint"],
    );
}

#[test]
fn another_command_under_its_name_does_not_count() {
    let swapped = story()
        .enqueued(1)
        .enqueued(2)
        .granted(1, 1)
        .executing_for(1, 1, 2);
    rejects(
        &swapped,
        &rules(),
        AckMeansExecuted,
        &["the command of op 1", "the command of op 2"],
    );
}
