//! Processes that help a benchmark: each says in a line that it is ready, and at its end in another what it
//! has seen.
//!
//! A helper of ours ends when its standard input does, so that it outlives nobody; what can't be told so is
//! killed when its handle is dropped.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use leasebridge::env::{Env, timeout};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::{BenchError, processor};

/// How long a helping process may take to say where it listens.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A helping process. Dropping it kills it.
pub(super) struct HelperProcess {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    stdin: Option<ChildStdin>,
}

impl HelperProcess {
    /// Starts `leasebridge bench` with `arguments`.
    pub(super) fn start<S: AsRef<OsStr>>(
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Self, BenchError> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("bench")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = process.stdout.take().expect("it was piped");
        Ok(Self {
            stdin: process.stdin.take(),
            process,
            lines: BufReader::new(stdout).lines(),
        })
    }

    /// The next line that it says.
    pub(super) async fn line(&mut self, patience: Duration) -> Result<String, BenchError> {
        let line = timeout(&*Env::real().clock, patience, self.lines.next_line()).await;
        let line = line.map_err(std::io::Error::other)??;
        line.ok_or_else(|| BenchError::Helper("nothing: it has ended".into()))
    }

    /// Tells it to begin.
    pub(super) async fn go(&mut self) -> Result<(), BenchError> {
        let stdin = self.stdin.as_mut().expect("open until it is told to end");
        stdin.write_all(b"\n").await?;
        Ok(stdin.flush().await?)
    }

    /// The processor time that it has used so far.
    pub(super) fn processor_time(&self) -> Result<Duration, BenchError> {
        processor::time_of(&self.process)
    }

    /// Tells it to end, and waits for what it has seen.
    pub(super) async fn end(&mut self) -> Result<Value, BenchError> {
        drop(self.stdin.take());
        let line = self.line(PATIENCE).await?;
        parse(&line)
    }
}

/// A number out of what a helper said.
pub(super) fn number(said: &Value, name: &str) -> Result<f64, BenchError> {
    let number = said[name].as_f64();
    number.ok_or_else(|| BenchError::Helper(said.to_string()))
}

/// What a helper said.
pub(super) fn parse(line: &str) -> Result<Value, BenchError> {
    serde_json::from_str(line).map_err(|_| BenchError::Helper(line.to_owned()))
}

/// Says that this helper is ready, with where it listens.
pub(super) fn ready(address: impl std::fmt::Display) {
    println!("{address}");
}

/// Waits until whoever started this helper says to begin.
pub(super) async fn told_to_go() -> Result<(), BenchError> {
    let mut byte = [0];
    tokio::io::stdin().read_exact(&mut byte).await?;
    Ok(())
}

/// Waits until whoever started this helper says to end, or has ended.
pub(super) async fn told_to_end() -> Result<(), BenchError> {
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    Ok(())
}
