//! The examples run to their end and say what they should. Cargo builds them with these tests.

use std::path::PathBuf;
use std::process::Command;

/// The binary of an example: it lies beside the folder of the test's own executable.
fn example(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().expect("a test knows its executable");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.push("examples");
    path.push(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    path
}

#[test]
fn the_socket_bridge_delivers_everything_through_a_cut() {
    let output = Command::new(example("socket_bridge"))
        .output()
        .expect("cargo builds examples for integration tests");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(said.contains("delivered 197 of 200"), "{said}");
    assert!(said.contains("in socket-poison 3"), "{said}");
    assert!(
        said.contains("executed 197 commands, each once: true"),
        "{said}"
    );
}

#[test]
fn a_program_serves_producers_in_a_few_lines() {
    let output = Command::new(example("serve"))
        .output()
        .expect("cargo builds examples for integration tests");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    let executed = "route lamps: 100 of 100 commands executed, 100 of them over the socket";
    assert!(said.contains(executed), "{said}");
    assert!(said.contains("finished in time: true"), "{said}");
}
