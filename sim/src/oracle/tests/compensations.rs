use super::builder::*;
use crate::history::What;
use crate::oracle::Invariant::Compensations;

impl Story {
    fn registered(self, number: u32) -> Self {
        let what = What::Registered {
            task: task(1),
            epoch: 1,
            number,
        };
        self.record(BRIDGE, what)
    }

    fn compensated(self, number: u32) -> Self {
        let what = What::Compensated {
            task: task(1),
            epoch: 1,
            number,
        };
        self.record(BRIDGE, what)
    }

    fn attempted(self, success: bool) -> Self {
        let what = What::Attempted {
            task: task(1),
            epoch: 1,
            success,
        };
        self.record(BRIDGE, what)
    }
}

fn two() -> Story {
    story()
        .enqueued(1)
        .granted(1, 1)
        .registered(1)
        .registered(2)
}

#[test]
fn after_a_failure_each_ran_once_last_first() {
    accepts(
        &two().compensated(2).compensated(1).attempted(false),
        &rules(),
        &[Compensations],
    );
    let reversed = two().compensated(1).compensated(2).attempted(false);
    rejects(
        &reversed,
        &rules(),
        Compensations,
        &["failed at 11.000 s", "[2, 1] and ran as [1, 2]"],
    );
    let forgotten = two().compensated(2).attempted(false);
    rejects(
        &forgotten,
        &rules(),
        Compensations,
        &["failed at 10.000 s", "ran as [2]"],
    );
    let twice = two().compensated(2).compensated(2);
    rejects(
        &twice,
        &rules(),
        Compensations,
        &["compensation 2", "10.000 s a second time"],
    );
    let unknown = two().compensated(3);
    rejects(
        &unknown,
        &rules(),
        Compensations,
        &["nobody had registered it"],
    );
}

#[test]
fn after_a_success_none_did() {
    accepts(&two().attempted(true), &rules(), &[Compensations]);
    rejects(
        &two().compensated(2).attempted(true),
        &rules(),
        Compensations,
        &["succeeded at 10.000 s", "[2] had run"],
    );
    rejects(
        &two().attempted(true).compensated(2),
        &rules(),
        Compensations,
        &["after its attempt had ended at 9.000 s"],
    );
}

#[test]
fn a_process_that_dies_takes_its_attempts_with_it() {
    accepts(
        &two().compensated(2).restarted(ready(1)).after(100).due(1),
        &rules(),
        &[Compensations],
    );
}

#[test]
fn an_attempt_that_nobody_ends_is_rejected() {
    let open = two().ended("rejected", 1, 1, ended("delayed").charged());
    accepts(&open.clone().after(10).due(1), &rules(), &[]);
    rejects(
        &open.after(100).due(1),
        &rules(),
        Compensations,
        &["ended at 9.000 s, but its attempt never did"],
    );
}

#[test]
fn a_send_that_was_rolled_back_before_it_came_does_not_run() {
    let told = |send| What::RolledBack {
        task: task(1),
        epoch: 1,
        send,
    };
    let leased = story().enqueued(1).granted(1, 1);
    let late = leased.clone().record(ENDPOINT, told(1)).executing(1, 1);
    rejects(
        &late,
        &rules(),
        Compensations,
        &["send 1 was rolled back at 7.000 s", "executed at 8.000 s"],
    );
    let next = leased.clone().record(ENDPOINT, told(2)).executing(1, 1);
    accepts(&next, &rules(), &[Compensations]);
    let anew = leased.record(ENDPOINT, told(1)).died(ENDPOINT);
    accepts(
        &anew.up("inbox-2").executing(1, 1),
        &rules(),
        &[Compensations],
    );
}
