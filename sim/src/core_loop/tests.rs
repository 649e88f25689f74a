//! Plans made by hand, and what must be in their histories.

mod plans;

use std::collections::{BTreeMap, BTreeSet};

use super::run;
use crate::history::{Record, TaskName, What};
use crate::plan::{DiskFault, FaultKind, Micros, Plan, Step};
use crate::ran::Ran;
use plans::{BRIDGE, crash, disk, fault, plan, power_cut};

/// Runs of ten faults each.
const SWARMS: u64 = 400;

/// Runs a plan that must end well: no panic, nothing pending, everything accepted is done or in poison.
fn ran(plan: &Plan) -> Ran {
    let ran = run(plan);
    assert_eq!(ran.panic, None);
    let pending: Vec<_> = ran.records.iter().filter_map(pending).collect();
    assert_eq!(pending, [&[] as &[String]], "{}", text(&ran));
    let ends = ends(&ran);
    for record in &ran.records {
        if let What::Accepted { task, op, .. } = &record.what {
            let end = ends.get(task).map(String::as_str);
            assert!(
                matches!(end, Some("gone" | "done" | "poison")),
                "{op} is {end:?}\n{}",
                text(&ran)
            );
        }
    }
    ran
}

fn pending(record: &Record) -> Option<&[String]> {
    match &record.what {
        What::Pending { reasons } => Some(reasons),
        _ => None,
    }
}

/// Where each task that producers were told of was found.
fn ends(ran: &Ran) -> BTreeMap<TaskName, String> {
    let found = ran.records.iter().filter_map(|record| match &record.what {
        What::Found { task, state, .. } => Some((*task, state.clone())),
        _ => None,
    });
    found.collect()
}

fn text(ran: &Ran) -> String {
    let lines = ran.records.iter().map(|record| {
        let Record { at, host, what } = record;
        format!("{:>12} {host} {what:?}", Micros(*at).to_string())
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn count(ran: &Ran, is: impl Fn(&What) -> bool) -> usize {
    ran.records.iter().filter(|record| is(&record.what)).count()
}

fn accepted(ran: &Ran) -> BTreeSet<TaskName> {
    let accepted = ran.records.iter().filter_map(|record| match &record.what {
        What::Accepted { task, .. } => Some(*task),
        _ => None,
    });
    accepted.collect()
}

/// How often the effect of each task was done.
fn effects(ran: &Ran) -> BTreeMap<TaskName, u32> {
    let mut effects = BTreeMap::new();
    for record in &ran.records {
        if let What::Executed { task, result, .. } = &record.what
            && result == "done"
        {
            *effects.entry(*task).or_default() += 1;
        }
    }
    effects
}

#[test]
fn without_faults_every_command_is_accepted_executed_once_and_done() {
    let ran = ran(&plan(40));
    assert_eq!(accepted(&ran).len(), 40);
    let effects = effects(&ran);
    assert_eq!(effects.len(), 40);
    assert!(effects.values().all(|times| *times == 1), "{effects:?}");
    let done = |what: &What| matches!(what, What::Fed { kind, .. } if kind == "done");
    assert_eq!(count(&ran, done), 40);
    assert!(count(&ran, |what| matches!(what, What::Registered { .. })) >= 40);
    // It ends as soon as nothing is left to do, long before its time is over.
    assert!(ran.simulated < Micros::from_secs(60), "{}", ran.simulated);
}

#[test]
fn counts_listings_and_the_feed_agree_at_every_look() {
    let ran = ran(&plan(40));
    let mut looks = 0;
    for record in &ran.records {
        if let What::Counted { counts, listed } = &record.what {
            let sum = counts.ready + counts.delayed + counts.leased + counts.poison;
            assert_eq!(*listed, Some(sum));
            looks += 1;
        }
    }
    assert!(looks > 2, "{looks}");
}

#[test]
fn a_crash_in_the_middle_of_a_sync_loses_nothing_that_was_accepted() {
    let mut plan = plan(60);
    plan.faults = vec![
        fault(1, 1_000, 2_000, crash(true)),
        fault(2, 5_000, 500, crash(true)),
    ];
    let ran = ran(&plan);
    assert_eq!(
        count(
            &ran,
            |what| matches!(what, What::Died { how } if how == "crash")
        ),
        2
    );
    assert_eq!(count(&ran, |what| matches!(what, What::Opened { .. })), 3);
    assert!(ran.struck.values().sum::<u64>() >= 1, "{:?}", ran.struck);
    let effects = effects(&ran);
    assert!(effects.values().all(|times| *times == 1), "{effects:?}");
}

#[test]
fn a_power_cut_tears_what_was_not_synced_and_nothing_else() {
    let mut plan = plan(60);
    let cuts = [800, 2_500, 4_000, 6_000, 8_000];
    let cuts = (1..).zip(cuts);
    plan.faults = cuts
        .map(|(id, at)| fault(id, at, 700, power_cut()))
        .collect();
    let ran = ran(&plan);
    assert_eq!(count(&ran, |what| matches!(what, What::Opened { .. })), 6);
    assert_eq!(
        count(&ran, |what| matches!(what, What::OpenRefused { .. })),
        0
    );
}

#[test]
fn a_failed_sync_ends_the_process_and_the_next_recovers() {
    let mut plan = plan(40);
    plan.faults = vec![fault(1, 1_000, 1_000, disk(DiskFault::SyncError, 1, 1))];
    let ran = ran(&plan);
    assert_eq!(
        count(&ran, |what| matches!(what, What::JournalFailed { .. })),
        1
    );
    assert_eq!(
        count(
            &ran,
            |what| matches!(what, What::Died { how } if how == "exit")
        ),
        1
    );
    assert_eq!(count(&ran, |what| matches!(what, What::Opened { .. })), 2);
    assert_eq!(ran.struck.len(), 1);
}

#[test]
fn a_full_disk_refuses_commands_and_what_is_there_still_drains() {
    let mut plan = plan(120);
    plan.knobs.segment_bytes = 20 << 10;
    plan.knobs.log_bytes_max = 16 * (20 << 10);
    plans::pad(&mut plan, 1_000);
    plan.faults = vec![fault(
        1,
        0,
        20_000,
        disk(DiskFault::NoSpace { percent: 40 }, 1, 0),
    )];
    let ran = ran(&plan);
    let full = |what: &What| matches!(what, What::Declined { why, .. } if why == "no_room");
    assert!(count(&ran, full) > 0, "{}", text(&ran));
    assert_eq!(accepted(&ran).len(), 120);
}

#[test]
fn slow_syncs_and_a_jumping_wall_clock_change_when_and_not_what() {
    let mut plan = plan(40);
    let slow = DiskFault::SlowSync {
        min: Micros::from_millis(50),
        max: Micros::from_millis(400),
    };
    let jump = |ms| FaultKind::Jump {
        host: BRIDGE.into(),
        ms,
    };
    plan.faults = vec![
        fault(1, 500, 4_000, disk(slow, 2, 0)),
        fault(2, 1_000, 0, jump(3_600_000)),
        fault(3, 3_000, 0, jump(-7_200_000)),
    ];
    let ran = ran(&plan);
    assert_eq!(effects(&ran).len(), 40);
    assert!(ran.struck.len() == 3, "{:?}", ran.struck);
}

#[test]
fn a_command_that_kills_its_bridge_is_convicted_and_its_neighbours_are_not() {
    let mut plan = plan(20);
    plan.knobs.max_in_doubt = 3;
    let pill = plans::behave(&mut plan, 7, &[Step::KillBridge]);
    let ran = ran(&plan);
    let mut poison = BTreeSet::new();
    for record in &ran.records {
        if let What::Found { task, state, .. } = &record.what
            && state == "poison"
        {
            poison.insert(*task);
        }
    }
    let convicted = ran.records.iter().find_map(|record| match &record.what {
        What::Accepted { op, task, .. } if *op == pill => Some(*task),
        _ => None,
    });
    assert_eq!(poison, convicted.into_iter().collect(), "{}", text(&ran));
    assert!(
        count(
            &ran,
            |what| matches!(what, What::Died { how } if how == "pill")
        ) >= 3
    );
}

#[test]
fn a_plan_gives_the_same_records_alone_and_after_others() {
    let mut plans: Vec<Plan> = (0..4).map(|seed| plans::swarm(seed, 60)).collect();
    plans[2].faults.push(fault(90, 2_000, 300, crash(true)));
    let alone = run(&plans[3]);
    for plan in &plans[..3] {
        drop(run(plan));
    }
    let after = run(&plans[3]);
    assert_eq!(alone.panic, None);
    let (alone, after) = (text(&alone), text(&after));
    let differing = alone.lines().zip(after.lines()).find(|(a, b)| a != b);
    assert_eq!(differing, None);
    assert_eq!(alone.len(), after.len());
    assert_ne!(text(&run(&plans[0])), text(&run(&plans[1])));
}

#[test]
fn whatever_happens_nothing_is_lost_or_executed_twice() {
    let mut struck = 0;
    for seed in 0..SWARMS {
        let plan = plans::swarm(seed, 60);
        let ran = ran(&plan);
        struck += ran.struck.len();
        let effects = effects(&ran);
        let twice = effects.iter().find(|(_, times)| **times > 1);
        assert_eq!(twice, None, "seed {seed}\n{}", text(&ran));
    }
    // Of ten faults in each run most meet something.
    assert!(struck > SWARMS as usize * 4, "{struck}");
}

#[test]
fn a_panic_ends_the_run_and_is_handed_over() {
    let mut plan = plan(3);
    // A plan that contradicts itself stops the model.
    plan.topology.routes[0].endpoint = "nowhere".into();
    let ran = run(&plan);
    let panic = ran.panic.unwrap_or_default();
    assert!(
        panic.contains("every route of a plan has an endpoint"),
        "{panic}"
    );
}
