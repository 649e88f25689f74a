//! `bench network` with a handful of commands: every part starts, every command comes through, and nothing is left
//! behind, however it ends. What the figures are is for a person to judge, on a machine that does nothing else.

#![expect(
    clippy::disallowed_methods,
    reason = "this test stands outside the program, where the time and the files are those of the machine"
)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn bench(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasebridge"));
    command
        .args([
            "bench",
            "network",
            "--rounds",
            "1",
            "--shorten",
            "1000",
            "--json",
            "--dir",
        ])
        .arg(dir)
        .env_remove("RUST_LOG")
        .env_remove("LEASEBRIDGE_CONFIG");
    command
}

/// Nothing of a benchmark is left: no file, and no process that was given one.
fn assert_nothing_left(dir: &Path) {
    let left: Vec<_> = std::fs::read_dir(dir).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    let wanted = dir.to_str().expect("a temporary folder has a plain name");
    let patience = Instant::now() + Duration::from_secs(20);
    loop {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let running: Vec<String> = processes
            .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
            .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
            .filter(|line| line.contains(wanted))
            .collect();
        if running.is_empty() {
            return;
        }
        assert!(Instant::now() < patience, "still running: {running:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn every_command_comes_through_each_way_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let output = bench(dir.path()).output().expect("the binary runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("one object");
    let rows = report["rows"].as_array().expect("rows");
    for call in ["unary", "stream", "redis"] {
        for callers in [1, 64, 256] {
            let row = rows
                .iter()
                .find(|row| row["call"] == call && row["callers"] == callers)
                .unwrap_or_else(|| panic!("no row of {call}, {callers}"));
            if call == "redis" && report["redis"].is_null() {
                assert!(row["median"].is_null(), "{row}");
                continue;
            }
            // The bench itself counts what was durable and what was executed.
            let figures = &row["median"];
            let rate = figures["commands_per_s"].as_f64();
            assert!(rate.is_some_and(|rate| rate > 0.0), "{row}");
            let (half, most) = (&figures["executed_p50_ms"], &figures["executed_p99_ms"]);
            assert!(half.as_f64() <= most.as_f64(), "{row}");
        }
    }
    assert_nothing_left(dir.path());
}

#[test]
fn honest_traffic_comes_through_beside_a_crowd() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasebridge"));
    command
        .args(["bench", "crowd", "--connections", "300", "--rounds", "1"])
        .args(["--shorten", "1000", "--json", "--dir"])
        .arg(dir.path())
        .env_remove("RUST_LOG")
        .env_remove("LEASEBRIDGE_CONFIG");
    let output = command.output().expect("the binary runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(report["connections"], 300);
    // The bench itself counts what was durable and what was executed.
    assert!(
        report["kept"].as_f64().is_some_and(|kept| kept > 0.0),
        "{report}"
    );
    assert_nothing_left(dir.path());
}

/// Ends a benchmark that a failed test would leave behind.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

#[test]
fn an_interrupted_bench_takes_its_processes_and_files_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let process = bench(dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut process = Ended(process);
    let mut told = BufReader::new(process.0.stderr.take().expect("it was piped"));
    // The first row is there: the next round has its processes up or is starting them.
    told.read_line(&mut String::new()).unwrap();
    let pid = Pid::from_child(&process.0);
    kill_process(pid, Signal::INT).expect("it runs");
    let status = process.0.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert_nothing_left(dir.path());
}
