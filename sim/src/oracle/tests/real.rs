//! Histories of real processes: several clocks, nobody who knows the faults.

use super::builder::*;
use crate::oracle::Invariant::{AckMeansExecuted, DurableIsDurable, NothingLost};
use crate::oracle::Rules;
use crate::plan::Micros;

fn real() -> Rules {
    Rules::of_real(Micros::from_secs(2), [])
}

#[test]
fn an_execution_may_seem_later_than_its_ack_by_the_skew_of_the_clocks() {
    let crossed = story().enqueued(1).granted(1, 1).done(1, 1).executed(1, 1);
    accepts(&crossed, &real(), &[AckMeansExecuted]);
    let late = story()
        .enqueued(1)
        .granted(1, 1)
        .done(1, 1)
        .after(5)
        .executed(1, 1);
    rejects(
        &late,
        &real(),
        AckMeansExecuted,
        &["acked at 7.000 s, but executed only at 13.000 s"],
    );
    let never = story().enqueued(1).granted(1, 1).done(1, 1);
    rejects(
        &never,
        &real(),
        AckMeansExecuted,
        &["acked at 7.000 s, but no endpoint executed it"],
    );
}

#[test]
fn what_operators_and_faults_may_explain_is_accepted() {
    let poisoned = story().enqueued(1).granted(1, 1);
    let poisoned = poisoned.ended("refused", 1, 1, ended("poison").because("refused"));
    let requeued = poisoned.restarted(ready(1)).granted(1, 2);
    accepts(&requeued, &real(), &[DurableIsDurable]);
    let purged = story()
        .enqueued(1)
        .restarted(ready(0))
        .found(1, found("gone", 0));
    accepts(&purged, &real(), &[NothingLost]);
}
