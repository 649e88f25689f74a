//! Endpoints that die, with each kind of inbox.

use leasebridge_sim::history::What;
use leasebridge_sim::plan::{FaultKind, Inbox, Micros, Plan, Step};

use crate::support::{
    ENDPOINT, count, done_at_most_once, enqueue, fault, plan, run, run_once_each, story,
};

/// The endpoint crashes, or loses power, while it works on slow commands.
fn dying_endpoint(seed: u64, inbox: Inbox, power: bool) -> Plan {
    let mut plan = plan(seed, 150, Micros::from_secs(20));
    plan.topology.endpoints[0].inbox = inbox;
    for (number, op) in (0..).zip(&mut plan.ops) {
        op.kind = enqueue(Some(number), vec![Step::Done(Micros::from_millis(150))]);
    }
    let (host, in_flight) = (ENDPOINT.into(), true);
    let kind = match power {
        true => FaultKind::PowerCut { host, in_flight },
        false => FaultKind::Crash { host, in_flight },
    };
    plan.faults = vec![fault(1, Micros::from_secs(6), Micros::from_secs(2), kind)];
    plan
}

#[test]
fn an_inbox_on_disk_executes_once_whatever_becomes_of_the_endpoint() {
    for inbox in [Inbox::File, Inbox::Effect] {
        for (seed, power) in [(1, false), (2, true), (3, true)] {
            let ran = run_once_each(&dying_endpoint(seed, inbox, power));
            let mut inboxes: Vec<&str> = ran
                .records
                .iter()
                .filter_map(|record| match &record.what {
                    What::Up { inbox, .. } => Some(inbox.as_str()),
                    _ => None,
                })
                .collect();
            assert_eq!(inboxes.len(), 2, "{}", story(&ran));
            inboxes.dedup();
            assert_eq!(inboxes.len(), 1, "its memory survived: {}", story(&ran));
        }
    }
}

#[test]
fn an_inbox_in_memory_loses_no_command_and_says_that_it_is_another() {
    let ran = run(&dying_endpoint(1, Inbox::Memory, false));
    let ups = |what: &What| matches!(what, What::Up { .. });
    assert_eq!(count(&ran, ups), 2);
    let found = |what: &What| matches!(what, What::Found { state, .. } if state == "done");
    assert_eq!(count(&ran, found), 150, "{}", story(&ran));
}

#[test]
fn a_command_that_kills_its_endpoint_is_convicted_and_its_neighbours_are_not() {
    for inbox in [Inbox::File, Inbox::Effect] {
        let mut plan = plan(1, 40, Micros::from_secs(10));
        plan.topology.endpoints[0].inbox = inbox;
        plan.knobs.max_in_doubt = 2;
        plan.ops[10].kind = enqueue(Some(10), vec![Step::KillEndpoint]);
        plan.liveness.budget = Micros::from_secs(600);
        let ran = run(&plan);
        let poisoned: Vec<_> = ran
            .records
            .iter()
            .filter_map(|record| match &record.what {
                What::Found { state, cause, .. } if state == "poison" => Some(cause.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(
            poisoned,
            [Some("in doubt spent".to_owned())],
            "{}",
            story(&ran)
        );
        assert!(
            count(
                &ran,
                |what| matches!(what, What::Died { how } if how == "pill")
            ) >= 3
        );
        done_at_most_once(&ran);
    }
}
