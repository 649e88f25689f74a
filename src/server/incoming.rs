//! Accepting connections, one after another, as many as may exist.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use tokio::sync::Semaphore;

use crate::env::{Env, Listener};
use crate::repeated::Repeated;
use crate::wire::AcceptedConnection;

/// Connections at once; further ones wait to be accepted. Each holds a window and a few tasks.
const CONNECTIONS_MAX: usize = 1_024;

/// The pause after a failed accept: it fails for want of file descriptors, which take time to come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The connections that arrive at `listener`, at most `CONNECTIONS_MAX` at once.
///
/// Never ends and never fails: an accept that fails is logged and tried again.
pub fn incoming(
    env: &Env,
    listener: Box<dyn Listener>,
) -> impl Stream<Item = io::Result<AcceptedConnection>> + Send + use<> {
    let clock = Arc::clone(&env.clock);
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let failures = Arc::new(Repeated::default());
    futures_util::stream::unfold(listener, move |mut listener| {
        let clock = Arc::clone(&clock);
        let permits = Arc::clone(&permits);
        let failures = Arc::clone(&failures);
        async move {
            let permit = permits.acquire_owned().await.ok()?;
            loop {
                match listener.accept().await {
                    Ok((stream, peer)) => {
                        let accepted = AcceptedConnection::new(stream, peer, permit);
                        return Some((Ok(accepted), listener));
                    }
                    Err(error) => {
                        if let Some(unsaid) = failures.happened(clock.now()) {
                            tracing::warn!(%error, unsaid, "a connection could not be accepted");
                        }
                        clock.sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
    })
}
