//! One child process, from its start to its end.

use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::MissedTickBehavior;

use super::Pool;
use super::effort::{ChildEffort, GivenUp, LOOK};
use crate::child::CHILD;
use crate::child::protocol::{ChildReply, ChildRequest};
use crate::child::watch::{PATIENCE, STOOD_STILL};
use crate::failure::CommandFailure;

/// How much of a child's complaints is kept.
const COMPLAINTS_BYTES_MAX: u64 = 64 << 10;

/// How many of its last lines are shown. Panics that it survived come before.
const LAST_LINES: usize = 6;

/// How a child ended; meaningless if it answered for every plan.
pub(super) enum ChildEnd {
    /// By itself; its status and what it said.
    Died(String),
    /// It was ended, because it was silent for too long, or ended itself, because it stood still. What it did not do.
    Hung(String),
}

impl Pool {
    /// Starts a child with `request`: its replies, in the order of the plans, and how it ended.
    pub(super) async fn child(
        &self,
        request: &ChildRequest,
    ) -> Result<(Vec<ChildReply>, ChildEnd), CommandFailure> {
        let body = serde_json::to_vec(request).map_err(CommandFailure::because)?;
        let _permit = self
            .permits
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let mut child = self.start()?;
        let stdin = child.stdin.take().expect("it is a pipe");
        let stdout = child.stdout.take().expect("it is a pipe");
        let stderr = child.stderr.take().expect("it is a pipe");
        let (heard, complaints, ()) = tokio::join!(
            self.listen(&mut child, stdout),
            complaints(stderr),
            feed(stdin, body)
        );
        let (replies, given_up) = heard?;
        let status = child.wait().await?;
        let stood_still = status.code() == Some(i32::from(STOOD_STILL));
        let budget = self.budget.as_secs();
        let end = match given_up {
            Some(GivenUp::Spent) => {
                ChildEnd::Hung(format!("did not end within {budget} s of processor time"))
            }
            Some(GivenUp::Idle) => {
                ChildEnd::Hung(format!("waited for {budget} s for what never came"))
            }
            None if stood_still => {
                let patience = PATIENCE.as_secs();
                ChildEnd::Hung(format!(
                    "made no step forward in {patience} s of processor time"
                ))
            }
            None => ChildEnd::Died(last_words(status, &complaints)),
        };
        Ok((replies, end))
    }

    fn start(&self) -> Result<Child, CommandFailure> {
        let mut command = Command::new(&self.program);
        command.arg(CHILD).envs(self.env.iter().cloned());
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // A group of its own: Ctrl-C is for the parent, which then ends its children in order.
        command.process_group(0).kill_on_drop(true);
        command
            .spawn()
            .map_err(|error| CommandFailure::about(self.program.display(), error))
    }

    /// Reads replies until the child closes its stdout, or ends it when it is given up.
    async fn listen(
        &self,
        child: &mut Child,
        stdout: ChildStdout,
    ) -> Result<(Vec<ChildReply>, Option<GivenUp>), CommandFailure> {
        let mut lines = BufReader::new(stdout).lines();
        let mut replies = Vec::new();
        let mut effort = ChildEffort::default();
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let line = tokio::select! {
                biased;
                line = lines.next_line() => line?,
                _ = looks.tick() => {
                    let given_up = child.id().and_then(|process| effort.look(process, self.budget));
                    if given_up.is_none() {
                        continue;
                    }
                    child.start_kill()?;
                    return Ok((replies, given_up));
                }
            };
            let Some(line) = line else {
                return Ok((replies, None));
            };
            effort.heard();
            match serde_json::from_str(&line) {
                Ok(reply) => replies.push(reply),
                // A line that is cut off is the last one of a child that died.
                Err(error) if error.is_eof() => return Ok((replies, None)),
                Err(error) => {
                    return Err(CommandFailure::about(
                        "a child's reply can't be read",
                        error,
                    ));
                }
            }
        }
    }
}

/// Hands the request over. A child that dies before it has read it all is noticed by its silence.
async fn feed(mut stdin: ChildStdin, body: Vec<u8>) {
    stdin.write_all(&body).await.unwrap_or_default();
}

/// What the child wrote to stderr.
async fn complaints(mut stderr: ChildStderr) -> String {
    let mut text = Vec::new();
    let mut kept = (&mut stderr).take(COMPLAINTS_BYTES_MAX);
    kept.read_to_end(&mut text).await.unwrap_or_default();
    // The rest is read, lest the child wait for room.
    tokio::io::copy(&mut stderr, &mut tokio::io::sink())
        .await
        .unwrap_or_default();
    String::from_utf8_lossy(&text).trim().to_owned()
}

fn last_words(status: ExitStatus, complaints: &str) -> String {
    let lines: Vec<&str> = complaints.lines().collect();
    let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
    if last.is_empty() {
        format!("the process ended with {status}")
    } else {
        format!("the process ended with {status}: {}", last.join(" "))
    }
}
