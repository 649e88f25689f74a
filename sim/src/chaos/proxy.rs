//! What stands between bridge and endpoint: cuts connections wherever they are, stalls them, turns new ones away.

use std::io;

use leasebridge::env::{Address, BoxStream, Env};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Bytes fetched by one read: small, so that cuts fall inside frames.
const READ_BYTES: usize = 1 << 10;

/// What goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// Bytes go through both ways as they come.
    Passing,
    /// Nothing: bytes are kept, and go on when the mood changes.
    Stalling,
    /// Connections end as soon as they move, and new ones at once.
    Cutting,
}

/// A proxy at work. Dropping it closes everything that goes through it.
pub(super) struct Proxy {
    address: Address,
    mood: watch::Sender<Mood>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port and leads to `target`.
    pub(super) async fn start(target: Address) -> io::Result<Self> {
        let env = Env::real();
        let any = Address::tcp("127.0.0.1", 0);
        let mut listener = env.transport.bind(&any).await?;
        let address = listener.local_address();
        let (mood, moods) = watch::channel(Mood::Passing);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                // What has ended is forgotten here, so that the set stays as small as what lives.
                while connections.try_join_next().is_some() {}
                let (env, target, moods) = (env.clone(), target.clone(), moods.clone());
                connections.spawn(async move {
                    if *moods.borrow() == Mood::Cutting {
                        return;
                    }
                    if let Ok(far) = env.transport.connect(&target).await {
                        forward(near, far, moods).await;
                    }
                });
            }
        });
        Ok(Self {
            address,
            mood,
            task,
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// From now on.
    pub(super) fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Forwards until either end closes or the connection is cut; dropping both ends then closes them.
async fn forward(near: BoxStream, far: BoxStream, moods: watch::Receiver<Mood>) {
    let (from_bridge, to_bridge) = tokio::io::split(near);
    let (from_endpoint, to_endpoint) = tokio::io::split(far);
    let mut cut = moods.clone();
    tokio::select! {
        biased;
        _ = cut.wait_for(|mood| *mood == Mood::Cutting) => {}
        _ = pass(from_bridge, to_endpoint, moods.clone()) => {}
        _ = pass(from_endpoint, to_bridge, moods) => {}
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut moods: watch::Receiver<Mood>,
) -> io::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let moving = moods.wait_for(|mood| *mood != Mood::Stalling).await;
        moving.map_err(io::Error::other)?;
        to.write_all(&buffer[..count]).await?;
        to.flush().await?;
    }
}
