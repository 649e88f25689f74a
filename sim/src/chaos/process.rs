//! One real process of the product: started, stopped, resumed, killed.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// A running child. Killed when it is dropped.
pub(super) struct Process {
    child: Child,
}

impl Process {
    /// Starts `program` with its log appended to `log`.
    pub(super) fn start(program: &Path, args: &[String], log: &Path) -> io::Result<Self> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)?;
        let child = Command::new(program)
            .args(args)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { child })
    }

    /// Whether it has not ended yet.
    pub(super) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Its exit code once it has ended; none if a signal ended it. Cancel safe.
    pub(super) async fn ended(&mut self) -> Option<i32> {
        self.child
            .wait()
            .await
            .ok()
            .and_then(|status| status.code())
    }

    /// `kill -9`, and waits until it is gone.
    pub(super) async fn kill(mut self) {
        // It may have ended by itself already.
        let _ = self.child.kill().await;
    }

    /// Stops it where it stands.
    pub(super) fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub(super) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks it to end in order, and kills it if it does not within `patience`. Says its exit code.
    pub(super) async fn end(mut self, patience: Duration) -> Option<i32> {
        self.signal(Signal::TERM);
        match tokio::time::timeout(patience, self.child.wait()).await {
            Ok(status) => status.ok().and_then(|status| status.code()),
            Err(_late) => {
                self.kill().await;
                None
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = id.and_then(Pid::from_raw) {
            // It may have ended meanwhile; whoever waits for it finds out.
            let _ = kill_process(pid, signal);
        }
    }
}
