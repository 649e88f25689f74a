//! Why a node didn't start, or can't go on.

use std::fmt;
use std::path::PathBuf;

use crate::bridge;
use crate::env::Address;
use crate::queue::{LeaseError, LogFailure, OpenError};

/// Whom a failure concerns: what a process makes its exit code of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Whoever wrote the options: nothing was started, and another start ends the same way.
    Usage,
    /// The log's disk. What was promised is on it; another start recovers it.
    Journal,
    /// Anything else: an address that is taken, a thread that can't be had, a part that broke.
    Failed,
}

/// A node was not started. Nothing was delivered, and the log is as it was or sealed again.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The queue was not opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The log holds tasks of routes that are not configured, and [`super::OnMissingRoute::Refuse`] is set.
    #[error(
        "the queue in {} holds tasks of routes that are not configured: {}",
        dir.display(),
        listed(routes)
    )]
    MissingRoutes {
        /// The log's folder.
        dir: PathBuf,
        /// The routes, in the order of their definition.
        routes: Vec<MissingRoute>,
    },
    /// A route can't be defined.
    #[error("route `{}`: {error}", route.escape_debug())]
    Route {
        /// The route's name, as it was given in the options.
        route: String,
        /// What the queue says.
        #[source]
        error: LeaseError,
    },
    /// Nobody can listen there.
    #[error("can't listen on {address}: {error}")]
    Listen {
        /// The address that was to be bound.
        address: Address,
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
    /// The bridge was not started.
    #[error(transparent)]
    Bridge(#[from] bridge::StartError),
    /// The journal failed meanwhile, or the log could not be sealed again after another refusal.
    #[error(transparent)]
    Failed(#[from] NodeFailure),
}

/// A route that the log knows and nobody configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingRoute {
    /// The route's name in the log.
    pub route: String,
    /// Its tasks that wait.
    pub pending: u64,
    /// Its tasks in poison.
    pub poison: u64,
}

/// A node can't go on. What it had promised is on the disk; end the process, and start it again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeFailure {
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] LogFailure),
    /// The disk took too long to seal the log.
    #[error("the disk didn't finish in time: the log is not sealed, the next start recovers it")]
    Unsealed,
    /// Somebody closed the queue while the node was at work.
    #[error("the queue was closed under the node")]
    Closed,
    /// The services are gone.
    #[error("the services ended: {0}")]
    Services(String),
    /// A part of the bridge is gone.
    #[error("the bridge ended: {0}")]
    Bridge(String),
}

impl StartError {
    /// Whom it concerns.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Open(OpenError::Options(_)) | Self::MissingRoutes { .. } | Self::Bridge(_) => {
                FailureKind::Usage
            }
            Self::Open(OpenError::Geometry(_) | OpenError::Log(_) | OpenError::Journal(_)) => {
                FailureKind::Journal
            }
            Self::Route { .. } => FailureKind::Journal,
            Self::Open(OpenError::Thread(_)) | Self::Listen { .. } => FailureKind::Failed,
            Self::Failed(failure) => failure.kind(),
        }
    }
}

impl NodeFailure {
    /// Whom it concerns; never who wrote the options.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Journal(_) | Self::Unsealed => FailureKind::Journal,
            Self::Closed | Self::Services(_) | Self::Bridge(_) => FailureKind::Failed,
        }
    }
}

impl fmt::Display for MissingRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            route,
            pending,
            poison,
        } = self;
        let route = route.escape_debug();
        write!(f, "{route} ({pending} waiting, {poison} in poison)")
    }
}

fn listed(routes: &[MissingRoute]) -> String {
    let routes: Vec<_> = routes.iter().map(ToString::to_string).collect();
    routes.join(", ")
}
