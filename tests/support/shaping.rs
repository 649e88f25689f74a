//! A proxy between bridge and endpoint through which bytes pass at a rate, as over a slow line.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use leasebridge::env::{Address, Env};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;

/// What lies between its near end and its far end, at the most.
const CHUNK_BYTES: usize = 4 << 10;

/// Forwards connections at a rate in each direction.
pub(crate) struct ShapingProxy {
    pub(crate) address: Address,
    up: Arc<AtomicU64>,
    down: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl ShapingProxy {
    /// `buffer_bytes`: what its kernel may take of a connection before it is forwarded; `None`: as much as it likes.
    pub(crate) async fn start(
        target: Address,
        bytes_per_s: u32,
        buffer_bytes: Option<u32>,
    ) -> Self {
        let listener = listen(buffer_bytes);
        let port = listener.local_addr().unwrap().port();
        let up = Arc::new(AtomicU64::new(0));
        let down = Arc::new(AtomicU64::new(0));
        let counts = (Arc::clone(&up), Arc::clone(&down));
        let task = tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let (target, (up, down)) = (target.clone(), counts.clone());
                tokio::spawn(async move {
                    let far = Env::real().transport.connect(&target).await.unwrap();
                    let (from_bridge, to_bridge) = near.into_split();
                    let (from_endpoint, to_endpoint) = tokio::io::split(far);
                    tokio::select! {
                        () = pass(from_bridge, to_endpoint, bytes_per_s, &up) => {}
                        () = pass(from_endpoint, to_bridge, bytes_per_s, &down) => {}
                    }
                });
            }
        });
        Self {
            address: Address::tcp("127.0.0.1", port),
            up,
            down,
            task,
        }
    }

    /// Bytes that came from the bridge.
    pub(crate) fn up_bytes(&self) -> u64 {
        self.up.load(Ordering::SeqCst)
    }

    /// Bytes that came from the endpoint.
    pub(crate) fn down_bytes(&self) -> u64 {
        self.down.load(Ordering::SeqCst)
    }
}

impl Drop for ShapingProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The buffer is the kernel's affair, which the seam doesn't reach.
#[expect(
    clippy::disallowed_types,
    reason = "the size of a kernel's buffer is set on its socket"
)]
fn listen(buffer_bytes: Option<u32>) -> tokio::net::TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    if let Some(bytes) = buffer_bytes {
        socket.set_recv_buffer_size(bytes).unwrap();
    }
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket.listen(16).unwrap()
}

async fn pass<R, W>(mut from: R, mut to: W, bytes_per_s: u32, count: &AtomicU64)
where
    R: AsyncReadExt + Unpin,
    W: AsyncWriteExt + Unpin,
{
    let clock = Env::real().clock;
    let mut free_at = clock.now();
    let mut buffer = vec![0; CHUNK_BYTES];
    while let Ok(bytes @ 1..) = from.read(&mut buffer).await {
        count.fetch_add(bytes as u64, Ordering::SeqCst);
        free_at = free_at.max(clock.now())
            + Duration::from_secs(1) * u32::try_from(bytes).unwrap() / bytes_per_s;
        clock.sleep_until(free_at).await;
        if to.write_all(&buffer[..bytes]).await.is_err() {
            return;
        }
    }
}
