//! Many seeds: the table, the formats for machines, determinism.

use crate::{SOME, scenarios, sim};

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

#[test]
fn two_processes_do_the_same_and_two_seeds_do_not() {
    let said = sim(&["meta", SOME, "--seeds", "2"]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert!(said.out.contains("the same"), "{}", said.out);
}
