//! What slow lines have carried, said at the end of a run with what they were to carry at the most.

use std::collections::BTreeMap;

use super::body::Body;
use super::world::World;
use crate::history::What;
use crate::plan::{HostName, OpKind};

/// By what part more than the bytes of all frames may be sent.
const MORE_PERCENT: u64 = 10;

/// What a frame of a command holds beside its body: the route, the key, the ids, and what HTTP/2 puts around it.
const FRAME_BYTES: u64 = 128;

/// What both transports cost once: the preface and settings of HTTP/2, the request, `Hello`.
const HELLO_BYTES: u64 = 8 << 10;

/// What both transports cost each heartbeat interval: heartbeats, what answers the other side's, pings, windows.
const BEAT_BYTES: u64 = 256;

impl World<'_> {
    /// Says for each line from a bridge to an endpoint what it has carried.
    pub(super) fn tell_lines(&self) {
        if self.plan.knobs.line.is_none() {
            return;
        }
        let mut asked: BTreeMap<(&HostName, &HostName), u64> = BTreeMap::new();
        for op in &self.plan.ops {
            let (OpKind::Enqueue { route, .. }, Some(body)) = (&op.kind, Body::of(self.plan, op))
            else {
                continue;
            };
            let mut routes = self.plan.topology.routes.iter();
            if let Some(route) = routes.find(|known| known.name == *route) {
                let bytes = body.len() as u64 + FRAME_BYTES;
                *asked.entry((&op.bridge, &route.endpoint)).or_default() += bytes;
            }
        }
        let beats = self.now().0 / self.plan.knobs.heartbeat.0.max(1) + 1;
        for ((from, to), carried) in self.network.carried() {
            if let Some(asked) = asked.get(&(&from, &to)) {
                let limit = asked + asked * MORE_PERCENT / 100 + HELLO_BYTES + beats * BEAT_BYTES;
                self.record_of(
                    &from,
                    What::Gauge {
                        name: "line_bytes".into(),
                        value: carried,
                        limit,
                    },
                );
            }
        }
    }
}
