//! The demo as a newcomer runs it: the binary itself, with its exit code and its numbers.

use std::process::Command;

#[test]
fn the_demo_holds_and_its_numbers_add_up() {
    let output = Command::new(env!("CARGO_BIN_EXE_leasebridge"))
        .args(["demo", "--commands", "2000", "--seed", "11", "--json"])
        .env_remove("RUST_LOG")
        .env_remove("LEASEBRIDGE_CONFIG")
        .output()
        .expect("the binary runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let numbers: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
    let number = |name: &str| numbers[name].as_u64().unwrap_or_else(|| panic!("{name}"));
    assert_eq!(numbers["held"], true, "{numbers}");
    assert_eq!(number("accepted"), 2000);
    assert_eq!((number("executed"), number("poisoned")), (1995, 5));
    assert_eq!((number("lost"), number("executed_more_than_once")), (0, 0));
    // It held against something.
    assert_eq!((number("kills"), number("crashes")), (1, 1), "{told}");
    assert!(number("cuts") >= 5, "{told}");
    assert!(
        number("by_socket") > 0 && number("by_grpc") > 0,
        "{numbers}"
    );
    assert!(
        number("retried") > 0 && number("told_to_come_again") > 0,
        "{numbers}"
    );
    for event in [
        "cut mid-frame",
        "killed",
        "is back",
        "dropped without",
        "reopened",
    ] {
        assert!(told.contains(event), "no `{event}` in:\n{told}");
    }
}
