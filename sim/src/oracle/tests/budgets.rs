use super::builder::*;
use crate::history::Counts;
use crate::oracle::CommandNature::{Innocent, Pill};
use crate::oracle::Invariant::{
    HistoryInOrder, OutagesAreFree, PillsAreConvicted, PoisonHasCause, WithinBudget,
};

/// Rejected so often, and ready again each time.
fn rejected(mut story: Story, epochs: std::ops::RangeInclusive<u32>) -> Story {
    for epoch in epochs {
        story = story.granted(1, epoch).rejected(1, epoch).due(1);
    }
    story
}

fn spent() -> crate::history::LeaseEnd {
    ended("poison").because("retries spent")
}

#[test]
fn a_budget_that_is_spent_to_the_last_is_good() {
    let convicted = rejected(story().enqueued(1), 1..=2)
        .granted(1, 3)
        .ended("rejected", 1, 3, spent())
        .found(
            1,
            TaskAtEnd {
                cause: Some("retries spent"),
                retries: 2,
                attempts: vec![1, 2, 3],
                ..found("poison", 3)
            },
        );
    accepts(
        &convicted,
        &rules(),
        &[WithinBudget, PoisonHasCause, HistoryInOrder, OutagesAreFree],
    );
}

#[test]
fn one_more_than_the_budget_is_rejected() {
    let over = rejected(story().enqueued(1), 1..=3);
    rejects(
        &over,
        &rules(),
        WithinBudget,
        &["charged for 3 rejections by 13.000 s", "its budget is 2"],
    );
}

#[test]
fn poison_before_the_budget_is_spent_is_rejected() {
    let early = rejected(story().enqueued(1), 1..=1)
        .granted(1, 2)
        .ended("rejected", 1, 2, spent());
    rejects(
        &early,
        &rules(),
        PoisonHasCause,
        &["at 10.000 s", "after 1 charged rejections"],
    );
}

#[test]
fn a_crash_may_have_charged_one_more_untold() {
    let untold = rejected(story().enqueued(1), 1..=1)
        .granted(1, 2)
        .restarted(ready(1))
        .due(1)
        .granted(1, 3)
        .ended("rejected", 1, 3, spent());
    accepts(&untold, &rules(), &[PoisonHasCause]);
    let two_untold = story()
        .enqueued(1)
        .granted(1, 1)
        .restarted(ready(1))
        .due(1)
        .granted(1, 2)
        .ended("rejected", 1, 2, spent());
    rejects(
        &two_untold,
        &rules(),
        PoisonHasCause,
        &["after 1 charged rejections"],
    );
}

#[test]
fn what_a_process_took_with_it_may_have_been_held() {
    let in_doubt = |in_doubt| TaskAtEnd {
        cause: Some("expired"),
        in_doubt,
        attempts: vec![1],
        ..found("poison", 1)
    };
    let counts = Counts {
        poison: 1,
        ..Counts::default()
    };
    let known = story().offered(1).restarted(counts);
    let known = known.offered(1).accepted(1, 1, false);
    let charged = known.clone().found(1, in_doubt(1));
    accepts(&charged, &rules(), &[WithinBudget]);
    rejects(
        &known.found(1, in_doubt(3)),
        &rules(),
        WithinBudget,
        &["has 3 charged doubts", "told of 0 to 2"],
    );
    let at_once = story().offered(1).accepted(1, 1, false);
    rejects(
        &at_once.found(1, in_doubt(1)),
        &rules(),
        WithinBudget,
        &["told of 0 to 0"],
    );
}

#[test]
fn a_requeue_gives_fresh_budgets_and_a_forgotten_one_does_not() {
    let fresh = rejected(story().enqueued(1), 1..=2)
        .granted(1, 3)
        .ended("rejected", 1, 3, spent())
        .told("requeued", 1);
    accepts(&rejected(fresh.clone(), 4..=5), &rules(), &[WithinBudget]);
    let at_once = fresh.granted(1, 4).ended("rejected", 1, 4, spent());
    rejects(
        &at_once,
        &rules(),
        PoisonHasCause,
        &["after 0 charged rejections"],
    );
}

#[test]
fn what_is_found_was_told() {
    let told = rejected(story().enqueued(1), 1..=1);
    let kept = |retries| {
        told.clone().found(
            1,
            TaskAtEnd {
                retries,
                attempts: vec![1],
                ..found("ready", 1)
            },
        )
    };
    accepts(&kept(1), &rules(), &[WithinBudget]);
    rejects(
        &kept(0),
        &rules(),
        WithinBudget,
        &["has 0 charged rejections", "told of 1 to 1"],
    );
    rejects(
        &kept(2),
        &rules(),
        WithinBudget,
        &["has 2 charged rejections"],
    );
}

#[test]
fn outages_cost_nothing() {
    for kind in ["unavailable", "not sent", "released"] {
        let charged =
            story()
                .enqueued(1)
                .granted(1, 1)
                .ended(kind, 1, 1, ended("delayed").charged());
        rejects(
            &charged,
            &rules(),
            OutagesAreFree,
            &["charged at 7.000 s", kind],
        );
    }
}

#[test]
fn what_was_never_sent_does_not_wait() {
    for kind in ["not sent", "released"] {
        let next = |next| {
            story()
                .enqueued(1)
                .granted(1, 1)
                .ended(kind, 1, 1, ended(next).sent(0))
        };
        accepts(&next("ready"), &rules(), &[OutagesAreFree]);
        let words = ["waits from 7.000 s", kind];
        rejects(&next("delayed"), &rules(), OutagesAreFree, &words);
    }
    // Whoever asks to be spared is spared.
    let spared = story()
        .enqueued(1)
        .granted(1, 1)
        .ended("unavailable", 1, 1, ended("delayed"));
    accepts(&spared, &rules(), &[OutagesAreFree]);
}

#[test]
fn four_sends_are_the_most() {
    let sent = |sends| {
        story().enqueued(1).granted(1, 1).ended(
            "rejected",
            1,
            1,
            ended("delayed").charged().sent(sends),
        )
    };
    accepts(&sent(4), &rules(), &[WithinBudget]);
    rejects(
        &sent(5),
        &rules(),
        WithinBudget,
        &["sent 5 times", "7.000 s"],
    );
}

#[test]
fn poison_has_the_cause_that_its_attempt_had() {
    let wrong = story().enqueued(1).granted(1, 1).ended(
        "unavailable",
        1,
        1,
        ended("poison").because("refused"),
    );
    rejects(
        &wrong,
        &rules(),
        PoisonHasCause,
        &["`refused`, but its attempt was `unavailable`"],
    );
    let none = story()
        .enqueued(1)
        .granted(1, 1)
        .ended("rejected", 1, 1, ended("poison"));
    rejects(&none, &rules(), PoisonHasCause, &["no cause at all"]);
}

#[test]
fn only_its_own_deadline_expires_a_command() {
    let given = |deadline| {
        story()
            .due_by(1, deadline)
            .told("enqueued", 1)
            .accepted(1, 1, false)
    };
    accepts(&given(6).told("expired", 1), &rules(), &[PoisonHasCause]);
    rejects(
        &given(60).told("expired", 1),
        &rules(),
        PoisonHasCause,
        &["expired at 6.000 s", "deadline is 60.000 s"],
    );
    rejects(
        &story().enqueued(1).told("expired", 1),
        &rules(),
        PoisonHasCause,
        &["it has no deadline"],
    );
    let while_held = given(6).granted(1, 1).ended(
        "rejected",
        1,
        1,
        ended("poison").because("expired").charged(),
    );
    accepts(&while_held, &rules(), &[PoisonHasCause]);
}

/// In doubt, alone in its route and charged each time, until the budget is spent.
fn doubted_to_the_end(budget: u16) -> Story {
    let mut story = story().budget(budget).enqueued(1);
    for epoch in 1..=u32::from(budget) {
        story = story
            .granted(1, epoch)
            .ended("in doubt", 1, epoch, ended("delayed").charged())
            .due(1);
    }
    let last = u32::from(budget) + 1;
    let spent = ended("poison").because("in doubt spent");
    story.granted(1, last).ended("in doubt", 1, last, spent)
}

#[test]
fn doubt_convicts_pills_and_not_who_always_answers() {
    let doubted = doubted_to_the_end(10);
    accepts(&doubted, &command(rules(), 1, Pill), &[PillsAreConvicted]);
    let innocent = command(rules(), 1, Innocent);
    let words = ["always answers", "poison at 37.000 s"];
    rejects(&doubted, &innocent, OutagesAreFree, &words);
    accepts(&doubted_to_the_end(3), &innocent, &[OutagesAreFree]);
    let silenced = troubled(innocent, 1, 20, partition(ENDPOINT));
    accepts(&doubted, &silenced, &[OutagesAreFree]);
}

#[test]
fn a_pill_that_is_never_convicted_is_rejected() {
    let mut flies = story().enqueued(1);
    for epoch in 1..=12 {
        flies = flies.granted(1, epoch).restarted(ready(1)).due(1);
    }
    accepts(&flies, &rules(), &[]);
    let mut flies_on = story().enqueued(1);
    for epoch in 1..=12 {
        // Told each time, and never charged: the suspicion is forgotten.
        flies_on = flies_on
            .granted(1, epoch)
            .missed(0)
            .ended("in doubt", 1, epoch, ended("delayed"))
            .missed(0)
            .due(1);
    }
    rejects(
        &flies_on,
        &command(rules(), 1, Pill),
        PillsAreConvicted,
        &["in doubt 12 times", "was not convicted"],
    );
}

#[test]
fn histories_are_in_order_and_whole() {
    let twice = rejected(story().enqueued(1), 1..=2);
    let kept = |attempts: &[u32]| {
        twice.clone().found(
            1,
            TaskAtEnd {
                retries: 2,
                attempts: attempts.to_vec(),
                ..found("ready", 2)
            },
        )
    };
    accepts(&kept(&[1, 2]), &rules(), &[HistoryInOrder]);
    rejects(&kept(&[2, 1]), &rules(), HistoryInOrder, &["out of order"]);
    rejects(
        &kept(&[1, 2, 3]),
        &rules(),
        HistoryInOrder,
        &["out of order"],
    );
    rejects(
        &kept(&[1]),
        &rules(),
        HistoryInOrder,
        &["not that of epoch 2"],
    );
    rejects(
        &kept(&[]),
        &rules(),
        HistoryInOrder,
        &["not that of epoch 1"],
    );
}
