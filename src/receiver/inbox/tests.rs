use std::time::Duration;

use super::*;

const LIMITS: InboxLimits = InboxLimits {
    entries_max: 4,
    result_bytes_max: 1_000,
    settled_ranges_max: 2,
    tombstones_per_link: 3,
};

pub(super) fn id(seq: u64) -> TaskId {
    TaskId {
        seq: Seq(seq),
        origin: Origin(9),
    }
}

pub(super) fn range(first: u64, last: u64) -> IdRange {
    IdRange::new(Origin(9), Seq(first), Seq(last)).unwrap()
}

fn waiter(seq: u64, epoch: u32, send: u32) -> Waiter {
    Waiter {
        delivery: DeliveryId {
            task: id(seq),
            epoch: Epoch::new(epoch).unwrap(),
        },
        send: SendNumber::new(send).unwrap(),
        link: LinkId(u64::from(send)),
    }
}

fn inbox() -> Inbox {
    Inbox::new(LIMITS)
}

fn run(inbox: &mut Inbox, waiter: Waiter) -> RunId {
    match inbox.on_command(waiter) {
        Decision::Run(run) => run,
        other => panic!("{waiter:?}: {other:?}"),
    }
}

fn start(inbox: &mut Inbox, waiter: Waiter) -> RunId {
    let run = run(inbox, waiter);
    assert!(inbox.on_start(waiter.delivery.task, run));
    run
}

fn finish(inbox: &mut Inbox, waiter: Waiter, outcome: &ExecutionOutcome) {
    let run = start(inbox, waiter);
    inbox.on_finished(waiter.delivery.task, run, outcome);
}

fn done(result: &'static str) -> ExecutionOutcome {
    Ok(Bytes::from_static(result.as_bytes()))
}

fn rejected() -> ExecutionOutcome {
    Err(HandlerError::Rejected("no".into()))
}

fn rollback(inbox: &mut Inbox, waiter: Waiter) -> RollbackDecision {
    inbox.on_rollback(waiter.link, waiter.delivery, waiter.send)
}

fn settle(inbox: &mut Inbox, first: u64, last: u64) -> Option<Vec<Waiter>> {
    inbox.on_settled(range(first, last))
}

#[test]
fn a_done_binds_later_epochs_and_older_ones_are_stale() {
    let mut inbox = inbox();
    finish(&mut inbox, waiter(1, 2, 1), &done("r"));
    for again in [waiter(1, 2, 1), waiter(1, 2, 2), waiter(1, 7, 1)] {
        assert_eq!(inbox.on_command(again), Decision::Answer(done("r")));
    }
    let newest = Epoch::new(7).unwrap();
    assert_eq!(inbox.on_command(waiter(1, 2, 3)), Decision::Stale(newest));
}

#[test]
fn any_other_outcome_binds_its_own_epoch_only() {
    for outcome in [
        rejected(),
        Err(HandlerError::Refused("never".into())),
        Err(HandlerError::Unavailable {
            retry_after: Duration::from_millis(5),
            text: "busy".into(),
        }),
    ] {
        let mut inbox = inbox();
        finish(&mut inbox, waiter(1, 1, 1), &outcome);
        let again = inbox.on_command(waiter(1, 1, 2));
        assert_eq!(again, Decision::Answer(outcome));
        finish(&mut inbox, waiter(1, 2, 1), &done("second"));
        let again = inbox.on_command(waiter(1, 2, 2));
        assert_eq!(again, Decision::Answer(done("second")));
        assert_eq!(inbox.result_bytes(), "second".len(), "the old text is gone");
    }
}

#[test]
fn sends_and_newer_epochs_join_a_running_execution_and_are_all_answered() {
    let mut inbox = inbox();
    let run = start(&mut inbox, waiter(1, 1, 1));
    assert_eq!(inbox.on_command(waiter(1, 1, 2)), Decision::Join);
    assert_eq!(inbox.on_command(waiter(1, 3, 1)), Decision::Join);
    assert_eq!(inbox.on_command(waiter(1, 3, 1)), Decision::Join);
    let mut answered = inbox.on_finished(id(1), run, &rejected());
    answered.sort();
    assert_eq!(
        answered,
        [waiter(1, 1, 1), waiter(1, 1, 2), waiter(1, 3, 1)]
    );
    // The newest epoch that joined is bound by what it was told.
    assert_eq!(
        inbox.on_command(waiter(1, 3, 2)),
        Decision::Answer(rejected())
    );
    assert!(matches!(
        inbox.on_command(waiter(1, 4, 1)),
        Decision::Run(_)
    ));
}

#[test]
fn a_rollback_takes_back_one_waiting_send_and_leaves_a_tombstone() {
    let mut inbox = inbox();
    let first = run(&mut inbox, waiter(1, 1, 1));
    let back = rollback(&mut inbox, waiter(1, 1, 1));
    assert_eq!(back, RollbackDecision::RolledBack(vec![LinkId(1)]));
    assert!(!inbox.on_start(id(1), first), "it was taken back");
    assert_eq!(inbox.on_command(waiter(1, 1, 1)), Decision::RolledBack);
    let second = run(&mut inbox, waiter(1, 1, 2));
    assert!(!inbox.on_start(id(1), first), "the first run stays dead");
    assert!(inbox.on_start(id(1), second));
}

#[test]
fn a_rollback_before_arrival_stops_that_send_alone() {
    let mut inbox = inbox();
    assert_eq!(
        rollback(&mut inbox, waiter(1, 1, 1)),
        RollbackDecision::Unknown
    );
    assert_eq!(inbox.on_command(waiter(1, 1, 1)), Decision::RolledBack);
    assert!(matches!(
        inbox.on_command(waiter(1, 1, 2)),
        Decision::Run(_)
    ));
}

#[test]
fn a_rollback_of_one_of_two_waiting_sends_leaves_the_other() {
    for gone in [1, 2] {
        let mut inbox = inbox();
        let run = run(&mut inbox, waiter(1, 1, 1));
        inbox.on_command(waiter(1, 1, 2));
        rollback(&mut inbox, waiter(1, 1, gone));
        assert!(inbox.on_start(id(1), run));
        let left = inbox.on_finished(id(1), run, &done(""));
        assert_eq!(left, [waiter(1, 1, 3 - gone)]);
    }
}

#[test]
fn a_rollback_never_touches_what_runs_or_is_done() {
    let mut inbox = inbox();
    let run = start(&mut inbox, waiter(1, 1, 1));
    assert_eq!(
        rollback(&mut inbox, waiter(1, 1, 1)),
        RollbackDecision::InProgress
    );
    assert_eq!(inbox.on_finished(id(1), run, &done("r")).len(), 1);
    assert_eq!(
        rollback(&mut inbox, waiter(1, 1, 1)),
        RollbackDecision::AlreadyDone(Bytes::from_static(b"r"))
    );
    assert_eq!(
        inbox.on_command(waiter(1, 1, 1)),
        Decision::Answer(done("r"))
    );
}

#[test]
fn a_send_rolled_back_while_an_older_epoch_runs_does_not_run_after_it() {
    let mut inbox = inbox();
    let run = start(&mut inbox, waiter(1, 1, 1));
    assert_eq!(
        rollback(&mut inbox, waiter(1, 2, 1)),
        RollbackDecision::InProgress
    );
    inbox.on_finished(id(1), run, &rejected());
    assert_eq!(inbox.on_command(waiter(1, 2, 1)), Decision::RolledBack);
    assert!(matches!(
        inbox.on_command(waiter(1, 2, 2)),
        Decision::Run(_)
    ));
}

#[test]
fn a_rollback_of_an_old_epoch_leaves_the_newer_one_alone() {
    let mut inbox = inbox();
    let run = run(&mut inbox, waiter(1, 2, 1));
    assert_eq!(
        rollback(&mut inbox, waiter(1, 1, 1)),
        RollbackDecision::Unknown
    );
    assert!(inbox.on_start(id(1), run));
}

#[test]
fn a_settled_task_never_runs_again() {
    let mut inbox = inbox();
    finish(&mut inbox, waiter(2, 1, 1), &done("r"));
    assert_eq!(settle(&mut inbox, 0, 5), Some(vec![]));
    assert!(inbox.is_empty());
    assert_eq!(inbox.result_bytes(), 0);
    for seq in 0..=5 {
        assert_eq!(inbox.on_command(waiter(seq, 9, 1)), Decision::Settled);
    }
    assert!(matches!(
        inbox.on_command(waiter(6, 1, 1)),
        Decision::Run(_)
    ));
}

#[test]
fn what_waits_when_its_task_is_settled_is_answered_and_never_starts() {
    let mut inbox = inbox();
    let queued = run(&mut inbox, waiter(1, 1, 1));
    let running = start(&mut inbox, waiter(2, 1, 1));
    assert_eq!(settle(&mut inbox, 1, 2), Some(vec![waiter(1, 1, 1)]));
    assert!(!inbox.on_start(id(1), queued));
    let answered = inbox.on_finished(id(2), running, &done("r"));
    assert_eq!(answered, [waiter(2, 1, 1)]);
    assert!(inbox.is_empty());
    assert_eq!(inbox.result_bytes(), 0);
}

#[test]
fn a_settlement_it_has_no_room_for_forgets_nothing() {
    let mut inbox = inbox();
    for seq in [0, 10, 20] {
        finish(&mut inbox, waiter(seq, 1, 1), &done("r"));
    }
    assert!(settle(&mut inbox, 0, 0).is_some());
    assert!(settle(&mut inbox, 10, 10).is_some());
    assert!(settle(&mut inbox, 20, 20).is_none());
    assert_eq!(
        inbox.on_command(waiter(20, 2, 1)),
        Decision::Answer(done("r"))
    );
}

#[test]
fn a_full_inbox_takes_nothing_new_and_keeps_what_it_has() {
    let mut inbox = inbox();
    for seq in 0..4 {
        finish(&mut inbox, waiter(seq, 1, 1), &done("r"));
    }
    let refused = inbox.on_command(waiter(4, 1, 1));
    assert_eq!(refused, Decision::Full(Full::Entries));
    for seq in 0..4 {
        let again = inbox.on_command(waiter(seq, 2, 1));
        assert_eq!(again, Decision::Answer(done("r")));
    }
    // Tombstones have a reserve, and no promise is made beyond it.
    for seq in 10..12 {
        let told = rollback(&mut inbox, waiter(seq, 1, 1));
        assert_eq!(told, RollbackDecision::Unknown);
    }
    assert_eq!(
        rollback(&mut inbox, waiter(12, 1, 1)),
        RollbackDecision::Full
    );
    settle(&mut inbox, 0, 3);
    assert!(matches!(
        inbox.on_command(waiter(4, 1, 1)),
        Decision::Run(_)
    ));
}

/// Of a task that it knows a full inbox remembers the newest epoch; of another one nothing.
#[test]
fn what_finds_no_room_raises_the_epoch_of_a_known_task_alone() {
    let mut inbox = inbox();
    finish(&mut inbox, waiter(1, 1, 1), &rejected());
    inbox.drain();
    let refused = Decision::Full(Full::Draining);
    assert_eq!(inbox.on_command(waiter(1, 3, 1)), refused);
    let newest = Epoch::new(3).unwrap();
    assert_eq!(inbox.on_command(waiter(1, 2, 1)), Decision::Stale(newest));
    assert_eq!(inbox.on_command(waiter(2, 3, 1)), refused);
    assert_eq!(inbox.on_command(waiter(2, 2, 1)), refused, "not stale");
    assert_eq!(inbox.len(), 1);
}

#[test]
fn results_count_by_their_bytes() {
    let mut inbox = inbox();
    let large: ExecutionOutcome = Ok(vec![0; 1_000].into());
    finish(&mut inbox, waiter(1, 1, 1), &large);
    let refused = inbox.on_command(waiter(2, 1, 1));
    assert_eq!(refused, Decision::Full(Full::ResultBytes));
    settle(&mut inbox, 1, 1);
    assert!(matches!(
        inbox.on_command(waiter(2, 1, 1)),
        Decision::Run(_)
    ));
}

#[test]
fn a_draining_inbox_answers_and_joins_but_runs_nothing_new() {
    let mut inbox = inbox();
    finish(&mut inbox, waiter(1, 1, 1), &done("r"));
    finish(&mut inbox, waiter(2, 1, 1), &rejected());
    let run = start(&mut inbox, waiter(3, 1, 1));
    inbox.drain();
    let refused = Decision::Full(Full::Draining);
    assert_eq!(
        inbox.on_command(waiter(1, 2, 1)),
        Decision::Answer(done("r"))
    );
    assert_eq!(inbox.on_command(waiter(2, 2, 1)), refused);
    assert_eq!(inbox.on_command(waiter(3, 2, 1)), Decision::Join);
    assert_eq!(inbox.on_command(waiter(4, 1, 1)), refused);
    assert_eq!(inbox.on_finished(id(3), run, &done("")).len(), 2);
}

#[test]
fn a_task_in_doubt_after_a_crash_is_refused_once_and_then_runs() {
    let mut inbox = inbox();
    inbox.remember(id(1), Epoch::FIRST, Remembered::InDoubt);
    let refusal = Decision::Answer(Err(HandlerError::Refused(IN_DOUBT_TEXT.into())));
    // A rollback answers nobody: the person has not been asked yet.
    let told = rollback(&mut inbox, waiter(1, 1, 1));
    assert_eq!(told, RollbackDecision::Unknown);
    assert_eq!(inbox.on_command(waiter(1, 2, 1)), refusal);
    assert_eq!(inbox.on_command(waiter(1, 2, 2)), refusal, "its epoch");
    assert!(matches!(
        inbox.on_command(waiter(1, 3, 1)),
        Decision::Run(_)
    ));
}

#[test]
fn a_rebuilt_inbox_knows_what_was_done() {
    let mut inbox = inbox();
    let mut before = IdRanges::default();
    before.insert(range(10, 19), usize::MAX);
    inbox.remember_done_before(before);
    inbox.remember(
        id(1),
        Epoch::FIRST,
        Remembered::Done(Bytes::from_static(b"r")),
    );
    inbox.remember(
        id(2),
        Epoch::FIRST,
        Remembered::Answered(HandlerError::Rejected("no".into())),
    );
    inbox.remember(id(3), Epoch::new(2).unwrap(), Remembered::NotDone);
    assert_eq!(
        inbox.on_command(waiter(1, 2, 1)),
        Decision::Answer(done("r"))
    );
    assert_eq!(
        inbox.on_command(waiter(2, 1, 2)),
        Decision::Answer(rejected())
    );
    let newest = Epoch::new(2).unwrap();
    assert_eq!(inbox.on_command(waiter(3, 1, 1)), Decision::Stale(newest));
    assert_eq!(
        inbox.on_command(waiter(15, 1, 1)),
        Decision::Answer(done(""))
    );
    assert_eq!(
        rollback(&mut inbox, waiter(15, 1, 1)),
        RollbackDecision::AlreadyDone(Bytes::new())
    );
    settle(&mut inbox, 15, 15);
    assert_eq!(inbox.on_command(waiter(15, 1, 1)), Decision::Settled);
    assert_eq!(
        inbox.on_command(waiter(16, 1, 1)),
        Decision::Answer(done(""))
    );
}

fn rollback_over(inbox: &mut Inbox, link: u64, seq: u64, epoch: u32) -> RollbackDecision {
    let waiter = waiter(seq, epoch, 1);
    inbox.on_rollback(LinkId(link), waiter.delivery, waiter.send)
}

fn roomy() -> Inbox {
    Inbox::new(InboxLimits {
        entries_max: 100,
        ..LIMITS
    })
}

/// 1.3 million rollbacks filled an inbox for good.
#[test]
fn tombstones_neither_outlive_their_link_nor_take_the_room_of_commands() {
    let mut inbox = inbox();
    for round in 0..1_000 {
        for seq in 0..2 {
            let told = rollback_over(&mut inbox, round, seq, 1);
            assert_eq!(told, RollbackDecision::Unknown);
        }
        assert_eq!(inbox.on_command(waiter(0, 1, 1)), Decision::RolledBack);
        inbox.on_link_gone(LinkId(round));
        assert!(inbox.is_empty() && inbox.tombstones() == 0);
    }
    for seq in 0..2 {
        rollback_over(&mut inbox, 7, seq, 1);
    }
    for seq in 10..14 {
        run(&mut inbox, waiter(seq, 1, 1));
    }
    assert_eq!(
        inbox.on_command(waiter(14, 1, 1)),
        Decision::Full(Full::Entries)
    );
    let newer = inbox.on_command(waiter(0, 2, 1));
    assert_eq!(newer, Decision::Full(Full::Entries), "it would be one more");
    assert_eq!(inbox.on_command(waiter(0, 1, 1)), Decision::RolledBack);
}

#[test]
fn a_link_leaves_no_more_tombstones_than_it_may_and_none_is_evicted() {
    let mut inbox = roomy();
    for seq in 0..3 {
        rollback_over(&mut inbox, 1, seq, 1);
    }
    assert_eq!(
        rollback_over(&mut inbox, 1, 3, 1),
        RollbackDecision::TooMany
    );
    assert_eq!(
        rollback_over(&mut inbox, 2, 3, 1),
        RollbackDecision::Unknown
    );
    for seq in 0..4 {
        assert_eq!(inbox.on_command(waiter(seq, 1, 1)), Decision::RolledBack);
    }
    // A newer epoch, or a settlement, makes room.
    run(&mut inbox, waiter(0, 2, 1));
    settle(&mut inbox, 1, 1);
    for seq in 4..6 {
        assert_eq!(
            rollback_over(&mut inbox, 1, seq, 1),
            RollbackDecision::Unknown
        );
    }
    assert_eq!(inbox.tombstones(), 4);
}

#[test]
fn a_tombstone_lives_as_long_as_any_link_that_left_it() {
    let mut inbox = roomy();
    rollback_over(&mut inbox, 1, 5, 1);
    rollback_over(&mut inbox, 2, 5, 2);
    inbox.on_link_gone(LinkId(2));
    let newest = Epoch::new(2).unwrap();
    assert_eq!(
        inbox.on_command(waiter(5, 1, 1)),
        Decision::Stale(newest),
        "link 1 may still bring it"
    );
    rollback_over(&mut inbox, 3, 6, 2);
    rollback_over(&mut inbox, 4, 6, 1);
    inbox.on_link_gone(LinkId(3));
    assert_eq!(
        inbox.on_command(waiter(6, 1, 1)),
        Decision::Stale(newest),
        "link 4 may still bring it"
    );
    inbox.on_link_gone(LinkId(4));
    run(&mut inbox, waiter(6, 1, 1));
    inbox.on_link_gone(LinkId(1));
    run(&mut inbox, waiter(5, 1, 1));
}
