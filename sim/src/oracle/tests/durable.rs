use super::builder::*;
use crate::history::What;
use crate::oracle::Ask;
use crate::oracle::Invariant::{DoneStaysDone, DurableIsDurable};
use crate::plan::{DiskFault, FaultKind};

fn poisoned() -> Story {
    let granted = story().enqueued(1).granted(1, 1);
    granted.ended("refused", 1, 1, ended("poison").because("refused"))
}

fn in_poison(epoch: u32) -> TaskAtEnd {
    TaskAtEnd {
        cause: Some("refused"),
        attempts: vec![1],
        ..found("poison", epoch)
    }
}

#[test]
fn what_is_found_agrees_with_what_was_told() {
    let done = story().enqueued(1).delivered(1, 1);
    accepts(
        &done.clone().found(1, found("gone", 0)),
        &rules(),
        &[DoneStaysDone],
    );
    let back = done.restarted(ready(0)).found(1, found("ready", 1));
    rejects(
        &back,
        &rules(),
        DoneStaysDone,
        &["acked with epoch 1 at 9.000 s", "ready again at 12.000 s"],
    );
    accepts(
        &poisoned().found(1, in_poison(1)),
        &rules(),
        &[DurableIsDurable],
    );
    let out = poisoned().restarted(ready(1)).found(
        1,
        TaskAtEnd {
            attempts: vec![1],
            ..found("ready", 1)
        },
    );
    rejects(
        &out,
        &rules(),
        DurableIsDurable,
        &["in poison since 7.000 s", "and ready at 10.000 s"],
    );
    accepts(&out, &asked(rules(), 8, Ask::Requeue), &[DurableIsDurable]);
}

#[test]
fn a_requeue_that_somebody_was_told_of_is_kept() {
    let rules = asked(rules(), 7, Ask::Requeue);
    let forgotten = poisoned()
        .operated("requeue", 1)
        .restarted(ready(1))
        .found(1, in_poison(1));
    rejects(
        &forgotten,
        &rules,
        DurableIsDurable,
        &["requeued at 8.000 s", "in poison at 11.000 s"],
    );
    let stands = || TaskAtEnd {
        attempts: vec![1, 2],
        ..in_poison(2)
    };
    let granted = poisoned().told("requeued", 1).granted(1, 2);
    let refused = ended("poison").because("refused");
    let again = granted
        .clone()
        .operated("requeue", 1)
        .ended("refused", 1, 2, refused.clone());
    accepts(&again.found(1, stands()), &rules, &[DurableIsDurable]);
    // The answer may be slower than the next lease and its end.
    let overtaken = granted
        .ended("refused", 1, 2, refused)
        .operated("requeue", 1);
    accepts(&overtaken.found(1, stands()), &rules, &[DurableIsDurable]);
}

#[test]
fn an_acked_task_is_not_delivered_anew() {
    let delivered = story().enqueued(1).delivered(1, 1).executing(1, 2);
    rejects(
        &delivered,
        &rules(),
        DoneStaysDone,
        &[
            "acked with epoch 1 at 9.000 s",
            "delivered again with epoch 2",
        ],
    );
    // A send of the acked epoch that was still under way is the inbox's affair.
    let late = story().enqueued(1).delivered(1, 1).executing(1, 1);
    accepts(&late, &rules(), &[DoneStaysDone]);
}

#[test]
fn what_was_declined_is_not_executed() {
    let declined = story().offered(1).declined(1, "full");
    rejects(
        &declined.clone().executing(1, 1),
        &rules(),
        DurableIsDurable,
        &["op 1 was declined every time"],
    );
    let maybe = declined.offered(1).unknown(1).executing(1, 1);
    accepts(&maybe, &rules(), &[DurableIsDurable]);
}

#[test]
fn a_repetition_is_executed_under_the_name_of_the_first() {
    let first = story().keyed(1, "k", 7).declined(1, "full");
    let second = first.clone().keyed(2, "k", 7).accepted(2, 2, false);
    accepts(
        &second.executing_for(2, 1, 1),
        &rules(),
        &[DurableIsDurable],
    );
    let words = ["op 1 was declined every time (last offered at 3.000 s)"];
    rejects(&first.executing(1, 1), &rules(), DurableIsDurable, &words);
}

#[test]
fn each_opening_has_an_origin_of_its_own() {
    let mut twice = story().restarted(ready(0));
    for record in &mut twice.records {
        if let What::Opened { origin, .. } = &mut record.what {
            *origin = "aa".to_owned();
        }
    }
    rejects(
        &twice,
        &rules(),
        DurableIsDurable,
        &["at 4.000 s with the origin aa, which it has had before"],
    );
}

#[test]
fn a_crash_alone_damages_no_log() {
    let what = What::OpenRefused {
        why: "a bad record".to_owned(),
        damaged: true,
    };
    let damaged = story().died(BRIDGE).record(BRIDGE, what);
    rejects(
        &damaged,
        &rules(),
        DurableIsDurable,
        &["damaged at 4.000 s"],
    );
    let rots = FaultKind::Disk {
        host: BRIDGE.into(),
        fault: DiskFault::BitFlip,
        one_in: 1,
        times: 1,
    };
    accepts(
        &damaged,
        &troubled(rules(), 1, 2, rots),
        &[DurableIsDurable],
    );
    let torn = FaultKind::Disk {
        host: BRIDGE.into(),
        fault: DiskFault::TornWrite,
        one_in: 1,
        times: 1,
    };
    rejects(
        &damaged,
        &troubled(rules(), 1, 2, torn),
        DurableIsDurable,
        &["damaged at 4.000 s"],
    );
}

#[test]
fn an_effect_that_was_told_is_there_after_a_start() {
    let delivered = story().enqueued(1).delivered(1, 1).died(ENDPOINT);
    let forgotten = delivered.record(ENDPOINT, What::Forgotten { task: task(1) });
    rejects(
        &forgotten,
        &rules(),
        DurableIsDurable,
        &["gone from its effect file at 11.000 s"],
    );
    let disk = |fault| FaultKind::Disk {
        host: ENDPOINT.into(),
        fault,
        one_in: 1,
        times: 1,
    };
    let lies = troubled(rules(), 1, 2, disk(DiskFault::SyncLies));
    accepts(&forgotten, &lies, &[DurableIsDurable]);
    let fails = troubled(rules(), 1, 2, disk(DiskFault::SyncError));
    rejects(&forgotten, &fails, DurableIsDurable, &["effect file"]);
}

#[test]
fn a_job_requeues_what_was_in_poison_when_it_was_asked_for() {
    let refused = |story: Story, epoch| {
        let end = ended("poison").because("refused");
        story.granted(1, epoch).ended("refused", 1, epoch, end)
    };
    let once = refused(story().enqueued(1), 1);
    // Granted at 6 s.
    let rules = |at| asked(rules(), at, Ask::RequeueJob);
    let requeued = once.clone().told("requeued", 1);
    accepts(&requeued, &rules(7), &[DurableIsDurable]);
    rejects(
        &requeued,
        &rules(4),
        DurableIsDurable,
        &["after the last job was asked for at 4.000 s"],
    );
    let again = refused(requeued, 2).told("requeued", 1);
    rejects(&again, &rules(7), DurableIsDurable, &["after the last job"]);
    let by_hand = asked(rules(7), 8, Ask::Requeue);
    accepts(&again, &by_hand, &[]);
}
