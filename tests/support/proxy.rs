//! A proxy between bridge and endpoint that cuts a connection in the middle of a frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use leasebridge::env::{Address, BoxStream, Env};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::local;

/// Where a connection is cut.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// After so many bytes from the bridge.
    FromBridge(usize),
    /// After so many bytes from the endpoint.
    FromEndpoint(usize),
}

/// Forwards connections; the first `cuts` of them are cut.
pub(crate) struct Proxy {
    pub(crate) address: Address,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn start(target: Address, cut: Cut, cuts: usize) -> Self {
        let mut listener = Env::real().transport.bind(&local()).await.unwrap();
        let address = listener.local_address();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst);
                let target = target.clone();
                tokio::spawn(async move {
                    let far = Env::real().transport.connect(&target).await.unwrap();
                    let cut = (number < cuts).then_some(cut);
                    forward(near, far, cut).await;
                });
            }
        });
        Self {
            address,
            connections,
            task,
        }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Forwards until either end closes or the cut is reached; dropping both ends then closes them.
async fn forward(near: BoxStream, far: BoxStream, cut: Option<Cut>) {
    let (mut from_bridge, mut to_bridge) = tokio::io::split(near);
    let (mut from_endpoint, mut to_endpoint) = tokio::io::split(far);
    let (up, down) = match cut {
        Some(Cut::FromBridge(bytes)) => (bytes, usize::MAX),
        Some(Cut::FromEndpoint(bytes)) => (usize::MAX, bytes),
        None => (usize::MAX, usize::MAX),
    };
    tokio::select! {
        () = copy(&mut from_bridge, &mut to_endpoint, up) => {}
        () = copy(&mut from_endpoint, &mut to_bridge, down) => {}
    }
}

async fn copy<R, W>(from: &mut R, to: &mut W, mut left: usize)
where
    R: AsyncReadExt + Unpin,
    W: AsyncWriteExt + Unpin,
{
    let mut buffer = vec![0; 16 << 10];
    while left > 0 {
        let Ok(count @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        let count = count.min(left);
        left -= count;
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
        let _ = to.flush().await;
    }
}
