//! What the bodies of a plan's commands mean.
//!
//! A body begins with the number of the operation whose behaviour it stands for. Operations that repeat
//! another one's command (the same key, route, size and behaviour) carry the first one's number, so that the
//! queue sees the same body; with anything else under the same key they are a conflict.

use std::collections::BTreeMap;

use bytes::Bytes;
use leasebridge::queue::Command;

use crate::plan::{Behaviour, OpId, OpKind, Plan};

/// Bytes of an operation's number at the head of a body.
const OP_BYTES: usize = size_of::<u32>();

/// An enqueue's command and what it does.
pub(super) struct Body {
    /// The operation that a repetition repeats; otherwise the operation itself.
    pub(super) first: OpId,
    pub(super) behaviour: Behaviour,
    padding: u32,
}

/// Those of a plan.
pub(super) struct Bodies {
    by_op: BTreeMap<OpId, Body>,
    padding_max: u32,
}

impl Bodies {
    pub(super) fn of(plan: &Plan) -> Self {
        let mut firsts = BTreeMap::new();
        let mut bodies = BTreeMap::new();
        for op in &plan.ops {
            let OpKind::Enqueue {
                route,
                key,
                padding,
                behaviour,
                ..
            } = &op.kind
            else {
                continue;
            };
            let first = match key {
                None => op.id,
                Some(key) => {
                    let steps: Vec<String> = behaviour.0.iter().map(ToString::to_string).collect();
                    let command = (&op.bridge, key, route, *padding, steps);
                    *firsts.entry(command).or_insert(op.id)
                }
            };
            let body = Body {
                first,
                behaviour: behaviour.clone(),
                padding: *padding,
            };
            bodies.insert(op.id, body);
        }
        let paddings = bodies.values().map(|body: &Body| body.padding);
        Self {
            padding_max: paddings.max().unwrap_or_default(),
            by_op: bodies,
        }
    }

    /// The command of an operation.
    pub(super) fn command(&self, op: OpId) -> Command {
        let body = &self.by_op[&op];
        let mut bytes = vec![0; OP_BYTES + body.padding as usize];
        bytes[..OP_BYTES].copy_from_slice(&body.first.0.to_le_bytes());
        Command::new(bytes)
    }

    /// The operation that a command carries.
    pub(super) fn op(&self, body: &Bytes) -> Option<OpId> {
        let number = body.first_chunk::<OP_BYTES>()?;
        let op = OpId(u32::from_le_bytes(*number));
        self.by_op.contains_key(&op).then_some(op)
    }

    /// What an operation's command does.
    pub(super) fn behaviour(&self, op: OpId) -> &Behaviour {
        &self.by_op[&op].behaviour
    }

    /// The largest padding.
    pub(super) fn padding_max(&self) -> u32 {
        self.padding_max
    }
}

/// What a command stands for: its route and body (FNV-1a, as seeds are hashed).
pub(super) fn print(route: &str, command: &Command) -> u64 {
    let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let start = 0xcbf2_9ce4_8422_2325;
    let route = route.as_bytes().iter().chain(&[0]);
    route.chain(&command.body).fold(start, hash)
}
