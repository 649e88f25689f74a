//! One child process: killed when it is dropped, its output kept in files.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

use super::{PATIENCE, holds_within};

/// A running `leasebridge`.
pub(crate) struct Process {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// What a process that has ended left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it printed.
    pub(crate) stdout: String,
    /// Its logs and complaints.
    pub(crate) stderr: String,
}

impl Process {
    /// Starts `command` with its output in files of `folder` that start with `name`.
    pub(crate) fn start(command: Command, folder: &Path, name: &str) -> Self {
        Self::start_logging_to(None, command, folder, name)
    }

    /// The same, with its logs where `log` says, if it says so.
    pub(crate) fn start_logging_to(
        log: Option<Stdio>,
        mut command: Command,
        folder: &Path,
        name: &str,
    ) -> Self {
        let file = |ending: &str| folder.join(format!("{name}.{ending}"));
        let (stdout, stderr) = (file("out"), file("log"));
        let open =
            |path: &Path| std::fs::File::create(path).expect("a file of a folder of our own");
        let child = command
            .stdout(open(&stdout))
            .stderr(log.unwrap_or_else(|| open(&stderr).into()))
            .spawn()
            .unwrap_or_else(|error| panic!("{name} can't be started: {error}"));
        Self {
            name: name.to_owned(),
            child,
            stdout,
            stderr,
        }
    }

    /// Where its input goes, if it was started with a pipe.
    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("it has a pipe")
    }

    /// Where its logs come out, if they go to a pipe.
    pub(crate) fn stderr(&mut self) -> ChildStderr {
        self.child.stderr.take().expect("it has a pipe")
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.end_now();
    }

    fn end_now(&mut self) {
        // It may have ended by itself already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process has an id"), signal).expect("it is still there");
    }

    /// Whether it has not ended yet.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }

    /// Files and connections that it has open.
    pub(crate) fn open_files(&self) -> u64 {
        let path = format!("/proc/{}/fd", self.child.id());
        std::fs::read_dir(path).expect("it runs, on Linux").count() as u64
    }

    /// From now on it may have no more than `files` open; returns how many it might before.
    pub(crate) fn limit_files(&self, files: Option<u64>) -> Option<u64> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let limit = Rlimit {
            current: files,
            maximum: files_hard(),
        };
        let before = prlimit(pid, Resource::Nofile, limit);
        before.expect("it is our child").current
    }

    /// Bytes of memory that it has now.
    pub(crate) fn memory(&self) -> u64 {
        self.memory_line("VmRSS:")
    }

    /// Bytes of memory that it had at most.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.memory_line("VmHWM:")
    }

    fn memory_line(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(path).expect("it runs, on Linux");
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        let kib: u64 = number.and_then(|number| number.parse().ok()).expect("KiB");
        kib << 10
    }

    /// All it has logged so far.
    pub(crate) fn log(&self) -> String {
        read(&self.stderr)
    }

    /// All it has printed so far.
    pub(crate) fn output(&self) -> String {
        read(&self.stdout)
    }

    /// Waits until its log says `text`.
    pub(crate) fn until_it_says(&mut self, text: &str) {
        let said = holds_within(PATIENCE, || self.log().contains(text) || !self.runs());
        assert!(
            said && self.log().contains(text),
            "{} never said `{text}` but:\n{}",
            self.name,
            self.log()
        );
    }

    /// Waits for its end.
    pub(crate) fn end(self) -> Ended {
        self.end_within(PATIENCE)
    }

    /// Waits for its end, which must come within `limit`.
    pub(crate) fn end_within(mut self, limit: Duration) -> Ended {
        assert!(
            holds_within(limit, || !self.runs()),
            "{} didn't end within {limit:?}; it logged:\n{}",
            self.name,
            self.log()
        );
        let status = self.child.wait().expect("it is our child");
        Ended {
            code: status.code(),
            stdout: read(&self.stdout),
            stderr: read(&self.stderr),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end_now();
    }
}

impl Ended {
    /// Checks the exit code.
    #[track_caller]
    pub(crate) fn with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// What it printed, as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        let last = self.stdout.trim_end().lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// As many files as the system lets this process, and its children, ever have open.
fn files_hard() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

/// No input at all.
pub(crate) fn without_input(command: &mut Command) {
    command.stdin(Stdio::null());
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}
