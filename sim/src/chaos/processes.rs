//! The processes of a chaos run: one bridge, one receiver, one producer at a time, and two proxies between.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use leasebridge::env::Address;

use super::process::Process;
use super::proxy::{Mood, Proxy};

/// How long a process may take to end in order.
const END_PATIENCE: Duration = Duration::from_secs(40);

/// Producers that may fail one after the other once nothing is done to them any more.
const PRODUCERS_MAX: u32 = 20;

/// Lines that one producer process sends.
const LINES_PER_PRODUCER: u32 = 200;

/// Where everything of a run lies, and what runs.
pub(super) struct ChaosProcesses {
    program: PathBuf,
    folder: PathBuf,
    listen: Address,
    /// The way to the receiver's socket.
    pub(super) socket: Proxy,
    /// The way to the receiver's gRPC.
    pub(super) grpc: Proxy,
    pub(super) bridge: Option<Process>,
    pub(super) receiver: Option<Process>,
    pub(super) producer: Option<Process>,
    /// The input that the producer is sending; sent again until one of them has sent all of it.
    input: u32,
    histories: Vec<PathBuf>,
}

/// A free port of the loopback. Somebody else could take it meanwhile; on a machine that runs chaos nobody does.
async fn free_port() -> io::Result<Address> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    Ok(Address::tcp("127.0.0.1", listener.local_addr()?.port()))
}

impl ChaosProcesses {
    /// Writes the configuration; starts nothing but the proxies. The log lies in `data`.
    pub(super) async fn new(program: &Path, folder: &Path, data: &Path) -> io::Result<Self> {
        let (socket, grpc) = (free_port().await?, free_port().await?);
        let (to_socket, to_grpc) = (socket.clone(), grpc.clone());
        let processes = Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            listen: free_port().await?,
            socket: Proxy::start(to_socket).await?,
            grpc: Proxy::start(to_grpc).await?,
            bridge: None,
            receiver: None,
            producer: None,
            input: 0,
            histories: Vec::new(),
        };
        let config = format!(
            "data = \"{}\"\nlisten = \"{}\"\ndrain_timeout = \"5s\"\n\n\
             [queue]\nbackoff = \"exponential\"\nbackoff_max = \"2s\"\nlease = \"10s\"\n\n\
             [journal]\nsegment_size = \"2MiB\"\nmax_size = \"64MiB\"\n\n\
             [routes.default]\nsocket = \"{}\"\ngrpc = \"{}\"\nheartbeat = \"1s\"\nwindow = 64\n\n\
             [receiver]\nsocket = \"{socket}\"\ngrpc = \"{grpc}\"\nheartbeat = \"1s\"\n",
            data.display(),
            processes.listen,
            processes.socket.address(),
            processes.grpc.address(),
        );
        std::fs::write(processes.config(), config)?;
        Ok(processes)
    }

    fn config(&self) -> PathBuf {
        self.folder.join("leasebridge.toml")
    }

    /// Where executed commands are written down.
    pub(super) fn effects(&self) -> PathBuf {
        self.folder.join("executed.tsv")
    }

    /// The histories that were written so far, by all processes.
    pub(super) fn histories(&self) -> &[PathBuf] {
        &self.histories
    }

    /// Arguments of a command of the program, with the history that it is to write: one of a name goes on over
    /// the lives of its process.
    fn args(&mut self, what: &str, history: &str, more: &[&str]) -> Vec<String> {
        let history = self.folder.join(format!("{history}.jsonl"));
        let mut args = vec![
            what.to_owned(),
            "--config".into(),
            self.config().display().to_string(),
            "--history".into(),
            history.display().to_string(),
        ];
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        if !self.histories.contains(&history) {
            self.histories.push(history);
        }
        args
    }

    fn start(&mut self, what: &str, history: &str, more: &[&str]) -> io::Result<Process> {
        let args = self.args(what, history, more);
        let log = self.folder.join(format!("{what}.log"));
        Process::start(&self.program, &args, &log)
    }

    /// Starts whatever of the two does not run.
    pub(super) fn start_missing(&mut self) -> io::Result<()> {
        if !self.receiver.as_mut().is_some_and(Process::runs) {
            let effects = self.effects().display().to_string();
            self.receiver = Some(self.start("receiver", "endpoint", &["--out", &effects])?);
        }
        if !self.bridge.as_mut().is_some_and(Process::runs) {
            self.bridge = Some(self.start("run", "bridge", &[])?);
        }
        Ok(())
    }

    /// Has the input sent, the next one if the one before has been sent whole. Says how many were.
    pub(super) async fn produce(&mut self) -> io::Result<u32> {
        if let Some(producer) = &mut self.producer {
            if producer.runs() {
                return Ok(self.input);
            }
            // Anything but a clean end means that the same input is sent once more.
            if producer.ended().await == Some(0) {
                self.input += 1;
            }
        }
        let input = self.folder.join(format!("input-{}.txt", self.input));
        if !input.exists() {
            let lines = (0..LINES_PER_PRODUCER).map(|line| format!("{}:{line}\n", self.input));
            std::fs::write(&input, lines.collect::<String>())?;
        }
        let (input, listen) = (input.display().to_string(), self.listen.to_string());
        let history = format!("producer-{}", self.input);
        let args = [
            "--quiet",
            "--resume",
            "--history-host",
            &history,
            "--bridge",
            &listen,
            &input,
        ];
        self.producer = Some(self.start("enqueue", &history, &args)?);
        Ok(self.input)
    }

    /// Waits until the input under way has been sent whole, sending it again where a producer failed. Says how many
    /// have been.
    pub(super) async fn finish_producing(&mut self) -> io::Result<u32> {
        for _ in 0..PRODUCERS_MAX {
            let ended = match &mut self.producer {
                Some(producer) => producer.ended().await,
                None => None,
            };
            if ended == Some(0) {
                return Ok(self.input + 1);
            }
            self.producer = None;
            self.produce().await?;
        }
        Err(io::Error::other(format!(
            "input {} was not sent by {PRODUCERS_MAX} producers; see enqueue.log",
            self.input
        )))
    }

    /// Both ways are as they ought to be.
    pub(super) fn heal(&self) {
        self.socket.set(Mood::Passing);
        self.grpc.set(Mood::Passing);
    }

    /// What the running bridge says of itself.
    pub(super) async fn status(&self) -> Option<serde_json::Value> {
        let output = tokio::process::Command::new(&self.program)
            .args(["status", "--json", "--bridge", &self.listen.to_string()])
            .output()
            .await
            .ok()?;
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Ends everything in order. Says the exit codes of bridge and receiver.
    pub(super) async fn end(&mut self) -> (Option<i32>, Option<i32>) {
        let mut codes = [None, None];
        for (process, code) in [self.bridge.take(), self.receiver.take()]
            .into_iter()
            .zip(&mut codes)
        {
            if let Some(process) = process {
                *code = process.end(END_PATIENCE).await;
            }
        }
        (codes[0], codes[1])
    }
}
