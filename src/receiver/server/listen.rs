//! Listening: connections come in, as many as may, and each socket gets a task of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{FLUSH_DEADLINE, ReceiverError};
use crate::env::{Address, BoxStream, Env, Listener, timeout};
use crate::receiver::engine::{Engine, Phase};
use crate::receiver::link::{self, Input};
use crate::wire::{FrameReader, HELLO_BYTES_MAX, OutboxLimits, outbox};

/// The pause after a failed accept: the usual cause, too many open files, takes a while to pass.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn bind(env: &Env, address: &Address) -> Result<Box<dyn Listener>, ReceiverError> {
    let bound = env.transport.bind(address).await;
    bound.map_err(|error| ReceiverError::Bind {
        address: address.clone(),
        error,
    })
}

/// What both listeners share.
#[derive(Clone)]
pub(super) struct Accept {
    pub(super) engine: Arc<Engine>,
    connections: Arc<Semaphore>,
}

/// A connection, and the permit that counts it against the limit of connections.
pub(super) struct Connection {
    pub(super) stream: BoxStream,
    pub(super) peer: String,
    pub(super) permit: OwnedSemaphorePermit,
}

impl Accept {
    pub(super) fn new(engine: &Arc<Engine>, connections: &Arc<Semaphore>) -> Self {
        Self {
            engine: Arc::clone(engine),
            connections: Arc::clone(connections),
        }
    }

    /// The next connection; `None` once the receiver drains. Cancel safe.
    pub(super) async fn next(&self, listener: &mut dyn Listener) -> Option<Connection> {
        let mut phase = self.engine.phase.subscribe();
        let (clock, repeats) = (&self.engine.env.clock, &self.engine.repeats);
        loop {
            let accepted = tokio::select! {
                biased;
                _ = phase.wait_for(|phase| *phase >= Phase::Draining) => return None,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    if let Some(unsaid) = repeats.accepts_failed.happened(clock.now()) {
                        tracing::warn!(%error, unsaid, "can't accept a connection");
                    }
                    clock.sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let counters = &self.engine.counters;
            let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
                if let Some(unsaid) = repeats.connections_refused.happened(clock.now()) {
                    tracing::warn!(
                        peer,
                        unsaid,
                        "connection refused: there are as many as may be"
                    );
                }
                counters.connections_refused.add(1);
                continue;
            };
            counters.connections.add(1);
            return Some(Connection {
                stream,
                peer,
                permit,
            });
        }
    }
}

/// Serves framed sockets until the receiver drains; links that are up go on by themselves.
pub(super) async fn serve_sockets(accept: Accept, mut listener: Box<dyn Listener>) {
    while let Some(connection) = accept.next(&mut *listener).await {
        tokio::spawn(serve_socket(Arc::clone(&accept.engine), connection));
    }
}

async fn serve_socket(engine: Arc<Engine>, connection: Connection) {
    let Connection {
        stream,
        peer,
        permit,
    } = connection;
    let (reading, writing) = tokio::io::split(stream);
    let points = &*engine.env.points;
    let limits = OutboxLimits::for_peer(HELLO_BYTES_MAX, engine.options.write_deadline);
    let (sender, source) = outbox(limits.at(points));
    let clock = Arc::clone(&engine.env.clock);
    let mut writer = tokio::spawn(async move { source.write_to(writing, &*clock).await });
    let input = Input::Socket(FrameReader::new(reading, HELLO_BYTES_MAX).at(points));
    link::serve(&engine, input, sender, &peer).await;
    // Every write has its own deadline; this one is for a peer that takes byte after byte.
    let flushed = timeout(&*engine.env.clock, FLUSH_DEADLINE, &mut writer).await;
    match flushed {
        Ok(Ok(Err(error))) => tracing::info!(peer, %error, "the link's writer gave up"),
        Ok(Ok(Ok(())) | Err(_)) => {}
        Err(_) => writer.abort(),
    }
    drop(permit);
}
