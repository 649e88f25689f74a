use super::builder::*;
use crate::oracle::Invariant::AckMeansExecuted;

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
