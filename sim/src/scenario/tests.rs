//! Tests of scenarios as a whole: the files of the project, and what every drawn plan keeps.
#![expect(
    clippy::disallowed_methods,
    reason = "the project's own files are what is tested"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::draw::{FAMILIES, IDS_PER_FAMILY, exclude};
use super::*;
use crate::plan::{Family, FaultKind, FaultSpec, OpKind};

/// The project's scenarios, by file name.
fn files() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let entries = std::fs::read_dir(dir).unwrap();
    let files = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    files.sort();
    files
}

fn scenarios() -> Vec<Scenario> {
    let load = |path: &PathBuf| Scenario::load(path).unwrap_or_else(|error| panic!("{error}"));
    files().iter().map(load).collect()
}

fn named(name: &str) -> Scenario {
    let found = scenarios()
        .into_iter()
        .find(|scenario| scenario.name == name);
    found.unwrap_or_else(|| panic!("there is no scenario {name}"))
}

#[test]
fn the_project_has_its_scenarios_and_each_says_what_it_is_about() {
    let scenarios = scenarios();
    assert!(scenarios.len() >= 24, "{} scenarios", scenarios.len());
    for scenario in &scenarios {
        let summary = &scenario.summary;
        assert!((20..=110).contains(&summary.chars().count()), "{summary}");
        let beyond = scenario.expects.iter().find(|name| {
            let site: leasebridge::coverage::Site = name.parse().unwrap();
            !["core", "journal", "queue"].contains(&site.area())
        });
        let is_core = scenario.speed == Speed::Core;
        assert!(
            !is_core || beyond.is_none(),
            "{}: {beyond:?}",
            scenario.name
        );
        assert!(
            !scenario.expects.is_empty(),
            "{} expects nothing",
            scenario.name
        );
        assert!(!scenario.name.is_empty());
    }
}

/// What holds for every plan, whatever the scenario.
fn assert_sound(scenario: &Scenario, plan: &Plan) {
    let place = format!("{} {}", plan.scenario, plan.seed);
    assert!(plan.ops.is_sorted_by_key(|op| op.at), "{place}");
    assert!(plan.faults.is_sorted_by_key(|fault| fault.at), "{place}");
    let ids: Vec<u32> = plan.ops.iter().map(|op| op.id.0).collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "{place}: {ids:?}");
    let ids: BTreeSet<_> = plan.faults.iter().map(|fault| fault.id).collect();
    assert_eq!(ids.len(), plan.faults.len(), "{place}");

    let topology = &plan.topology;
    let endpoints = topology.endpoints.iter().map(|e| &e.host);
    let hosts = topology.producers.iter().chain(&topology.bridges);
    let hosts: BTreeSet<&HostName> = hosts.chain(endpoints).collect();
    for fault in &plan.faults {
        assert!(fault.at < plan.duration, "{place}: {fault:?}");
        assert!(
            fault.kind.hosts().iter().all(|h| hosts.contains(h)),
            "{place}: {fault:?}"
        );
        let family = fault.kind.family();
        let allowed = scenario
            .faults
            .iter()
            .any(|range| range.what.family() == family);
        assert!(allowed, "{place}: {fault:?}");
        let index = FAMILIES.iter().position(|f| *f == family).unwrap();
        assert_eq!(
            (fault.id.0 - 1) / IDS_PER_FAMILY,
            u32::try_from(index).unwrap(),
            "{place}"
        );
    }
    for (index, fault) in plan.faults.iter().enumerate() {
        for other in &plan.faults[..index] {
            let apart = other.at.plus(other.span) <= fault.at;
            let goes = apart || !exclude(&fault.kind, &other.kind);
            assert!(goes, "{place}: {fault:?} overlaps {other:?}");
        }
    }
    for op in &plan.ops {
        assert!(
            op.at <= plan.duration && topology.bridges.contains(&op.bridge),
            "{place}"
        );
        if let OpKind::Enqueue {
            producer,
            route,
            behaviour,
            ..
        } = &op.kind
        {
            assert!(topology.producers.contains(producer), "{place}");
            assert!(topology.routes.iter().any(|r| r.name == *route), "{place}");
            assert!(!behaviour.0.is_empty(), "{place}");
        }
    }
    let core = &plan.liveness;
    assert!(topology.bridges.contains(&core.bridge), "{place}");
    assert!(
        topology.routes.iter().any(|r| r.endpoint == core.endpoint),
        "{place}"
    );
    let knobs = &plan.knobs;
    assert!(
        knobs.max_hold >= knobs.lease && knobs.backoff[0] <= knobs.backoff[1],
        "{place}"
    );
    assert!(knobs.latency[0] <= knobs.latency[1], "{place}");
}

#[test]
fn every_scenario_draws_sound_plans() {
    for scenario in scenarios() {
        for seed in 0..50 {
            let plan = scenario.draw(Seed(seed));
            assert_sound(&scenario, &plan);
        }
    }
}

#[test]
fn drawn_plans_read_as_they_were_written_and_draw_the_same_again() {
    for scenario in scenarios() {
        for seed in 0..3 {
            let plan = scenario.draw(Seed(seed));
            assert_eq!(Plan::parse(&plan.to_toml()).unwrap(), plan);
            assert_eq!(scenario.draw(Seed(seed)), plan);
        }
        assert_ne!(scenario.draw(Seed(1)).ops, scenario.draw(Seed(2)).ops);
    }
}

#[test]
fn the_benchmarks_are_of_their_size() {
    for (name, families) in [("core_swarm", 4), ("full_swarm", 6)] {
        let scenario = named(name);
        let mut faults = 0;
        let mut seen = BTreeSet::new();
        for seed in 0..400 {
            let plan = scenario.draw(Seed(seed));
            let enqueues = plan
                .ops
                .iter()
                .filter(|op| matches!(op.kind, OpKind::Enqueue { .. }));
            assert_eq!(enqueues.count(), 200);
            assert_eq!(plan.duration, Micros::from_secs(60));
            faults += plan.faults.len();
            seen.extend(plan.faults.iter().map(|fault| fault.kind.family()));
        }
        assert!(
            (3_600..4_400).contains(&faults),
            "{name}: {faults} faults in 400 plans"
        );
        assert_eq!(seen.len(), families, "{name}");
    }
}

#[test]
fn swarm_switches_families_off_and_changes_the_mix() {
    let scenario = named("full_swarm");
    let families = |seed| -> BTreeSet<Family> {
        let plan = scenario.draw(Seed(seed));
        plan.faults
            .iter()
            .map(|fault| fault.kind.family())
            .collect()
    };
    let drawn: BTreeSet<BTreeSet<Family>> = (0..200).map(families).collect();
    assert!(drawn.len() > 20, "{} combinations", drawn.len());
    let behaviours = |seed| -> BTreeSet<String> {
        let plan = scenario.draw(Seed(seed));
        let steps = plan.ops.iter().filter_map(|op| match &op.kind {
            OpKind::Enqueue { behaviour, .. } => behaviour.0.first().copied(),
            _ => None,
        });
        let words = steps.map(|step| step.to_string().split(' ').next().unwrap().to_owned());
        words.collect()
    };
    let drawn: BTreeSet<BTreeSet<String>> = (0..100).map(behaviours).collect();
    assert!(drawn.len() > 10, "{} mixes", drawn.len());
}

#[test]
fn crashes_are_ten_times_likelier_while_something_is_in_flight() {
    let scenario = named("bridge_crash");
    let plans = (0..200).map(|seed| scenario.draw(Seed(seed)));
    let faults = plans.flat_map(|plan| plan.faults);
    let (mut waiting, mut blind) = (0, 0);
    for fault in faults {
        match fault.kind {
            FaultKind::Crash {
                in_flight: true, ..
            } => waiting += 1,
            _ => blind += 1,
        }
    }
    assert!((7..14).contains(&(waiting / blind)), "{waiting} to {blind}");
}

#[test]
fn the_core_that_must_live_differs_from_seed_to_seed() {
    let scenario = named("rolling_restart");
    let cores = (0..50).map(|seed| scenario.draw(Seed(seed)).liveness);
    let cores: BTreeSet<String> = cores
        .map(|core| format!("{} {} {:?}", core.bridge, core.endpoint, core.transports))
        .collect();
    assert_eq!(cores.len(), 4, "{cores:?}");
}

/// The documentation's example, as a reader would copy it.
#[test]
fn the_documented_example_is_a_scenario() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/scenarios.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, example) = page.split_once("```toml\n").unwrap();
    let (example, rest) = example.split_once("```").unwrap();
    let file = Path::new("scenarios/impatient_endpoint.toml");
    let scenario = Scenario::parse(file, example).unwrap_or_else(|error| panic!("{error}"));
    for seed in 0..50 {
        assert_sound(&scenario, &scenario.draw(Seed(seed)));
    }
    let slip = example.replacen("\"crash\"", "\"crahs\"", 1);
    let error = Scenario::parse(file, &slip).unwrap_err().to_string();
    let (said, _) = error.split_once("(allowed: ").unwrap();
    assert!(
        rest.contains(said),
        "the page shows another message than: {error}"
    );
}

#[test]
fn a_small_plan_looks_like_this() {
    let mut scenario = Scenario::new("small", "a partition and a crash over four commands");
    scenario.workload.commands = 4.into();
    let mut crash = FaultRange::new(FaultTemplate::Crash(Percent(90)));
    crash.count = 2.into();
    let partition = FaultRange::new(FaultTemplate::Partition(vec![crate::plan::Ways::AToB]));
    scenario.faults = vec![crash, partition];
    scenario.check().unwrap();
    insta::assert_snapshot!(scenario.draw(Seed(42)).to_toml());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is taken out of a scenario leaves the draws of everything else alone.
    #[test]
    fn a_family_taken_out_leaves_the_others_alone(
        seed in any::<u64>(),
        scenario in prop::sample::select(vec!["full_swarm", "core_swarm"]),
        family in prop::sample::select(FAMILIES.to_vec()),
    ) {
        let whole = named(scenario);
        let mut without = whole.clone();
        without.faults.retain(|fault| fault.what.family() != family);
        let (plan, less) = (whole.draw(Seed(seed)), without.draw(Seed(seed)));
        let kept: Vec<FaultSpec> = plan.faults.into_iter()
            .filter(|fault| fault.kind.family() != family)
            .collect();
        prop_assert_eq!(less.faults, kept);
        prop_assert_eq!(less.ops, plan.ops);
        prop_assert_eq!(less.knobs, plan.knobs);
        prop_assert_eq!(less.liveness, plan.liveness);
    }

    /// Neither do the operators' acts touch the faults, nor the workload the options.
    #[test]
    fn another_workload_leaves_faults_and_options_alone(seed in any::<u64>()) {
        let whole = named("full_swarm");
        let mut other = whole.clone();
        other.workload.commands = 17.into();
        other.workload.operators.clear();
        let (plan, less) = (whole.draw(Seed(seed)), other.draw(Seed(seed)));
        prop_assert_eq!(less.faults, plan.faults);
        prop_assert_eq!(less.knobs, plan.knobs);
    }
}
