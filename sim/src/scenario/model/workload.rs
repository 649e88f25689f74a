//! What producers and operators do, with what may be drawn about it.

use super::{Between, Bytes, Percent};
use crate::plan::Micros;

/// What producers do. The default: 100 commands, spread over the run, most of them done at the first delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// How many commands.
    pub commands: Between<u32>,
    /// When the first may come.
    pub from: Micros,
    /// When the last may come; none: at nine tenths of the run.
    pub until: Option<Micros>,
    /// Moments at which commands come in crowds: half of them fall into the second after one.
    pub bursts: Between<u32>,
    /// Which share has an idempotency key.
    pub keys: Between<Percent>,
    /// Which share of those with a key repeats an earlier command exactly.
    pub duplicates: Between<Percent>,
    /// Which share of those with a key takes an earlier command's key for another body.
    pub conflicts: Between<Percent>,
    /// Which share has a deadline.
    pub deadlines: Between<Percent>,
    /// How long such a deadline gives.
    pub deadline: Between<Micros>,
    /// Bytes of the body beside what the simulator needs in it.
    pub padding: Between<Bytes>,
    /// What endpoints do with commands.
    pub behaviours: Vec<BehaviourMix>,
    /// What operators do.
    pub operators: Vec<OperatorAct>,
}

/// One way in which endpoints treat commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BehaviourMix {
    /// How many of all weights.
    pub weight: u32,
    /// Execution by execution; the last one stays.
    pub steps: Vec<StepRange>,
}

/// One or more executions alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepRange {
    /// How often in a row.
    pub times: Between<u32>,
    /// How the execution ends.
    pub kind: StepKind,
}

/// What happens in one execution; see [`Step`](crate::plan::Step).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// Works so long, then it is executed.
    Done(Between<Micros>),
    /// Works so long, then answers no.
    Reject(Between<Micros>),
    /// Works so long, then answers no for good.
    Refuse(Between<Micros>),
    /// Asks to be spared for so long.
    Unavailable(Between<Micros>),
    /// Takes the command and never answers: a doubt.
    Silent,
    /// The handler panics.
    Panic,
    /// The endpoint's process dies of it.
    KillEndpoint,
    /// The bridge's process dies while it is in flight.
    KillBridge,
}

/// Something operators do, some number of times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorAct {
    /// What the operator does.
    pub act: Act,
    /// How often in a run.
    pub count: Between<u32>,
    /// When; none: at any time of the run.
    pub at: Option<Between<Micros>>,
    /// On which route; none: any.
    pub route: Option<String>,
}

/// What operators can do; see [`OpKind`](crate::plan::OpKind).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Requeue everything in poison.
    RequeueAll,
    /// Have everything in poison requeued by a job; core speed only.
    RequeueJob,
    /// Purge the oldest task in poison.
    Purge,
    /// Pause a route for so long.
    Pause(Between<Micros>),
    /// Move what waits on a route to another one.
    MoveRoute,
    /// Take tasks with `drain()`; core speed only.
    Drain {
        /// How many at most.
        take: Between<u32>,
        /// How likely what was taken leaves the queue.
        commit: Percent,
    },
}

impl BehaviourMix {
    /// Steps that happen once each.
    pub fn new(weight: u32, steps: Vec<StepKind>) -> Self {
        let once = |kind| StepRange {
            times: Between::only(1),
            kind,
        };
        Self {
            weight,
            steps: steps.into_iter().map(once).collect(),
        }
    }
}

impl OperatorAct {
    /// At any time, on any route.
    pub fn new(act: Act, count: impl Into<Between<u32>>) -> Self {
        Self {
            act,
            count: count.into(),
            at: None,
            route: None,
        }
    }
}

impl Default for Workload {
    fn default() -> Self {
        let work = Between::new(Micros::from_millis(1), Micros::from_millis(50));
        Self {
            commands: 100.into(),
            from: Micros(0),
            until: None,
            bursts: 0.into(),
            keys: Percent(50).into(),
            duplicates: Percent(10).into(),
            conflicts: Percent(2).into(),
            deadlines: Percent(0).into(),
            deadline: Between::new(Micros::from_secs(5), Micros::from_secs(60)),
            padding: Between::new(Bytes(0), Bytes(512)),
            behaviours: vec![BehaviourMix::new(1, vec![StepKind::Done(work)])],
            operators: Vec::new(),
        }
    }
}
