use super::builder::*;
use crate::oracle::Invariant::Fairness;
use crate::oracle::Rules;
use crate::plan::{FaultKind, Greed};

fn visited() -> Rules {
    let stranger = FaultKind::Stranger {
        host: BRIDGE.into(),
        greed: Greed::Silent,
        connections: 40,
    };
    troubled(rules(), 1, 60, stranger)
}

#[test]
fn who_is_served_in_time_beside_strangers_is_served_well() {
    let served = story()
        .enqueued(1)
        .granted(1, 1)
        .after(5)
        .executing(1, 1)
        .executed(1, 1)
        .done(1, 1);
    accepts(&served, &visited(), &[Fairness]);
}

#[test]
fn an_answer_that_takes_too_long_is_held_against_strangers() {
    let late = story()
        .keyed(1, "k", 1)
        .unknown(1)
        .after(9)
        .keyed(1, "k", 1)
        .fed("enqueued", 1, None, None)
        .accepted(1, 1, false);
    rejects(&late, &visited(), Fairness, &["op 1 was offered at"]);
    // Nothing but strangers excuses nothing; a partition may be why.
    let excused = troubled(visited(), 1, 60, partition(ENDPOINT));
    accepts(&late, &excused, &[]);
    let unkeyed = story().offered(1).unknown(1).after(30).enqueued(2);
    accepts(&unkeyed.delivered(2, 1), &visited(), &[Fairness]);
}

#[test]
fn a_command_that_is_never_begun_is_held_against_strangers() {
    let never = story().enqueued(1).granted(1, 1).after(20).up("inbox-1");
    rejects(&never, &visited(), Fairness, &["op 1 was accepted at"]);
}
