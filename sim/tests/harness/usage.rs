//! Bad usage is told plainly, and help looks as it should.

use crate::{SOME, sim};

#[test]
fn bad_usage_ends_with_code_1_and_says_what_would_be_right() {
    for (args, hint) in [
        (&["dance"][..], "unrecognized subcommand"),
        (&["run", "no_such_scenario"], SOME),
        (&["run", SOME, "no-seed"], "commit hash"),
        (&["run", "scenarios/no_such_file.toml"], "no_such_file.toml"),
        (&["replay", "no_such_plan.toml"], "no_such_plan.toml"),
        (
            &["explore", "--scenarios", "no_such_folder"],
            "no_such_folder",
        ),
        (&["check", "Cargo.toml"], "not a history"),
        (&["shrink", "Cargo.toml"], "not a plan"),
        (&["planted", "--part", "5/4"], "K from 1 to N"),
    ] {
        let said = sim(args);
        assert_eq!(said.code, Some(1), "{args:?}: {}{}", said.out, said.err);
        assert!(said.err.contains(hint), "{args:?}: {}", said.err);
    }
}

#[test]
fn a_plan_of_another_format_is_refused_with_the_cure() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("old.toml");
    std::fs::write(&file, "format = 99\nscenario = \"x\"\n").unwrap();
    let said = sim(&["replay", file.to_str().unwrap()]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("has format 99"), "{}", said.err);
    assert!(said.err.contains("draw it again"), "{}", said.err);
}

#[test]
fn help_is_as_it_should_be() {
    let mut all = sim(&["--help"]).out;
    for command in [
        "run", "explore", "replay", "shrink", "meta", "check", "planted", "bench", "regress",
    ] {
        let said = sim(&[command, "--help"]);
        assert_eq!(said.code, Some(0));
        all.push_str(&format!(
            "\n$ leasebridge-sim {command} --help\n{}",
            said.out
        ));
    }
    assert!(!all.contains('\u{1b}'), "no colours where nobody looks");
    insta::assert_snapshot!("help", all);
}
