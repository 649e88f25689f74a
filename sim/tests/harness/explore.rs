//! Many seeds: the table, the formats for machines, determinism.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{SOME, root, scenarios, sim};

#[test]
fn every_scenario_holds_for_a_few_seeds() {
    let said = sim(&[
        "explore",
        "--seeds",
        "2",
        "--no-shrink",
        "--seed-from",
        "17",
    ]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    for scenario in scenarios() {
        assert!(
            said.out.contains(&scenario),
            "{scenario} is missing: {}",
            said.out
        );
    }
    let total = format!("{} seeds in ", 2 * scenarios().len());
    assert!(said.out.contains(&total), "{}", said.out);
}

#[test]
fn machines_are_told_of_every_seed() {
    let said = sim(&[
        "explore",
        SOME,
        "--seeds",
        "3",
        "--format",
        "jsonl",
        "--seed-from",
        "e03a3409",
    ]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let lines: Vec<serde_json::Value> = said
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let seeds: Vec<_> = lines
        .iter()
        .filter_map(|line| line["seed"].as_str())
        .collect();
    assert_eq!(seeds, ["3761910793", "3761910794", "3761910795"]);
    assert_eq!(lines.last().unwrap()["seeds"], 3);
    let said = sim(&["explore", SOME, "--seeds", "2", "--format", "junit"]);
    assert_eq!(said.out.matches("<testcase").count(), 2, "{}", said.out);
}

/// Its commands are turned down again and again, and have no time to get into poison.
const HASTY: &str = r#"
summary = "no time to finish"
speed = "core"
duration = "2s"

[liveness]
budget = "1s"

[workload]
commands = 20

[[workload.behaviour]]
steps = ["reject 1ms"]
"#;

#[test]
fn an_exploration_ends_with_the_turn_in_which_something_failed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (scenario, failures) = (path("hasty.toml"), path("failures"));
    std::fs::write(&scenario, HASTY).unwrap();
    let args = ["explore", &scenario, "--seeds", "40", "--no-shrink"];
    let args = [&args[..], &["--failures", &failures]].concat();
    let said = sim(&args);
    assert_eq!(said.code, Some(3), "{}{}", said.out, said.err);
    assert!(said.out.contains("\n8 seeds in "), "{}", said.out);
    assert!(
        said.out.contains("ended at the first failures"),
        "{}",
        said.out
    );
    // Each was told when it was found, with a plan that is there.
    let told: Vec<_> = said
        .err
        .lines()
        .filter_map(|line| line.trim().strip_prefix("cargo sim replay "))
        .collect();
    assert!(!told.is_empty(), "{}", said.err);
    for plan in told {
        assert!(std::path::Path::new(plan).is_file(), "{plan}");
    }
    let all = sim(&[&args[..], &["--no-fail-fast"]].concat());
    assert_eq!(all.code, Some(3), "{}{}", all.out, all.err);
    assert!(all.out.contains("\n40 seeds in "), "{}", all.out);
    assert!(!all.out.contains("ended at"), "{}", all.out);
}

#[test]
fn two_processes_do_the_same_and_two_seeds_do_not() {
    let said = sim(&["meta", SOME, "--seeds", "2"]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert!(said.out.contains("the same"), "{}", said.out);
}

/// When so many seeds have begun, the first one has been counted.
#[cfg(target_os = "linux")]
const BEGUN: usize = 8;

/// Far longer than the system takes to end a process.
#[cfg(target_os = "linux")]
const PATIENCE: Duration = Duration::from_secs(60);

/// The processes of this one's making that run now.
#[cfg(target_os = "linux")]
fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("it lists processes");
    let ours = processes.filter_map(|entry| {
        let stat = std::fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
        let (pid, rest) = stat.split_once(' ')?;
        // After the name, which may hold anything: the state, and the parent.
        let (_, rest) = rest.rsplit_once(") ")?;
        let of: u32 = rest.split(' ').nth(1)?.parse().ok()?;
        (of == parent).then(|| pid.parse().ok())?
    });
    ours.collect()
}

/// An exploration of a million seeds, one at a time, of which some have run.
#[cfg(target_os = "linux")]
fn under_way(begun: &mut BTreeSet<u32>) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasebridge-sim"));
    command.args(["explore", "happy_path", "--seeds", "1000000", "--jobs", "1"]);
    command.current_dir(root()).stdout(Stdio::piped());
    let mut exploring = command.stderr(Stdio::piped()).spawn().unwrap();
    // Each seed has a process of its own, and few are begun before the first one is counted.
    while begun.len() < BEGUN {
        begun.extend(children(exploring.id()));
        assert!(
            exploring.try_wait().unwrap().is_none(),
            "it ended by itself"
        );
        std::thread::yield_now();
    }
    exploring
}

#[cfg(target_os = "linux")]
fn kill(signal: &str, process: u32) {
    let mut kill = Command::new("kill");
    kill.args([signal, &process.to_string()])
        .stderr(Stdio::null());
    // A process that has ended meanwhile can't be told.
    kill.status().expect("there is a `kill`");
}

#[test]
#[cfg(target_os = "linux")]
fn an_exploration_that_is_ended_shows_what_ran_so_far() {
    for (signal, word, code) in [("-INT", "interrupted", 130), ("-TERM", "terminated", 143)] {
        let exploring = under_way(&mut BTreeSet::new());
        kill(signal, exploring.id());
        let ended = exploring.wait_with_output().unwrap();
        let out = String::from_utf8(ended.stdout).unwrap();
        let wanted = format!("{word}: this is what ran so far");
        assert!(out.contains(&wanted), "{out}");
        assert!(out.contains("happy_path"), "{out}");
        assert_eq!(ended.status.code(), Some(code), "{out}");
    }
}

/// The processor time that a process has used, in hundredths of a second.
#[cfg(target_os = "linux")]
fn ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(11)?.parse().ok()
}

/// A seed of it keeps a process busy for long.
#[cfg(target_os = "linux")]
const LONG: &str = r#"
summary = "a day in which little happens"
duration = "24h"

[workload]
commands = 1

[[workload.behaviour]]
steps = ["done 1ms"]
"#;

#[test]
#[cfg(target_os = "linux")]
fn no_child_outlives_an_exploration_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("long.toml");
    std::fs::write(&scenario, LONG).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasebridge-sim"));
    command.arg("explore").arg(&scenario).current_dir(root());
    let mut exploring = command.stdout(Stdio::null()).spawn().unwrap();
    let child = loop {
        // Once it has used some time, it has got its plan and is at it.
        let busy = |child: &&u32| ticks(**child).is_some_and(|ticks| ticks >= 30);
        if let Some(&child) = children(exploring.id()).iter().find(busy) {
            break child;
        }
        assert!(
            exploring.try_wait().unwrap().is_none(),
            "it ended by itself"
        );
        std::thread::yield_now();
    };
    kill("-KILL", exploring.id());
    exploring.wait().unwrap();
    let ours = std::path::PathBuf::from(format!("/proc/{child}/cmdline"));
    let lives = || std::fs::read_to_string(&ours).is_ok_and(|line| line.contains("__child"));
    let give_up = Instant::now() + PATIENCE;
    while lives() {
        assert!(Instant::now() < give_up, "{child} is still there");
        std::thread::yield_now();
    }
}

#[test]
fn an_exploration_for_a_time_gives_each_scenario_its_turn() {
    let said = sim(&["explore", SOME, "happy_path", "--for", "1s", "--no-shrink"]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    for scenario in [SOME, "happy_path"] {
        assert!(said.out.contains(&format!("\n{scenario} ")), "{}", said.out);
    }
    assert!(
        said.out.contains("% of it in the full stack"),
        "{}",
        said.out
    );
}
