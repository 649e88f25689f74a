//! The bridge's process: `leasebridge run`, as anybody runs it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use leasebridge::env::{Address, Env, timeout};
use leasebridge::wire::v1;
use leasebridge::wire::v1::admin_client::AdminClient;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tonic::transport::Channel;

use super::ROUND_PATIENCE;
use crate::cli::bench::{BenchError, helper, processor};
use crate::cli::client;

/// Segments of a new log that is ready: the one that is written, and the spares that are kept ahead of it.
const SEGMENTS_READY: u64 = 6;

/// How often it is asked whether everything is settled: it costs the bridge little, and the answer is not much later
/// than the fact.
const ASK_INTERVAL: Duration = Duration::from_millis(2);

/// A bridge with an empty queue. Dropping it kills it.
pub(super) struct BridgeProcess {
    process: Child,
    pub(super) address: Address,
    admin: AdminClient<Channel>,
}

impl BridgeProcess {
    /// Starts one that keeps its log in `dir` and delivers to `endpoint`; waits until its spare segments are made.
    pub(super) async fn start(env: &Env, dir: &Path, endpoint: &str) -> Result<Self, BenchError> {
        let config = dir.join("bridge.toml");
        let data = toml::Value::from(dir.join("data").display().to_string());
        std::fs::write(
            &config,
            format!(
                "data = {data}\nlisten = \"127.0.0.1:0\"\n[routes.default]\nsocket = \"{endpoint}\"\n"
            ),
        )?;
        let mut process = Command::new(std::env::current_exe()?)
            .args(["run", "--log", "info", "--log-format", "json", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let log = process.stderr.take().expect("it was piped");
        let mut lines = BufReader::new(log).lines();
        let listening = timeout(&*env.clock, helper::PATIENCE, listening(&mut lines));
        let address = listening.await.map_err(std::io::Error::other)??;
        // What it says later is read and dropped: a full pipe would stop it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let bridge = Self {
            process,
            admin: AdminClient::new(client::channel(env, &address)),
            address,
        };
        let ready = bridge.until(env, helper::PATIENCE, |status| {
            let linked =
                |route: &v1::RouteStatus| route.socket.as_ref().is_some_and(|link| link.connected);
            status
                .journal
                .as_ref()
                .is_some_and(|journal| journal.segments >= SEGMENTS_READY)
                && status.routes.iter().all(linked)
        });
        ready.await?;
        Ok(bridge)
    }

    /// Waits until nothing is in the queue any more.
    pub(super) async fn settled(&self, env: &Env) -> Result<(), BenchError> {
        self.until(env, ROUND_PATIENCE, |status| {
            let mut routes = status.routes.iter();
            routes.all(|route| route.ready + route.delayed + route.leased == 0)
        })
        .await
    }

    pub(super) fn processor_time(&self) -> Result<Duration, BenchError> {
        processor::time_of(&self.process)
    }

    /// Ends it and waits until it is gone: its folder is the next one's.
    pub(super) async fn end(mut self) -> Result<(), BenchError> {
        Ok(self.process.kill().await?)
    }

    async fn until(
        &self,
        env: &Env,
        patience: Duration,
        is_so: impl Fn(&v1::StatusReply) -> bool,
    ) -> Result<(), BenchError> {
        let asking = async {
            loop {
                let mut admin = self.admin.clone();
                let status = admin.status(v1::StatusRequest {}).await?.into_inner();
                if is_so(&status) {
                    return Ok(());
                }
                env.clock.sleep(ASK_INTERVAL).await;
            }
        };
        let asked = timeout(&*env.clock, patience, asking).await;
        asked.map_err(std::io::Error::other)?
    }
}

/// Where it says that it listens.
async fn listening(lines: &mut Lines<BufReader<ChildStderr>>) -> Result<Address, BenchError> {
    let mut last = String::new();
    while let Some(line) = lines.next_line().await? {
        let said = helper::parse(&line)?;
        if let Some(address) = said["fields"]["listen"]
            .as_str()
            .or(said["listen"].as_str())
        {
            return address
                .parse()
                .map_err(|_| BenchError::Helper(line.clone()));
        }
        last = line;
    }
    Err(BenchError::Helper(last))
}
