//! The whole way, each part in a process of its own: producers, bridge, endpoint, all over TCP on this machine;
//! and beside it the same commands through Redis, where it is installed.
//!
//! A command counts as *durable* when its producer is told so, as *executed* when the endpoint has it in hand, and as
//! settled when it has left the queue (with Redis: the stream).

mod beside;
mod bridge;
mod crowd;
mod endpoint;
mod latency;
mod producers;
mod redis;
mod resp;
mod table;

use std::path::Path;
use std::time::{Duration, Instant};

use leasebridge::env::{Address, Env};
use serde_json::Value;

use super::helper::{HelperProcess, number, parse};
use super::{BenchArgs, BenchError, fresh};
pub(super) use beside::measure as measure_beside;
pub(super) use crowd::{CrowdArgs, run as crowd};
pub(super) use endpoint::run as endpoint;
pub(super) use producers::{ProducerCall, ProducersArgs, run as producers};
pub(super) use redis::{ConsumerArgs, consume};
pub(super) use table::NetworkReport;
use table::{NetworkRound, NetworkRow};

/// How many callers there are, and how many commands they have for a round: about a second's work.
const CALLERS: [(usize, usize); 3] = [(1, 1_000), (64, 10_000), (256, 20_000)];

/// How long a round may take: a hundred times what it should.
const ROUND_PATIENCE: Duration = Duration::from_secs(120);

/// Runs all rounds.
pub(super) async fn measure(args: &BenchArgs, dir: &Path) -> Result<NetworkReport, BenchError> {
    let redis = redis::RedisServer::version().await?;
    let mut report = NetworkReport::new(args.rounds, redis.clone());
    for (callers, commands) in CALLERS {
        let commands = (commands / args.shorten as usize).max(callers);
        for call in [
            ProducerCall::Unary,
            ProducerCall::Stream,
            ProducerCall::Redis,
        ] {
            if !args.wants(&format!("{}, {callers} callers", call.name())) {
                continue;
            }
            let mut row = NetworkRow::new(call, callers);
            if call == ProducerCall::Redis && redis.is_none() {
                report.push(row);
                continue;
            }
            for _ in 0..args.rounds {
                let load = NetworkLoad {
                    call,
                    callers,
                    commands,
                };
                row.add(load.round(&fresh(dir)?).await?);
            }
            report.push(row);
        }
    }
    Ok(report)
}

/// So many connections that take and don't give, all of them there.
async fn crowd_at(to: &Address, connections: u32) -> Result<HelperProcess, BenchError> {
    let connections = connections.to_string();
    let to = to.to_string();
    let arguments = ["crowd-of", "--to", &to, "--connections", &connections];
    let mut crowd = HelperProcess::start(arguments)?;
    crowd.line(super::helper::PATIENCE).await?;
    Ok(crowd)
}

/// What is done in one round.
#[derive(Clone, Copy)]
struct NetworkLoad {
    call: ProducerCall,
    callers: usize,
    commands: usize,
}

impl NetworkLoad {
    async fn round(self, dir: &Path) -> Result<NetworkRound, BenchError> {
        match self.call {
            ProducerCall::Unary | ProducerCall::Stream => {
                let (round, _) = self.bridged(dir, 0).await?;
                Ok(round)
            }
            ProducerCall::Redis => self.with_redis(dir).await,
        }
    }

    /// Through a bridge to which so many others are connected; with what part of a processor those used for it.
    async fn bridged(self, dir: &Path, others: u32) -> Result<(NetworkRound, f64), BenchError> {
        let env = Env::real();
        let mut endpoint = HelperProcess::start(["network-endpoint"])?;
        let address = endpoint.line(super::helper::PATIENCE).await?;
        let bridge = bridge::BridgeProcess::start(&env, dir, &address).await?;
        let crowd = match others {
            0 => None,
            _ => Some(crowd_at(&bridge.address, others).await?),
        };
        let used = || {
            crowd
                .as_ref()
                .map(HelperProcess::processor_time)
                .transpose()
        };
        let mut producers = self.producers(&bridge.address).await?;
        let crowd_before = used()?;
        let before = [
            producers.processor_time()?,
            bridge.processor_time()?,
            endpoint.processor_time()?,
        ];
        let start = Instant::now();
        producers.go().await?;
        let durable = parse(&producers.line(ROUND_PATIENCE).await?)?;
        bridge.settled(&env).await?;
        let took = start.elapsed();
        let after = [
            producers.processor_time()?,
            bridge.processor_time()?,
            endpoint.processor_time()?,
        ];
        let crowd_used = used()?
            .unwrap_or_default()
            .saturating_sub(crowd_before.unwrap_or_default());
        bridge.end().await?;
        let executed = endpoint.end().await?;
        let round = self.seen(took, &durable, &executed, (before, after))?;
        Ok((round, crowd_used.as_secs_f64() / took.as_secs_f64()))
    }

    async fn with_redis(self, dir: &Path) -> Result<NetworkRound, BenchError> {
        let env = Env::real();
        let server = redis::RedisServer::start(&env, dir).await?;
        let commands = self.commands.to_string();
        let address = server.address.to_string();
        let mut consumer =
            HelperProcess::start(["redis-consumer", "--to", &address, "--commands", &commands])?;
        consumer.line(super::helper::PATIENCE).await?;
        let mut producers = self.producers(&server.address).await?;
        let before = [
            producers.processor_time()?,
            server.processor_time()?,
            consumer.processor_time()?,
        ];
        let start = Instant::now();
        producers.go().await?;
        let durable = parse(&producers.line(ROUND_PATIENCE).await?)?;
        let executed = parse(&consumer.line(ROUND_PATIENCE).await?)?;
        let took = start.elapsed();
        let after = [
            producers.processor_time()?,
            server.processor_time()?,
            consumer.processor_time()?,
        ];
        server.end().await?;
        self.seen(took, &durable, &executed, (before, after))
    }

    /// Producers that are connected and wait for the word to go.
    async fn producers(self, to: &Address) -> Result<HelperProcess, BenchError> {
        let mut producers = HelperProcess::start([
            "producers",
            "--to",
            &to.to_string(),
            "--call",
            self.call.name(),
            "--callers",
            &self.callers.to_string(),
            "--commands",
            &self.commands.to_string(),
        ])?;
        producers.line(super::helper::PATIENCE).await?;
        Ok(producers)
    }

    fn seen(
        self,
        took: Duration,
        durable: &Value,
        executed: &Value,
        (before, after): ([Duration; 3], [Duration; 3]),
    ) -> Result<NetworkRound, BenchError> {
        let wanted = self.commands as u64;
        for said in [durable, executed] {
            let found = number(said, "count")? as u64;
            if found != wanted {
                return Err(BenchError::Unseen { wanted, found });
            }
        }
        let each = |at: usize| {
            let used = after[at].saturating_sub(before[at]).as_secs_f64();
            used * 1e6 / self.commands as f64
        };
        Ok(NetworkRound {
            commands_per_s: self.commands as f64 / took.as_secs_f64(),
            durable_p50_ms: number(durable, "p50_ms")?,
            durable_p99_ms: number(durable, "p99_ms")?,
            executed_p50_ms: number(executed, "p50_ms")?,
            executed_p99_ms: number(executed, "p99_ms")?,
            producers_us: each(0),
            queue_us: each(1),
            endpoint_us: each(2),
        })
    }
}
