//! Listening: connections come in, as many as may, and each socket gets a task of its own.

use std::sync::Arc;

use super::{FLUSH_DEADLINE, ReceiverError};
use crate::env::{Address, Env, Listener, timeout};
use crate::listening::AcceptedConnection;
use crate::receiver::engine::{Engine, Phase};
use crate::receiver::link::{self, Input};
use crate::wire::{FrameReader, HELLO_BYTES_MAX, OutboxLimits, outbox};

pub(super) async fn bind(env: &Env, address: &Address) -> Result<Box<dyn Listener>, ReceiverError> {
    let bound = env.transport.bind(address).await;
    bound.map_err(|error| ReceiverError::Bind {
        address: address.clone(),
        error,
    })
}

/// Serves framed sockets until the receiver drains; links that are up go on by themselves.
pub(super) async fn serve_sockets(engine: Arc<Engine>, mut listener: Box<dyn Listener>) {
    let [sockets, _] = &engine.receptions;
    let mut phase = engine.phase.subscribe();
    loop {
        let connection = tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase >= Phase::Draining) => return,
            connection = sockets.accept(&mut *listener) => connection,
        };
        tokio::spawn(engine.of_link(serve_socket(Arc::clone(&engine), connection)));
    }
}

async fn serve_socket(engine: Arc<Engine>, connection: AcceptedConnection) {
    let visitor = connection.visitor().clone();
    // One link is all that this connection is for.
    visitor.begin_request();
    let (reading, writing) = tokio::io::split(connection);
    let points = &*engine.env.points;
    let limits = OutboxLimits::for_peer(HELLO_BYTES_MAX, engine.options.write_deadline);
    let (sender, source) = outbox(limits.at(points));
    let clock = Arc::clone(&engine.env.clock);
    let mut writer = tokio::spawn(async move { source.write_to(writing, &*clock).await });
    let input = Input::Socket(FrameReader::new(reading, HELLO_BYTES_MAX).at(points));
    link::serve(&engine, input, sender, &visitor, visitor.peer()).await;
    // Every write has its own deadline; this one is for a peer that takes byte after byte.
    let flushed = timeout(&*engine.env.clock, FLUSH_DEADLINE, &mut writer).await;
    match flushed {
        Ok(Ok(Err(error))) => {
            tracing::info!(peer = visitor.peer(), %error, "the link's writer gave up");
        }
        // Its panic is the link's.
        Ok(Err(ended)) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
        Ok(Ok(Ok(())) | Err(_)) => {}
        Err(_) => writer.abort(),
    }
}
