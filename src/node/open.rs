//! The two steps of a start: the queue is opened, then everything that runs over it is started.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::error::{MissingRoute, NodeFailure, StartError};
use super::options::{NodeOptions, OnMissingRoute};
use super::part::Part;
use super::running::Node;
use super::status::NodeView;
use crate::bridge::Bridge;
use crate::env::{Env, timeout};
use crate::listening::{Reception, Speech};
use crate::observe::Beside;
use crate::queue::{Command, LeaseError, OpenError, SafeTaskQueue};
use crate::server::{Phase, ServerOptions, serve};

/// How long sealing the log may take after a start that was refused.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(15);

/// A node whose queue is open and that does nothing yet: nothing is leased, nobody is answered. Whoever follows
/// the queue from its opening on subscribes now.
///
/// Dropped, it leaves the log unsealed; the next opening recovers it.
pub struct OpenNode {
    env: Env,
    options: NodeOptions,
    queue: SafeTaskQueue<Command>,
}

impl OpenNode {
    pub(super) async fn open(env: Env, mut options: NodeOptions) -> Result<Self, OpenError> {
        options.queue.env = env.clone();
        let queue = SafeTaskQueue::open(options.queue.clone()).await?;
        Ok(Self {
            env,
            options,
            queue,
        })
    }

    /// The queue, which is open and of which nothing is leased yet.
    pub fn queue(&self) -> &SafeTaskQueue<Command> {
        &self.queue
    }

    /// Starts what runs over the queue. Needs a tokio runtime.
    ///
    /// Not cancel safe: dropped, it cuts off what was started and leaves the log unsealed.
    ///
    /// # Errors
    /// [`StartError`]; what was started is ended, and the log is sealed, so that the next opening has nothing to
    /// recover.
    pub async fn start(self) -> Result<Node, StartError> {
        match self.launch().await {
            Ok(node) => Ok(node),
            Err(error) => {
                seal(&self.env, &self.queue, CLOSE_TIMEOUT).await?;
                Err(error)
            }
        }
    }

    async fn launch(&self) -> Result<Node, StartError> {
        let Self {
            env,
            options,
            queue,
        } = self;
        options
            .bridge
            .validate()
            .map_err(crate::bridge::StartError::from)?;
        self.check_routes()?;
        let names = options.bridge.routes.iter().map(|route| &*route.name);
        let defined = queue.define_routes(&names.collect::<Vec<_>>()).await;
        defined.map_err(|(route, error)| undefined(route, error))?;
        let bound = env.transport.bind(&options.listen).await;
        let listener = bound.map_err(|error| StartError::Listen {
            address: options.listen.clone(),
            error,
        })?;
        let address = listener.local_address();
        let bridge = Bridge::start(env.clone(), queue.clone(), options.bridge.clone())?;
        let (phase, watching) = watch::channel(Phase::Serving);
        let reception = Reception::new(env, options.connections_max, Speech::Http2);
        let view = NodeView {
            queue: queue.clone(),
            bridge: bridge.view(),
            reception: Arc::clone(&reception),
            phase: watching.clone(),
        };
        let shown = bridge.view();
        let routes = options.bridge.routes.iter();
        let routes = routes.map(|route| (route.name.clone(), route.body_bytes_max));
        let server_options = ServerOptions {
            routes: routes.collect(),
            beside: Arc::new(move || Beside {
                bridge: Some(shown.status()),
                receiver: None,
            }),
            phase: watching,
            reception,
            open_files_max: options.open_files_max,
        };
        let services = serve(env.clone(), listener, queue.clone(), server_options);
        Ok(Node {
            env: env.clone(),
            address,
            drain_timeout: options.drain_timeout,
            services: Part::spawn(services),
            bridge,
            queue: queue.clone(),
            view,
            phase,
        })
    }

    /// Tasks on routes that nobody configured would wait for ever: that is for a person to decide.
    fn check_routes(&self) -> Result<(), StartError> {
        let configured = &self.options.bridge.routes;
        let mut missing = Vec::new();
        for known in self.queue.status().routes {
            let (pending, poison) = (known.counts.pending(), known.counts.poison);
            let is_configured = configured.iter().any(|route| route.name == known.route);
            if pending + poison == 0 || is_configured {
                continue;
            }
            match self.options.on_missing_route {
                OnMissingRoute::Refuse => missing.push(MissingRoute {
                    route: known.route,
                    pending,
                    poison,
                }),
                OnMissingRoute::Hold => tracing::warn!(
                    route = known.route,
                    tasks = pending + poison,
                    "holds the tasks of a route that is not configured"
                ),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(StartError::MissingRoutes {
            dir: self.options.queue.dir.clone(),
            routes: missing,
        })
    }
}

/// Closes the queue in order, if that takes no longer than `within`.
pub(super) async fn seal(
    env: &Env,
    queue: &SafeTaskQueue<Command>,
    within: Duration,
) -> Result<(), NodeFailure> {
    match timeout(&*env.clock, within, queue.close()).await {
        Ok(closed) => Ok(closed?),
        Err(_elapsed) => Err(NodeFailure::Unsealed),
    }
}

fn undefined(route: String, error: LeaseError) -> StartError {
    match error {
        LeaseError::InDoubt(failure) => NodeFailure::Journal(failure).into(),
        error => StartError::Route { route, error },
    }
}

impl std::fmt::Debug for OpenNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenNode")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
