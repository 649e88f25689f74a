use super::builder::*;
use crate::history::What;
use crate::oracle::Ask;
use crate::oracle::Invariant::NothingLost;

fn left(first: u32, last: u32) -> What {
    What::LeftEarlier {
        first: task(first),
        last: task(last),
    }
}

/// One is executed, another waits, and the process dies.
fn two_and_a_death() -> Story {
    let story = story().enqueued(1).delivered(1, 1).enqueued(2);
    story.restarted(ready(1))
}

#[test]
fn what_has_left_may_be_told() {
    let told = two_and_a_death().record(BRIDGE, left(1, 1));
    accepts(&told.granted(2, 1), &rules(), &[NothingLost]);
}

#[test]
fn what_is_granted_after_it_was_told_to_have_left_is_rejected() {
    let told = two_and_a_death().record(BRIDGE, left(1, 2));
    let words = ["2-00000000000000aa is granted", "has left for good"];
    rejects(&told.granted(2, 1), &rules(), NothingLost, &words);
}

#[test]
fn what_was_drained_is_not_told_to_have_left() {
    let story = story().enqueued(1).granted(1, 1).told("drained", 1);
    let told = story.restarted(ready(0)).record(BRIDGE, left(1, 1));
    let rules = asked(rules(), 0, Ask::Remove(1));
    let words = ["1-00000000000000aa has left for good, and it was drained"];
    rejects(&told, &rules, NothingLost, &words);
}
