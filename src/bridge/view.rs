//! The status of a bridge for whoever doesn't own it, such as the services.

use std::sync::Arc;

use super::route::Route;
use crate::env::Clock;
use crate::observe::BridgeStatus;

/// Reads a bridge's status; cheap to clone. It keeps the numbers alive and nothing else: of a bridge that has
/// ended it shows the last ones.
#[derive(Clone)]
pub struct BridgeView {
    clock: Arc<dyn Clock>,
    routes: Arc<[Arc<Route>]>,
}

impl BridgeView {
    pub(super) fn new(clock: Arc<dyn Clock>, routes: Arc<[Arc<Route>]>) -> Self {
        Self { clock, routes }
    }

    /// What the bridge does and has done.
    pub fn status(&self) -> BridgeStatus {
        let now = self.clock.now();
        BridgeStatus {
            routes: self.routes.iter().map(|route| route.status(now)).collect(),
        }
    }

    /// Whether anything was cut off, because the time to drain was over.
    pub(super) fn is_cut(&self) -> bool {
        self.routes.iter().any(|route| route.cut.is_cancelled())
    }
}

impl std::fmt::Debug for BridgeView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.status().fmt(f)
    }
}
