use super::builder::*;
use crate::history::Counts;
use crate::oracle::Ask;
use crate::oracle::Invariant::{Fairness, OldestFirst};
use crate::plan::Micros;

#[test]
fn the_lowest_ready_id_goes_first() {
    let three = story().enqueued(1).enqueued(2).enqueued(3);
    accepts(
        &three.clone().granted(1, 1).granted(2, 1).granted(3, 1),
        &rules(),
        &[OldestFirst],
    );
    let overtaken = three.granted(1, 1).granted(3, 1);
    rejects(
        &overtaken,
        &rules(),
        OldestFirst,
        &[
            "3-00000000000000aa was granted at 13.000 s before 2-00000000000000aa",
            "since 7.000 s",
        ],
    );
}

#[test]
fn whoever_waits_for_a_time_is_overtaken() {
    let delayed = story().enqueued(1).enqueued(2).granted(1, 1).rejected(1, 1);
    accepts(&delayed.clone().granted(2, 1), &rules(), &[OldestFirst]);
    let due = delayed.due(1).granted(2, 1);
    rejects(&due, &rules(), OldestFirst, &["before 1-00000000000000aa"]);
}

#[test]
fn routes_are_lanes_of_their_own() {
    let lanes = story().enqueued(1).on("bills").enqueued(2).granted(2, 1);
    accepts(&lanes, &rules(), &[]);
}

#[test]
fn what_came_back_keeps_its_place() {
    let released = story().enqueued(1).enqueued(2).granted(1, 1).ended(
        "released",
        1,
        1,
        ended("ready").sent(0),
    );
    rejects(
        &released.granted(2, 1),
        &rules(),
        OldestFirst,
        &["before 1-00000000000000aa", "since 10.000 s"],
    );
}

#[test]
fn a_restart_hides_who_is_ready() {
    let hidden = story()
        .enqueued(1)
        .enqueued(2)
        .restarted(ready(2))
        .granted(2, 1);
    accepts(&hidden, &rules(), &[]);
}

#[test]
fn a_suspect_of_two_deaths_is_passed_over_and_jumps() {
    let twice = story()
        .enqueued(1)
        .enqueued(2)
        .granted(1, 1)
        .restarted(ready(2))
        .due(1)
        .granted(1, 2);
    let twice = twice.restarted(Counts {
        ready: 1,
        delayed: 1,
        ..Counts::default()
    });
    let passed = twice.clone().due(1).enqueued(3).granted(3, 1);
    accepts(&passed, &rules(), &[OldestFirst]);
    // After one death nobody is suspected yet.
    let once = story()
        .enqueued(1)
        .granted(1, 1)
        .restarted(ready(1))
        .due(1)
        .enqueued(2)
        .granted(2, 1);
    rejects(&once, &rules(), OldestFirst, &["before 1-00000000000000aa"]);
}

/// Route `bills` is cut off from the start; on `orders` task 1 waits.
#[test]
fn whoever_was_never_told_of_may_be_a_suspect() {
    let untold = story()
        .offered(2)
        .unknown(2)
        .restarted(ready(1))
        .told("due", 2);
    accepts(
        &untold.enqueued(3).granted(3, 1).granted(2, 4),
        &rules(),
        &[],
    );
}

fn waits(secs: u64) -> Story {
    let dead = story().on("bills").enqueued(8).granted(8, 1).ended(
        "not sent",
        8,
        1,
        ended("ready").sent(0),
    );
    dead.on(ROUTE).enqueued(1).after(secs).granted(1, 1)
}

#[test]
fn a_dead_route_delays_no_other() {
    let rules = troubled(rules(), 1, 500, partition(OTHER));
    accepts(&waits(3), &rules, &[Fairness]);
    rejects(
        &waits(60),
        &rules,
        Fairness,
        &[
            "`orders` since 9.000 s",
            "before 71.000 s",
            "`bills` is dead",
        ],
    );
}

#[test]
fn waiting_for_ever_shows_at_the_end() {
    let rules = troubled(rules(), 1, 500, partition(OTHER));
    let mut never = waits(60);
    never.records.pop();
    rejects(
        &never.after(60).counted(ready(2), 2),
        &rules,
        Fairness,
        &["since 9.000 s"],
    );
}

#[test]
fn a_route_with_troubles_of_its_own_may_wait() {
    let cut = troubled(rules(), 1, 500, partition(OTHER));
    accepts(
        &waits(60),
        &troubled(cut.clone(), 20, 30, partition(ENDPOINT)),
        &[],
    );
    let paused = asked(cut, 5, Ask::Pause(Micros::from_secs(40)));
    accepts(&waits(60), &paused, &[]);
    // Nobody is dead.
    accepts(&waits(60).on(ROUTE), &rules(), &[]);
}

#[test]
fn a_task_that_is_moved_stands_where_it_stood() {
    let waits = story().enqueued(1).granted(1, 1).executing(1, 1);
    let waits = waits.answered(ENDPOINT, 1, 1, "rejected").rejected(1, 1);
    let early = waits.clone().told("rerouted", 1).granted(1, 2);
    let words = ["granted with epoch 2 at 11.000 s before its delay was over"];
    rejects(&early, &rules(), OldestFirst, &words);
    // What an opening has made due, it doesn't tell.
    let due = waits.restarted(ready(1)).told("rerouted", 1);
    accepts(&due.granted(1, 2), &rules(), &[OldestFirst]);
}
