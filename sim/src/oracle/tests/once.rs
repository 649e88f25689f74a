use super::builder::*;
use crate::oracle::Ask;
use crate::oracle::Invariant::EffectivelyOnce;
use crate::plan::{DiskFault, FaultKind, Inbox};

fn executed() -> Story {
    story()
        .enqueued(1)
        .granted(1, 1)
        .executing(1, 1)
        .executed(1, 1)
}

fn again(story: Story) -> Story {
    story.executing(1, 1).executed(1, 1)
}

#[test]
fn one_memory_executes_once() {
    accepts(&executed(), &rules(), &[EffectivelyOnce]);
    let twice = again(executed());
    rejects(
        &twice,
        &rules(),
        EffectivelyOnce,
        &[
            "executed at 8.000 s (epoch 1)",
            "again by endpoint at 10.000 s",
        ],
    );
}

#[test]
fn what_was_not_done_may_be_tried_again() {
    let rejected = story()
        .enqueued(1)
        .granted(1, 1)
        .executing(1, 1)
        .answered(ENDPOINT, 1, 1, "rejected");
    let rejected = rejected.rejected(1, 1).due(1).delivered(1, 2);
    accepts(&rejected, &rules(), &[EffectivelyOnce]);
}

#[test]
fn a_memory_that_is_lost_binds_nobody_and_one_on_disk_is_not_lost() {
    let lost = again(executed().died(ENDPOINT).up("inbox-2"));
    accepts(&lost, &rules(), &[EffectivelyOnce]);
    for inbox in [Inbox::File, Inbox::Effect] {
        let kept = lossless(rules(), inbox);
        rejects(&lost, &kept, EffectivelyOnce, &["8.000 s", "12.000 s"]);
        let rots = FaultKind::Disk {
            host: ENDPOINT.into(),
            fault: DiskFault::BitFlip,
            one_in: 1,
            times: 1,
        };
        accepts(&lost, &troubled(kept, 1, 2, rots), &[EffectivelyOnce]);
    }
}

#[test]
fn a_route_that_holds_its_doubts_is_bound_until_its_bridge_restarts() {
    let mut rules = rules();
    rules.held.insert(ROUTE.to_owned());
    let lost = executed().died(ENDPOINT).up("inbox-2");
    rejects(
        &again(lost.clone()),
        &rules,
        EffectivelyOnce,
        &["8.000 s", "12.000 s"],
    );
    accepts(
        &again(lost.clone().restarted(ready(1))),
        &rules,
        &[EffectivelyOnce],
    );
    let rules = asked(rules, 1, Ask::Requeue);
    // To requeue what was held is to have it executed, whatever became of it before; an inbox on disk knows better.
    let held = lost.ended("refused", 1, 1, ended("poison").because("refused"));
    let requeued = held.told("requeued", 1).delivered(1, 2);
    accepts(&requeued, &rules, &[EffectivelyOnce]);
    let kept = lossless(rules, Inbox::File);
    rejects(&requeued, &kept, EffectivelyOnce, &["8.000 s", "(epoch 2)"]);
}

#[test]
fn what_may_have_been_executed_stays_with_its_endpoint() {
    let answered = story().enqueued(1).granted(1, 1).executing(1, 1);
    let answered = answered.answered(ENDPOINT, 1, 1, "rejected");
    // A second send of that lease was executed all the same.
    let done = answered.rejected(1, 1).executed(1, 1).due(1);
    let moved = done.clone().on("bills").told("rerouted", 1);
    let again = moved.granted(1, 2).answered(OTHER, 1, 2, "done");
    rejects(&again, &rules(), EffectivelyOnce, &["by endpoint-2"]);
    let rules = asked(rules(), 1, Ask::Requeue);
    let by_hand = done
        .granted(1, 2)
        .answered(ENDPOINT, 1, 2, "refused")
        .ended("refused", 1, 2, ended("poison").because("refused"));
    let by_hand = by_hand.told("requeued", 1).on("bills").told("rerouted", 1);
    let by_hand = by_hand.granted(1, 3).answered(OTHER, 1, 3, "done");
    accepts(&by_hand, &rules, &[EffectivelyOnce]);
}

#[test]
fn a_blind_inbox_executes_again_what_a_person_requeued() {
    let rules = asked(lossless(rules(), Inbox::Blind), 1, Ask::Requeue);
    let cut = executed().died(ENDPOINT).up("inbox");
    rejects(&again(cut.clone()), &rules, EffectivelyOnce, &["8.000 s"]);
    let refused = cut.ended("refused", 1, 1, ended("poison").because("refused"));
    let by_hand = refused.told("requeued", 1).delivered(1, 2);
    accepts(&by_hand, &rules, &[EffectivelyOnce]);
}

#[test]
fn an_inbox_begins_nothing_for_an_older_lease() {
    let newer = story().enqueued(1).granted(1, 1).executing(1, 1);
    let newer = newer.answered(ENDPOINT, 1, 1, "rejected").rejected(1, 1);
    let newer = newer.due(1).granted(1, 2).executing(1, 2);
    let older = newer.clone().executing(1, 1);
    rejects(
        &older,
        &rules(),
        EffectivelyOnce,
        &["begins 1-", "epoch 1 at 13.000 s", "for epoch 2"],
    );
    let forgotten = newer.died(ENDPOINT).up("inbox-2").executing(1, 1);
    accepts(&forgotten, &rules(), &[EffectivelyOnce]);
}
