//! The bridge's own services: ingest for producers, admin for operators.
//!
//! Both stand on one listener. A reply that promises something is sent after the queue has said that it
//! is durable; nothing here keeps state of its own but the samples that rates are made of. What is seen of the
//! process is gathered in one place, as an [`crate::observe::Snapshot`].

// Numbers of others are added up here.
#![warn(clippy::arithmetic_side_effects)]

mod admin;
mod convert;
mod gather;
mod ingest;
mod rates;
mod rules;
mod story;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tower::util::MapResponseLayer;

use crate::env::{Env, Listener};
use crate::listening::Reception;
use crate::observe::Beside;
use crate::queue::{BODY_BYTES_LIMIT, Command, SafeTaskQueue};
use crate::wire::dated;
use crate::wire::v1::admin_server::AdminServer;
use crate::wire::v1::ingest_server::IngestServer;

use admin::AdminService;
use gather::Gatherer;
use ingest::IngestService;

/// The largest request of a producer: a body of the largest size, or a batch of small ones, and what stands around.
const REQUEST_BYTES_MAX: usize = BODY_BYTES_LIMIT as usize + (2 << 20);

/// Tells what the process runs beside its queue: `BridgeView::status`, and `RunningReceiver::status`, where there is
/// one. Asked for each status.
pub type Besides = Arc<dyn Fn() -> Beside + Send + Sync>;

/// What the services need to know.
#[derive(Clone)]
pub struct ServerOptions {
    /// The configured routes and the largest body of each, in bytes. Others are refused.
    pub routes: BTreeMap<String, u32>,
    /// What runs beside the queue.
    pub beside: Besides,
    /// What the bridge is about.
    pub phase: watch::Receiver<Phase>,
    /// Who is connected, producers and operators together. Neither takes the last sixteenth of the places from the other.
    pub reception: Arc<Reception>,
    /// Files and connections that the process may have open, to be shown; zero if that is not known.
    pub open_files_max: u64,
}

/// What the bridge is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Requests of all kinds are served.
    Serving,
    /// Nothing new is accepted; what is in flight is finished.
    Draining,
    /// Requests are answered and connections closed.
    Stopping,
}

/// Serves `queue` to whoever connects to `listener`, until [`Phase::Stopping`] and the last answer; a
/// watcher is no answer and may keep it longer. Dropped, it cuts all connections, and requests that were
/// being answered are in doubt for those who asked.
///
/// # Errors
/// When tonic gives up, which it does for no reason that is known.
pub async fn serve(
    env: Env,
    listener: Box<dyn Listener>,
    queue: SafeTaskQueue<Command>,
    options: ServerOptions,
) -> Result<(), tonic::transport::Error> {
    let reception = Arc::clone(&options.reception);
    let gatherer = Arc::new(Gatherer::new(&env, &queue, &options, &reception));
    let ingest = IngestServer::new(IngestService::new(queue.clone(), options.clone()))
        .max_decoding_message_size(REQUEST_BYTES_MAX);
    let mut phase = options.phase.clone();
    let stopping = async move {
        // An error means that the bridge is gone, which ends it as well.
        let _ended = phase.wait_for(|phase| *phase == Phase::Stopping).await;
    };
    let admin = AdminServer::new(AdminService {
        queue,
        options,
        gatherer: Arc::clone(&gatherer),
        env: env.clone(),
    });
    let serving = reception
        .server(Arc::new(rules::of))
        // Windows begin small and grow with what is taken: what arrives ahead of its stream is bounded by them.
        .http2_adaptive_window(Some(true))
        .layer(MapResponseLayer::new(dated(Arc::clone(&env.clock))))
        .add_service(ingest)
        .add_service(admin)
        .serve_with_incoming_shutdown(reception.connections(listener), stopping);
    tokio::select! {
        biased;
        ended = serving => ended,
        never = gatherer.sample() => match never {},
    }
}

#[cfg(test)]
mod tests;
