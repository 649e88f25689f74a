//! A folder, three free ports and a configuration of a test's own, and the program run in it.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tempfile::TempDir;

use super::executed::Executed;
use super::process::{Ended, Process, without_input};
use super::until;

/// The ports tests choose from. They lie below those that systems give to outgoing connections: a port
/// from there could be taken by somebody while its owner is dead and waits to be started again.
const PORTS: std::ops::Range<u32> = 10_000..30_000;

/// Lines of each log that are shown when a test fails.
const LOG_LINES_SHOWN: usize = 40;

/// Budgets and intervals that keep the tests quick. Everything else is as it is by default.
const QUICK: &str = r#"
drain_timeout = "20s"
[queue]
backoff = "exponential"
backoff_min = "20ms"
backoff_max = "200ms"
"#;

/// Where a test's processes live.
pub(crate) struct House {
    /// Always there until the house is dropped.
    dir: Option<TempDir>,
    /// Where the bridge listens.
    pub(crate) listen: u16,
    /// Where the receiver's socket listens.
    pub(crate) socket: u16,
    /// Where the receiver's gRPC listens.
    pub(crate) grpc: u16,
    started: AtomicU32,
}

impl House {
    /// A house with one route, `default`.
    pub(crate) fn new() -> Self {
        Self::with(QUICK, "", "")
    }

    /// A house whose configuration says `top` (top-level keys and tables) and `route` (more keys of the
    /// route) and `rest` (more tables).
    pub(crate) fn with(top: &str, route: &str, rest: &str) -> Self {
        let house = Self {
            dir: Some(TempDir::with_prefix("leasebridge-e2e-").expect("a temporary folder")),
            listen: free_port(),
            socket: free_port(),
            grpc: free_port(),
            started: AtomicU32::new(0),
        };
        let Self {
            listen,
            socket,
            grpc,
            ..
        } = house;
        let data = house.path("data");
        let text = format!(
            "data = {data:?}\nlisten = \"127.0.0.1:{listen}\"\n{top}\n\
             [routes.default]\nsocket = \"127.0.0.1:{socket}\"\ngrpc = \"127.0.0.1:{grpc}\"\n\
             first_sign_of_life = \"1s\"\nheartbeat = \"500ms\"\n{route}\n\
             [receiver]\nsocket = \"127.0.0.1:{socket}\"\ngrpc = \"127.0.0.1:{grpc}\"\n\
             heartbeat = \"500ms\"\n{rest}\n"
        );
        house.write("leasebridge.toml", text.as_bytes());
        house
    }

    /// A house in which less room than usual is left; see [`House::with`].
    pub(crate) fn with_top(top: &str) -> Self {
        Self::with(top, "", "")
    }

    /// The path of a file in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.as_ref().expect("until dropped").path().join(name)
    }

    /// Writes a file into it.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("a folder of our own");
        path
    }

    /// The numbers from 1 to `last`, one a line, in a file.
    pub(crate) fn numbers(&self, last: u64) -> PathBuf {
        let text: String = (1..=last).map(|number| format!("{number}\n")).collect();
        self.write("numbers.txt", text.as_bytes())
    }

    /// What the receiver has written down.
    pub(crate) fn executed(&self) -> Executed {
        Executed::read(&self.path("executed.tsv"))
    }

    /// The program with this house's configuration and `args`.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = program();
        command.arg("--config").arg(self.path("leasebridge.toml"));
        command.args(args);
        without_input(&mut command);
        command
    }

    /// Starts `command`; its output goes to files called after `name`.
    pub(crate) fn start(&self, name: &str, command: Command) -> Process {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let folder = self.dir.as_ref().expect("until dropped").path();
        Process::start(command, folder, &format!("{number:03}-{name}"))
    }

    /// Starts the program with its logs going to `log`, which nobody may read.
    pub(crate) fn start_logging_to(&self, log: Stdio, args: &[&str]) -> Process {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let folder = self.dir.as_ref().expect("until dropped").path();
        let name = format!("{number:03}-{}", args[0]);
        Process::start_logging_to(Some(log), self.command(args), folder, &name)
    }

    /// Waits until a bridge answers, whatever it logs.
    pub(crate) fn until_it_answers(&self) {
        until("the bridge answers", || {
            self.cli(&["status", "--json"]).code == Some(0)
        });
    }

    /// Runs the program to its end.
    pub(crate) fn cli(&self, args: &[&str]) -> Ended {
        self.start(args[0], self.command(args)).end()
    }

    /// Starts a receiver that writes to `executed.tsv`. It may not be ready yet.
    pub(crate) fn receiver(&self) -> Process {
        let out = self.path("executed.tsv");
        let mut command = self.command(&["receiver", "--out"]);
        command.arg(out);
        self.start("receiver", command)
    }

    /// Starts a bridge. It may not be ready yet.
    pub(crate) fn bridge(&self) -> Process {
        self.start("run", self.command(&["run"]))
    }

    /// Starts a bridge and waits until it is ready.
    pub(crate) fn ready_bridge(&self) -> Process {
        let mut bridge = self.bridge();
        bridge.until_it_says("the bridge is ready");
        bridge
    }

    /// Starts `enqueue` on a file.
    pub(crate) fn enqueue(&self, file: &Path, more: &[&str]) -> Process {
        let mut command = self.command(&["enqueue", "--json"]);
        command.arg(file).args(more);
        self.start("enqueue", command)
    }

    /// Starts `enqueue` on a pipe.
    pub(crate) fn enqueue_pipe(&self, more: &[&str]) -> Process {
        let mut command = self.command(&["enqueue", "--json"]);
        command.args(more).stdin(Stdio::piped());
        self.start("enqueue", command)
    }

    /// What `status --json` says.
    pub(crate) fn status(&self) -> Value {
        self.cli(&["status", "--json"]).with(0).json()
    }

    /// What it says of the route `default`.
    pub(crate) fn route(&self) -> Value {
        let status = self.status();
        let routes = status["routes"].as_array().expect("a list").iter();
        let found = routes.into_iter().find(|route| route["route"] == "default");
        found.expect("it is configured").clone()
    }

    /// Waits until nothing is ready, delayed or leased.
    pub(crate) fn until_idle(&self) {
        until("the queue is empty", || {
            let route = self.route();
            ["ready", "delayed", "leased"]
                .iter()
                .all(|state| route[state] == 0)
        });
    }

    /// Every file of the journal's folder with its content.
    pub(crate) fn data_files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = std::fs::read_dir(self.path("data")).expect("the bridge made it");
        let mut files: Vec<_> = entries
            .map(|entry| {
                let path = entry.expect("it can be listed").path();
                let content = std::fs::read(&path).expect("it can be read");
                (path, content)
            })
            .collect();
        files.sort();
        files
    }
}

/// The program without any configuration of the machine it runs on.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasebridge"));
    for variable in ["RUST_LOG", "LEASEBRIDGE_CONFIG", "LEASEBRIDGE_BRIDGE"] {
        command.env_remove(variable);
    }
    command
}

impl Drop for House {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let dir = self.dir.take().expect("only dropped once").keep();
        println!("the files are kept in {}", dir.display());
        let mut logs: Vec<_> = std::fs::read_dir(&dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "log"))
            .collect();
        logs.sort();
        for path in logs {
            let text =
                String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).into_owned();
            if text.is_empty() {
                continue;
            }
            let lines: Vec<_> = text.lines().collect();
            let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
            println!("--- {}\n{}", path.display(), shown.join("\n"));
        }
    }
}

/// A port nobody listens on, and no other test of this process gets.
fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let width = PORTS.end - PORTS.start;
    let first = std::process::id().wrapping_mul(97);
    for _ in 0..width {
        let next = first.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(PORTS.start + next % width).expect("a port");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("every port is taken");
}
