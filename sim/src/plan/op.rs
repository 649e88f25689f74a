//! What producers and operators do, and how the endpoint will behave towards it.

use std::fmt;

use leasebridge::queue::RouteMove;
use serde::{Deserialize, Serialize};

use super::{HostName, Micros, OpId};

/// What an operator moves from a route to another one: all that may be.
pub const MOVED: RouteMove = RouteMove {
    with_poison: true,
    dry_run: false,
};

/// What a producer or an operator does once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpSpec {
    /// Its number: unique, rising with the time.
    pub id: OpId,
    /// When it begins.
    pub at: Micros,
    /// The bridge it is for.
    pub bridge: HostName,
    /// What it is.
    #[serde(flatten)]
    pub kind: OpKind,
}

/// What an operation does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "op")]
pub enum OpKind {
    /// A producer enqueues one command. In doubt or refused for want of room it tries again, with its key,
    /// until the workload ends; without a key only after a definite refusal.
    Enqueue {
        /// The host that the producer runs on.
        producer: HostName,
        /// The route that the command takes.
        route: String,
        /// Idempotency key; operations with the same one are repetitions (or, with another body, conflicts).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// The command's own deadline, from its enqueue.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline: Option<Micros>,
        /// Bytes of the body beside what the simulator needs in it.
        padding: u32,
        /// What its endpoint does with it.
        behaviour: Behaviour,
    },
    /// An operator requeues everything that is in poison then.
    RequeueAll,
    /// Core world: an operator has the queue requeue everything that is in poison then, by a job that nobody waits for.
    RequeueJob,
    /// An operator purges the oldest task in poison of a route.
    Purge {
        /// The route whose oldest poisoned task goes.
        route: String,
    },
    /// An operator pauses a route until the span is over.
    Pause {
        /// The route that nothing is leased from.
        route: String,
        /// After so long it is resumed.
        span: Micros,
    },
    /// An operator moves what waits on a route, and what is in poison there, to another one.
    MoveRoute {
        /// The route that they wait on.
        route: String,
        /// The route that gets them.
        to: String,
    },
    /// Core world: takes so many tasks with `drain()`, offers them to the queue that has them, which refuses, and
    /// commits or drops the guard.
    Drain {
        /// The route they are taken from.
        route: String,
        /// How many at most.
        count: u32,
        /// Commit; otherwise everything goes back.
        commit: bool,
    },
}

/// What the endpoint does with a command, execution by execution: the steps are used up one by one, the last
/// one stays. It travels inside the command's body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Behaviour(pub Vec<Step>);

/// One execution. Written `done 30ms`, `reject 5ms`, `refuse 0s`, `unavailable 2s`, `silent`, `panic`,
/// `kill_endpoint`, `kill_bridge`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Step {
    /// Works so long, then it is executed.
    Done(Micros),
    /// Works so long, then answers no.
    Reject(Micros),
    /// Works so long, then answers no for good.
    Refuse(Micros),
    /// Asks to be spared for so long.
    Unavailable(Micros),
    /// Takes the command and never answers: a doubt.
    Silent,
    /// The handler panics: a rejected reply.
    Panic,
    /// The endpoint's process dies of it.
    KillEndpoint,
    /// The bridge's process dies while it is in flight.
    KillBridge,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(work) => write!(f, "done {work}"),
            Self::Reject(work) => write!(f, "reject {work}"),
            Self::Refuse(work) => write!(f, "refuse {work}"),
            Self::Unavailable(span) => write!(f, "unavailable {span}"),
            Self::Silent => f.write_str("silent"),
            Self::Panic => f.write_str("panic"),
            Self::KillEndpoint => f.write_str("kill_endpoint"),
            Self::KillBridge => f.write_str("kill_bridge"),
        }
    }
}

impl From<Step> for String {
    fn from(step: Step) -> Self {
        step.to_string()
    }
}

impl TryFrom<String> for Step {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (word, span) = text.split_once(' ').unwrap_or((&text, ""));
        let span = || span.parse::<Micros>().map_err(|error| error.to_string());
        Ok(match word {
            "done" => Self::Done(span()?),
            "reject" => Self::Reject(span()?),
            "refuse" => Self::Refuse(span()?),
            "unavailable" => Self::Unavailable(span()?),
            "silent" => Self::Silent,
            "panic" => Self::Panic,
            "kill_endpoint" => Self::KillEndpoint,
            "kill_bridge" => Self::KillBridge,
            _ => return Err(format!("`{text}` is no step of a behaviour")),
        })
    }
}

impl Behaviour {
    /// What the execution with this number does, from 0.
    pub fn step(&self, execution: usize) -> Step {
        let last = self.0.last().copied();
        let step = self.0.get(execution).copied().or(last);
        step.unwrap_or(Step::Done(Micros(0)))
    }
}
