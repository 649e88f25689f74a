//! The life of a stranger: it connects to whatever a host listens for, takes what is to be had, and gives nothing.
//!
//! It keeps so many connections at once as its fault says, and makes those anew that end. How long it was suffered on
//! those where it said nothing is told as a gauge: first words have a deadline.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use leasebridge::env::{Address, BoxStream, Env, Mono, timeout};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use super::greed;
use super::seat::{HostOrder, Seat};
use super::shared::Shared;
use crate::history::What;
use crate::net::{GRPC_PORT, INGEST_PORT, SOCKET_PORT};
use crate::plan::{FaultId, FaultKind, Greed, HostName};

/// How long a connect may take.
const CONNECT: Duration = Duration::from_secs(1);

/// The pause before a connection is made in the place of one that has ended, and how much longer it may be.
const PAUSE: Duration = Duration::from_millis(200);

/// How long somebody who reads nothing stays before he tries again.
const UNREAD: Duration = Duration::from_secs(15);

/// Bytes of a message that is begun: from few to many.
const BEGUN_BYTES_MAX: u64 = 32 << 10;

/// The longest that a connection may be suffered on which nothing, or only half of the first words, was said: the five
/// seconds of the deadline, the turn of whoever looks, and the time that a farewell takes.
const SILENCE_MAX: Duration = Duration::from_secs(12);

/// See the module.
pub(super) async fn run(shared: Arc<Shared>, seat: Arc<Seat>) -> turmoil::Result {
    let (_, env) = seat.boot();
    let mut on: BTreeMap<FaultId, watch::Sender<bool>> = BTreeMap::new();
    loop {
        let order = seat.next_order().await;
        match order {
            HostOrder::Begin(fault) => {
                let (cease, ceased) = watch::channel(false);
                begin(&shared, &seat, &env, fault, &ceased);
                on.insert(fault, cease);
            }
            HostOrder::Cease(fault) => {
                if let Some(cease) = on.remove(&fault) {
                    cease.send_replace(true);
                }
            }
            ref order => unreachable!("{order:?} is for somebody else"),
        }
        seat.done(&order);
    }
}

fn begin(
    shared: &Arc<Shared>,
    seat: &Arc<Seat>,
    env: &Env,
    fault: FaultId,
    ceased: &watch::Receiver<bool>,
) {
    let mut faults = shared.plan.faults.iter();
    let spec = faults.find(|spec| spec.id == fault);
    let Some(FaultKind::Stranger {
        host,
        greed,
        connections,
    }) = spec.map(|spec| &spec.kind)
    else {
        unreachable!("{fault} is no stranger's");
    };
    let is_bridge = shared.plan.topology.bridges.contains(host);
    let ports: &[u16] = match (is_bridge, greed) {
        (true, _) => &[INGEST_PORT],
        // What is rolled back is said in frames.
        (false, Greed::Rollbacks) => &[SOCKET_PORT],
        (false, _) => &[SOCKET_PORT, GRPC_PORT],
    };
    for (number, port) in (0..*connections).zip(ports.iter().cycle()) {
        let visit = Visit {
            env: env.clone(),
            shared: Arc::clone(shared),
            seat: Arc::clone(seat),
            host: host.clone(),
            port: *port,
            greed: *greed,
            // What is rolled back on one connection is never on another.
            origin: (u64::from(fault.0) << 32) + u64::from(number) + 1,
        };
        let mut ceased = ceased.clone();
        tokio::spawn(async move {
            let mut visit = visit;
            tokio::select! {
                biased;
                // An error means that the stranger is gone.
                _ = ceased.wait_for(|ceased| *ceased) => {}
                never = visit.again_and_again() => match never {},
            }
        });
    }
}

/// What one task does with one connection after another.
struct Visit {
    env: Env,
    shared: Arc<Shared>,
    seat: Arc<Seat>,
    host: HostName,
    port: u16,
    greed: Greed,
    origin: u64,
}

impl Visit {
    async fn again_and_again(&mut self) -> std::convert::Infallible {
        let mut next = 1;
        loop {
            let address = Address::tcp(&*self.host.0, self.port);
            let connecting = self.env.transport.connect(&address);
            if let Ok(Ok(stream)) = timeout(&*self.env.clock, CONNECT, connecting).await {
                // Whatever ends it, the next one is made.
                let _ended = self.visit(stream, &mut next).await;
            }
            let jitter = Duration::from_millis(self.env.entropy.below(200));
            self.env.clock.sleep(PAUSE + jitter).await;
        }
    }

    async fn visit(&self, mut stream: BoxStream, next: &mut u64) -> std::io::Result<()> {
        let port = self.port;
        match self.greed {
            Greed::Silent => self.suffered(stream, Bytes::new()).await,
            Greed::HalfPreface => self.suffered(stream, greed::half_preface(port)).await,
            Greed::HalfRequest => {
                let bytes = self.env.entropy.below(BEGUN_BYTES_MAX);
                let bytes = usize::try_from(bytes).unwrap_or_default();
                stream.write_all(&greed::half_request(port, bytes)).await?;
                until_closed(&mut stream).await
            }
            Greed::LargeFirst => {
                stream.write_all(&greed::large_first(port)).await?;
                until_closed(&mut stream).await
            }
            Greed::Unread => {
                stream.write_all(&greed::unread(port)).await?;
                self.env.clock.sleep(UNREAD).await;
                Ok(())
            }
            Greed::Rollbacks => self.roll_back(stream, next).await,
        }
    }

    /// Says no more than this, and tells how long that was suffered.
    async fn suffered(&self, mut stream: BoxStream, words: Bytes) -> std::io::Result<()> {
        let _suffered = Suffered {
            visit: self,
            since: self.env.clock.now(),
        };
        stream.write_all(&words).await?;
        until_closed(&mut stream).await
    }

    /// Rolls back what never was, faster than anybody honest, until nobody listens any more.
    async fn roll_back(&self, stream: BoxStream, next: &mut u64) -> std::io::Result<()> {
        let (mut reading, mut writing) = tokio::io::split(stream);
        let says = async {
            writing.write_all(&greed::hello()).await?;
            loop {
                let (rollbacks, after) = greed::rollbacks(self.origin, *next);
                *next = after;
                writing.write_all(&rollbacks).await?;
                self.env.clock.sleep(PAUSE).await;
            }
        };
        tokio::select! {
            biased;
            said = says => said,
            closed = until_closed(&mut reading) => closed,
        }
    }
}

/// Tells how long a connection lasted when it ends, whoever ends it.
struct Suffered<'a> {
    visit: &'a Visit,
    since: Mono,
}

impl Drop for Suffered<'_> {
    fn drop(&mut self) {
        let Visit {
            env, shared, seat, ..
        } = self.visit;
        if shared.only_strangers() {
            let lasted = env.clock.now().saturating_since(self.since);
            let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
            let what = What::Gauge {
                name: "silence_ms".into(),
                value: millis(lasted),
                limit: millis(SILENCE_MAX),
            };
            shared.record(&seat.name, what);
        }
    }
}

/// Reads, and forgets, until the other side ends it.
async fn until_closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> std::io::Result<()> {
    let mut scratch = [0; 1 << 10];
    while stream.read(&mut scratch).await? > 0 {}
    Ok(())
}
