//! Two machines: `b` echoes on several ports, `a` runs a script and writes down what it sees.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use leasebridge::env::{Address, BoxStream, Env, Stream, timeout};
use leasebridge_sim::host::SimHost;
use leasebridge_sim::net::{GRPC_PORT, Network, SOCKET_PORT};
use leasebridge_sim::plan::{FaultId, FaultKind, FaultSpec, HostName, Micros, NetFault};
use leasebridge_sim::seed::Seed;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A port whose frames nobody knows.
pub(crate) const PORT: u16 = 9000;
/// What a client of HTTP/2 says first.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long the script waits for an answer before it calls the other end silent.
const PATIENCE: Duration = Duration::from_secs(1);
/// When faults of a probe begin and end.
pub(crate) const BEGIN: Duration = Duration::from_secs(1);
/// See [`BEGIN`].
pub(crate) const END: Duration = Duration::from_secs(10);

/// What happens in the run's order, shared by script and server.
pub(crate) type Log = Arc<Mutex<Vec<String>>>;

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) fn simulation(seed: u64) -> turmoil::Sim<'static> {
    turmoil::Builder::new()
        .rng_seed(seed)
        .epoch(SystemTime::UNIX_EPOCH)
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(5))
        .simulation_duration(secs(600))
        .build()
}

pub(crate) struct World {
    pub(crate) sim: turmoil::Sim<'static>,
    pub(crate) network: Network,
    pub(crate) a: Arc<SimHost>,
    pub(crate) b: Arc<SimHost>,
    pub(crate) log: Log,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut sim = simulation(seed);
        let network = Network::new(Seed(seed), [Micros::from_millis(1), Micros::from_millis(5)]);
        let a = Arc::new(SimHost::new("a", Seed(seed), &network));
        let b = Arc::new(SimHost::new("b", Seed(seed), &network));
        let log = Log::default();
        let (machine, seen) = (Arc::clone(&b), Arc::clone(&log));
        sim.host("b", move || serve(machine.boot(), Arc::clone(&seen)));
        Self {
            sim,
            network,
            a,
            b,
            log,
        }
    }

    /// Starts the script on `a`.
    pub(crate) fn script<F, Fut>(&mut self, script: F)
    where
        F: Fn(Env, Log) -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let (machine, log) = (Arc::clone(&self.a), Arc::clone(&self.log));
        self.sim.host("a", move || {
            let running = script(machine.boot(), Arc::clone(&log));
            async move {
                running.await;
                std::future::pending().await
            }
        });
    }

    pub(crate) fn until(&mut self, time: Duration) {
        while self.sim.elapsed() < time {
            self.network.tick(self.sim.elapsed());
            self.sim.step().expect("no host ends badly");
        }
    }

    pub(crate) fn begin(&mut self, kind: FaultKind) -> FaultId {
        let fault = FaultSpec {
            id: FaultId(1),
            at: Micros::from(self.sim.elapsed()),
            span: Micros(0),
            kind,
        };
        let taken =
            self.network.begin(&self.sim, &fault) || self.a.begin(&fault) || self.b.begin(&fault);
        assert!(taken, "{fault:?}");
        fault.id
    }

    pub(crate) fn end(&mut self, fault: FaultId) {
        let was_on = self.network.end(&self.sim, fault) || self.a.end(fault) || self.b.end(fault);
        assert!(was_on);
    }

    /// What the script wrote down.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = self.all_lines();
        lines.retain(|line| !line.starts_with("b: "));
        lines
    }

    /// What script and server wrote down.
    pub(crate) fn all_lines(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn struck(&self) -> BTreeMap<FaultId, u64> {
        self.network.struck()
    }
}

pub(crate) fn between(fault: NetFault) -> FaultKind {
    FaultKind::Network {
        a: HostName::from("a"),
        b: HostName::from("b"),
        fault,
    }
}

async fn serve(env: Env, log: Log) -> turmoil::Result {
    for port in [SOCKET_PORT, GRPC_PORT, PORT] {
        let mut listener = env.transport.bind(&Address::tcp("0.0.0.0", port)).await?;
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(echo(stream, Arc::clone(&log)));
            }
        });
    }
    std::future::pending().await
}

async fn echo(mut stream: BoxStream, log: Log) {
    let mut buffer = [0; 4096];
    loop {
        let line = match stream.read(&mut buffer).await {
            Ok(0) => "b: end".to_owned(),
            // A server of HTTP/2 doesn't say the client's preface.
            Ok(bytes) if buffer[..bytes] == *PREFACE => continue,
            Ok(bytes) => {
                if stream.write_all(&buffer[..bytes]).await.is_ok() {
                    if bytes > 1 {
                        log.lock().unwrap().push(format!("b: {bytes} bytes"));
                    }
                    continue;
                }
                "b: unwritable".to_owned()
            }
            Err(error) => format!("b: {:?}", error.kind()),
        };
        log.lock().unwrap().push(line);
        return;
    }
}

pub(crate) async fn connect(env: &Env, port: u16) -> Result<BoxStream, String> {
    let address = Address::tcp("b", port);
    let connecting = env.transport.connect(&address);
    match timeout(&*env.clock, PATIENCE, connecting).await {
        Ok(connected) => connected.map_err(|error| name(error.kind())),
        Err(_) => Err("hangs".to_owned()),
    }
}

/// One byte there and back.
pub(crate) async fn ask(env: &Env, stream: &mut dyn Stream) -> String {
    let asking = async {
        stream.write_u8(b'x').await?;
        stream.read_u8().await
    };
    match timeout(&*env.clock, PATIENCE, asking).await {
        Ok(Ok(_)) => "echo".to_owned(),
        Ok(Err(error)) => name(error.kind()),
        Err(_) => "silent".to_owned(),
    }
}

fn name(kind: ErrorKind) -> String {
    match kind {
        ErrorKind::ConnectionReset => "reset".to_owned(),
        ErrorKind::ConnectionRefused => "refused".to_owned(),
        ErrorKind::HostUnreachable => "unreachable".to_owned(),
        other => format!("{other:?}"),
    }
}

/// What a new connection is good for.
pub(crate) async fn try_new(env: &Env, port: u16) -> String {
    match connect(env, port).await {
        Ok(mut stream) => ask(env, &mut *stream).await,
        Err(why) => why,
    }
}

/// What an old connection and a new one saw while the fault was on, and after it, in that order.
pub(crate) fn probe(seed: u64, port: u16, fault: NetFault) -> [String; 4] {
    let begun = |world: &mut World| {
        world.begin(between(fault.clone()));
    };
    let (world, lines) = probe_world(seed, port, begun, |world| world.end(FaultId(1)));
    assert!(world.struck()[&FaultId(1)] > 0, "it struck, and says so");
    lines
}

/// As [`probe`], for whatever begins and ends.
pub(crate) fn probe_world(
    seed: u64,
    port: u16,
    begin: impl Fn(&mut World),
    end: impl Fn(&mut World),
) -> (World, [String; 4]) {
    let mut world = World::new(seed);
    world.script(move |env, log| async move {
        let mut old = connect(&env, port).await.unwrap();
        assert_eq!(ask(&env, &mut *old).await, "echo");
        for at in [2, 12] {
            let now = env.clock.now().since_start();
            env.clock.sleep(secs(at) - now).await;
            let seen = ask(&env, &mut *old).await;
            log.lock().unwrap().push(format!("a: {seen}"));
            let seen = try_new(&env, port).await;
            log.lock().unwrap().push(format!("a: {seen}"));
        }
    });
    world.until(BEGIN);
    begin(&mut world);
    world.until(END);
    end(&mut world);
    world.until(secs(16));
    let mut seen = world.lines();
    seen.retain(|line| line.starts_with("a: "));
    let seen: Vec<String> = seen.iter().map(|line| line[3..].to_owned()).collect();
    (world, seen.try_into().expect("four lines"))
}
