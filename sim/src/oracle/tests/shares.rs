use super::builder::*;
use crate::oracle::Invariant::Fairness;
use crate::oracle::Rules;

fn guaranteed(guaranteed: u64) -> Rules {
    Rules {
        guaranteed: Some(guaranteed),
        ..rules()
    }
}

#[test]
fn a_refusal_beyond_the_guaranteed_part_is_good() {
    let full = story()
        .enqueued(1)
        .enqueued(2)
        .offered(3)
        .declined(3, "full");
    accepts(&full, &guaranteed(2), &[Fairness]);
}

#[test]
fn a_refusal_within_it_is_rejected_whatever_others_hold() {
    let full = story()
        .on("bills")
        .enqueued(1)
        .enqueued(2)
        .on(ROUTE)
        .enqueued(3)
        .offered(4)
        .declined(4, "full");
    rejects(
        &full,
        &guaranteed(3),
        Fairness,
        &["route orders", "held 2 tasks at most of the 3"],
    );
    let no_room = full.offered(5).declined(5, "no_room");
    let lifted = Rules {
        lifts: [Fairness].into(),
        ..guaranteed(3)
    };
    accepts(&no_room, &lifted, &[]);
}

#[test]
fn what_was_gone_before_the_offer_holds_no_place_and_what_went_later_did() {
    let gone = story().enqueued(1).delivered(1, 1);
    let before = gone.offered(2).declined(2, "full");
    rejects(&before, &guaranteed(2), Fairness, &["held 1 tasks"]);
    let later = story()
        .enqueued(1)
        .offered(2)
        .delivered(1, 1)
        .declined(2, "full");
    accepts(&later, &guaranteed(2), &[Fairness]);
}
