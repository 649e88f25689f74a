//! Single runs: the same bytes every time, and an end with a reason whatever a plan does.

use std::path::Path;

use leasebridge_sim::plan::{HostName, Micros, Plan};

use crate::{SOME, scenarios, sim};

/// Runs a seed and keeps everything that can be written.
fn written(folder: &Path, seed: &str) -> (String, Vec<Vec<u8>>) {
    let files =
        ["plan.toml", "history.jsonl", "page.html", "trace.json"].map(|name| folder.join(name));
    let [plan, history, page, trace] = files.each_ref().map(|file| file.to_str().unwrap());
    let said = sim(&[
        "run",
        SOME,
        seed,
        "--plan-out",
        plan,
        "--history-out",
        history,
        "--timeline",
        page,
        "--trace",
        trace,
    ]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    (
        said.out,
        files.map(|file| std::fs::read(file).unwrap()).into(),
    )
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_one_others() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let first = written(folders[0].path(), "42");
    assert!(
        first == written(folders[1].path(), "42"),
        "two runs of one seed differ"
    );
    let other = written(folders[2].path(), "43");
    assert!(
        first
            .1
            .iter()
            .zip(&other.1)
            .all(|(one, other)| one != other)
    );
    // A saved plan runs as the seed it was drawn from, up to the command that shows it again.
    let plan = folders[0].path().join("plan.toml");
    let again = sim(&["replay", plan.to_str().unwrap()]);
    assert_eq!(again.out, first.0);
    // What was written is a history, judged by the same oracle.
    let history = folders[0].path().join("history.jsonl");
    let judged = sim(&["check", history.to_str().unwrap()]);
    assert_eq!(judged.code, Some(0), "{}", judged.out);
}

#[test]
fn every_scenario_is_told_as_it_was() {
    for scenario in scenarios() {
        let said = sim(&["run", &scenario, "1", "--short"]);
        assert_eq!(said.err, "", "{scenario}");
        insta::assert_snapshot!(format!("seed_1_of_{scenario}"), said.out);
    }
}

/// The plan of a seed, changed.
fn changed(folder: &Path, change: impl FnOnce(&mut Plan)) -> String {
    let file = folder.join("plan.toml").to_str().unwrap().to_owned();
    assert_eq!(
        sim(&["run", SOME, "1", "--short", "--plan-out", &file]).code,
        Some(0)
    );
    let mut plan = Plan::parse(&std::fs::read_to_string(&file).unwrap()).unwrap();
    change(&mut plan);
    std::fs::write(&file, plan.to_toml()).unwrap();
    file
}

#[test]
fn a_seed_that_does_not_end_is_ended_and_reported_with_its_last_events() {
    let folder = tempfile::tempdir().unwrap();
    let file = changed(folder.path(), |plan| {
        // Nothing hangs, but nobody wants to wait for a hundred years of simulated time until the last operation.
        plan.duration = Micros::from_secs(100 * 366 * 24 * 3_600);
        plan.ops.last_mut().unwrap().at = plan.duration;
    });
    let said = sim(&["replay", &file, "--budget", "1"]);
    assert_eq!(said.code, Some(3), "{}{}", said.out, said.err);
    assert!(said.out.contains("did not end within 1 s"), "{}", said.out);
    assert!(
        said.out.contains("open, boot 1"),
        "its events are missing: {}",
        said.out
    );
}

#[test]
fn a_seed_that_stands_still_ends_itself_long_before_its_budget() {
    let folder = tempfile::tempdir().unwrap();
    let file = changed(folder.path(), |plan| plan.tick = Micros(0));
    let said = sim(&["replay", &file, "--budget", "3600"]);
    assert_eq!(said.code, Some(3), "{}{}", said.out, said.err);
    assert!(
        said.out
            .contains("made no step forward in 2 s of processor time"),
        "{}",
        said.out
    );
}

#[test]
fn a_panic_costs_one_seed_and_is_reported_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let file = changed(folder.path(), |plan| {
        plan.liveness.bridge = HostName::from("nobody");
    });
    let said = sim(&["replay", &file]);
    assert_eq!(said.code, Some(101), "{}{}", said.out, said.err);
    assert!(said.out.contains("panic: "), "{}", said.out);
}

#[test]
fn a_history_that_was_cut_off_is_judged_as_far_as_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let history = folder.path().join("history.jsonl");
    let file = history.to_str().unwrap();
    assert_eq!(
        sim(&["run", SOME, "1", "--history-out", file]).code,
        Some(0)
    );
    let mut text = std::fs::read(&history).unwrap();
    text.truncate(text.len() - 3);
    std::fs::write(&history, text).unwrap();
    let said = sim(&["check", file]);
    assert!(
        said.err.contains("the last line was cut off"),
        "{}",
        said.err
    );
}

#[test]
fn a_plan_that_passes_can_not_be_shrunk() {
    let folder = tempfile::tempdir().unwrap();
    let file = changed(folder.path(), |_| {});
    let said = sim(&["shrink", &file]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("passes"), "{}", said.err);
}
