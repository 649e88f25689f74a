//! What stands between bridge and endpoint and cuts connections in the middle of a frame.
//!
//! It knows frames only by their length prefix: enough to stop inside one. Endpoints that come back have
//! another port; the proxy keeps the address that the bridge knows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BytesMut};
use leasebridge::env::{Address, BoxStream, Env};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Bytes of a frame's length.
const LENGTH_BYTES: usize = 4;

/// Frames below this are heartbeats and the like: what is cut shall be a command or its answer.
const CUT_FRAME_BYTES_MIN: usize = 24;

/// Bytes fetched by one read.
const READ_BYTES: usize = 16 << 10;

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the bridge to the endpoint.
    ToEndpoint,
    /// From the endpoint to the bridge.
    ToBridge,
}

impl Way {
    /// Where to, for people.
    pub(super) fn direction(self) -> &'static str {
        match self {
            Self::ToEndpoint => "to the endpoint",
            Self::ToBridge => "to the bridge",
        }
    }
}

/// How a connection was cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct CutMade {
    /// Bytes of the frame that still went through.
    pub(super) passed: usize,
    /// Bytes of the whole frame.
    pub(super) frame: usize,
}

struct CutOrder {
    way: Way,
    permille: usize,
    made: oneshot::Sender<CutMade>,
}

#[derive(Default)]
struct ProxyShared {
    target: Mutex<Option<Address>>,
    order: Mutex<Option<CutOrder>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A proxy at work. Dropping it closes everything that goes through it.
pub(super) struct Proxy {
    address: Address,
    shared: Arc<ProxyShared>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port of the loopback. Until it has a target, connections are closed at once.
    pub(super) async fn start(env: &Env) -> std::io::Result<Self> {
        let mut listener = env.transport.bind(&super::loopback()).await?;
        let address = listener.local_address();
        let shared = Arc::new(ProxyShared::default());
        let (env, serving) = (env.clone(), Arc::clone(&shared));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                // What has ended is forgotten here, so that the set stays as small as what lives.
                while connections.try_join_next().is_some() {}
                let Some(target) = lock(&serving.target).clone() else {
                    continue;
                };
                let (env, shared) = (env.clone(), Arc::clone(&serving));
                connections.spawn(async move {
                    if let Ok(far) = env.transport.connect(&target).await {
                        forward(near, far, &shared).await;
                    }
                });
            }
        });
        Ok(Self {
            address,
            shared,
            task,
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> Address {
        self.address.clone()
    }

    /// Where new connections lead from now on; nowhere if there is no target.
    pub(super) fn lead_to(&self, target: Option<Address>) {
        *lock(&self.shared.target) = target;
    }

    /// Cuts the connection that carries the next frame of some size on `way`, after about `permille` of
    /// it. The receiver hears when that has happened.
    pub(super) fn cut(&self, way: Way, permille: usize) -> oneshot::Receiver<CutMade> {
        let (made, hears) = oneshot::channel();
        *lock(&self.shared.order) = Some(CutOrder {
            way,
            permille,
            made,
        });
        hears
    }

    /// Takes an order back that nothing has come by for.
    pub(super) fn cut_nothing(&self) {
        *lock(&self.shared.order) = None;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Forwards until either end closes or the connection is cut; dropping both ends then closes them.
async fn forward(near: BoxStream, far: BoxStream, shared: &ProxyShared) {
    let (from_bridge, to_bridge) = tokio::io::split(near);
    let (from_endpoint, to_endpoint) = tokio::io::split(far);
    tokio::select! {
        biased;
        _ = pass(from_bridge, to_endpoint, Way::ToEndpoint, shared) => {}
        _ = pass(from_endpoint, to_bridge, Way::ToBridge, shared) => {}
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    way: Way,
    shared: &ProxyShared,
) -> std::io::Result<()> {
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    // Bytes of the current frame that are still to come: nothing is held back for its sake.
    let mut owed = 0;
    loop {
        buffer.reserve(READ_BYTES);
        if from.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let mut whole = 0;
        loop {
            let now = owed.min(buffer.len() - whole);
            owed -= now;
            whole += now;
            let rest = &buffer[whole..];
            if owed > 0 || rest.len() < LENGTH_BYTES {
                break;
            }
            let frame = LENGTH_BYTES + (&rest[..LENGTH_BYTES]).get_u32() as usize;
            if let Some(order) = order_for(shared, way, frame) {
                let passed = (frame * order.permille / 1000).clamp(1, frame - 1);
                let passed = passed.min(rest.len());
                to.write_all(&buffer[..whole + passed]).await?;
                to.flush().await?;
                // Whoever gave the order may have given up waiting.
                let _ = order.made.send(CutMade { passed, frame });
                return Ok(());
            }
            owed = frame;
        }
        to.write_all(&buffer[..whole]).await?;
        to.flush().await?;
        buffer.advance(whole);
    }
}

fn order_for(shared: &ProxyShared, way: Way, frame: usize) -> Option<CutOrder> {
    if frame < CUT_FRAME_BYTES_MIN {
        return None;
    }
    lock(&shared.order).take_if(|order| order.way == way)
}
