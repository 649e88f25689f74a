use std::collections::BTreeMap;

use super::builder::*;
use crate::oracle::Invariant::{Bounded, OutagesAreFree};
use crate::oracle::{LineRule, Rules};
use crate::plan::{Micros, OpId};

/// Commands 1 to 4 have so many bytes, over a line that carries 10 000 a second.
fn over_a_line(bytes: u64) -> Rules {
    let line = LineRule {
        bytes_per_s: 10_000,
        round_trip: Micros::from_millis(100),
        bodies: (1..=4)
            .map(|op| (OpId(op), bytes))
            .collect::<BTreeMap<_, _>>(),
        covered: true,
    };
    Rules {
        line: Some(line),
        ..rules()
    }
}

#[test]
fn what_is_sent_once_in_the_time_of_its_bytes_is_good() {
    let story = story().enqueued(1).after(9).delivered(1, 1);
    accepts(&story, &over_a_line(100_000), &[OutagesAreFree, Bounded]);
}

#[test]
fn what_takes_longer_than_its_bytes_is_rejected() {
    let slow = story().enqueued(1).after(12).delivered(1, 1);
    rejects(
        &slow,
        &over_a_line(100_000),
        Bounded,
        &["the 1 commands of bridge on route orders", "100000 bytes"],
    );
    let mut uncovered = over_a_line(100_000);
    uncovered.line.as_mut().expect("it was set").covered = false;
    accepts(&slow, &uncovered, &[OutagesAreFree]);
}

#[test]
fn a_doubt_or_a_second_send_is_rejected() {
    let doubted = story().enqueued(1).granted(1, 1);
    let doubted = doubted.ended("in doubt", 1, 1, ended("delayed").charged());
    let rules = over_a_line(1_000);
    rejects(
        &doubted,
        &rules,
        OutagesAreFree,
        &["`in doubt` after 1 sends"],
    );
    let again = story()
        .enqueued(1)
        .granted(1, 1)
        .executing(1, 1)
        .executed(1, 1);
    let again = again.ended("done", 1, 1, ended("done").sent(2));
    rejects(&again, &rules, OutagesAreFree, &["`done` after 2 sends"]);
}
