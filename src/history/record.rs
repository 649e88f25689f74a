//! The records: what can be said of a run.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{FaultId, HostName, OpId, TaskName};

/// One line: what happened when and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When, in microseconds: since the Unix epoch, in simulated histories since the start of the run.
    pub at: u64,
    /// On which host; `world` for what was done from outside.
    pub host: HostName,
    /// What happened, with its details.
    #[serde(flatten)]
    pub what: What,
}

/// Something that happened.
///
/// *Told* means: the one who asked knows it, so it is durable from then on. The queue's own feed tells
/// only what is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum What {
    // ── producers and operators ──
    /// A producer sends an enqueue.
    Offered {
        /// The operation; real producers number their lines.
        op: OpId,
        /// To which bridge.
        bridge: HostName,
        /// The route that the command is for.
        route: String,
        /// Its idempotency key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// A hash of route and body: what the key stands for.
        print: u64,
        /// The command's own deadline, as a time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline: Option<u64>,
    },
    /// Told: the command is a task.
    Accepted {
        /// The number of the enqueue that was offered.
        op: OpId,
        /// By which bridge.
        bridge: HostName,
        /// The command's task; the first one's, if it is a duplicate.
        task: TaskName,
        /// The key was known.
        duplicate: bool,
    },
    /// Told: refused, definitely; nothing was kept.
    Declined {
        /// The number of the enqueue that was offered.
        op: OpId,
        /// `full`, `no_room` (of disk or memory), `key_conflict`, `deadline_passed`, `closed`, `unknown_route`, `too_large`.
        why: String,
    },
    /// No answer: it may have been kept or not.
    Unknown {
        /// The number of the enqueue that was offered.
        op: OpId,
        /// What was seen.
        why: String,
    },
    /// Told: an operator's request on a task succeeded. `act`: `requeue`, `purge`, `drained`.
    Operated {
        /// The number of the operator's request.
        op: OpId,
        /// The task that it was about.
        task: TaskName,
        /// What was asked.
        act: String,
    },

    // ── the queue's feed, in its order; the host is the bridge ──
    /// A process has opened the queue. The counts are the admin API's.
    Opened {
        /// Number of this process on its host, from 1.
        boot: u32,
        /// The opening's origin.
        origin: String,
        /// What was found.
        counts: Counts,
        /// What holds on routes that have nothing of their own.
        #[serde(flatten)]
        terms: RouteTerms,
        /// What holds on those that have, by their names.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        routes: BTreeMap<String, RouteTerms>,
    },
    /// The process that opened the queue says of these tasks, all of them, that they were enqueued in an earlier life of
    /// its log and have left for good: endpoints are told so and never execute them again.
    LeftEarlier {
        /// The first of them.
        first: TaskName,
        /// The last, of the same origin.
        last: TaskName,
    },
    /// The queue was closed in order.
    Closed {},
    /// The journal failed: nothing more is promised by this process.
    JournalFailed {
        /// The log's failure, in its words.
        why: String,
    },
    /// Opening was refused.
    OpenRefused {
        /// What was wrong, in the error's words.
        why: String,
        /// Whether the log was called damaged.
        damaged: bool,
    },
    /// One event of the feed.
    Fed {
        /// The feed's own number.
        sequence: u64,
        /// As the feed names it: `enqueued`, `granted`, `extended`, `done`, `rejected`, `refused`, `unavailable`,
        /// `in doubt`, `not sent`, `released`, `due`, `expired`, `too old`, `requeued`, `purged`, `drained`,
        /// `restored`, `rerouted`, `paused`, `resumed`, `clock doubted`, `clock set`.
        kind: Cow<'static, str>,
        /// The task; none for what happens to a route.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task: Option<TaskName>,
        /// Under which lease.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<u32>,
        /// Of which route.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        route: Option<Arc<str>>,
        /// For a grant and an extension: when the lease ends, by the host's own monotonic clock.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until_ms: Option<u64>,
        /// For the end of a lease: where the task went, what it cost, its sends.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        end: Option<LeaseEnd>,
    },
    /// The feed lost so many events because its reader was slow.
    FeedMissed {
        /// How many events nobody will hear of.
        count: u64,
    },
    /// The admin API was asked how many tasks are where.
    Counted {
        /// Tasks by where they are, over all routes.
        counts: Counts,
        /// Tasks that a full listing of the same moment has; absent if none was made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        listed: Option<u64>,
    },
    /// At the end of a run, one task as the admin API shows it; `done` or `gone` if it no longer lives.
    Found {
        /// The task's name.
        task: TaskName,
        /// `ready`, `delayed`, `leased`, `poison`.
        state: String,
        /// The cause, if it is in poison: `retries spent`, `in doubt spent`, `refused`, `expired`, `too old`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<String>,
        /// The epoch of its last lease.
        epoch: u32,
        /// Charged rejections and doubts since the last requeue.
        retries: u16,
        /// Charged doubts since the last requeue.
        in_doubt: u16,
        /// Outcomes that its history counts, and the epochs of the attempts it kept, in order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        attempts: Vec<u32>,
        /// The epochs of kept attempts that a death of the bridge ended, and that were charged for it or brought
        /// the task to poison.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        blamed_for_deaths: Vec<u32>,
    },

    // ── compensations, as those who registered them saw them ──
    /// An attempt registered a compensation.
    Registered {
        /// The task that is being delivered.
        task: TaskName,
        /// The epoch of the lease that delivers it.
        epoch: u32,
        /// Its place in the order of registration, from 1.
        number: u32,
    },
    /// A compensation ran.
    Compensated {
        /// The task that was being delivered.
        task: TaskName,
        /// The epoch of the lease that delivered it.
        epoch: u32,
        /// The number under which it was registered.
        number: u32,
    },
    /// An attempt ended in its holder's eyes: every compensation has run, or was dropped.
    Attempted {
        /// The task that was being delivered.
        task: TaskName,
        /// The epoch of the lease that delivered it.
        epoch: u32,
        /// Whether it succeeded.
        success: bool,
    },

    /// The code that delivers a command panicked. Said before that is settled, and again when the settlement was good.
    Panicked {
        /// The task that was being delivered.
        task: TaskName,
        /// The epoch of the lease that delivered it.
        epoch: u32,
        /// Whether the lease was still good, so that it ended as this says.
        settled: bool,
    },

    // ── endpoints ──
    /// An endpoint's process is up.
    Up {
        /// Number of this process on its host, from 1.
        boot: u32,
        /// Its inbox; another one than before means that memory was lost.
        inbox: String,
    },
    /// The handler begins to execute a command.
    Executing {
        /// The task that was sent.
        task: TaskName,
        /// The epoch that it was sent under.
        epoch: u32,
        /// The send that is executed, from 1.
        send: u32,
        /// The command's operation.
        op: OpId,
        /// Of which bridge's queue.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bridge: Option<HostName>,
    },
    /// The handler has executed a command: its effect is done. `result`: `done`, `rejected`, `refused`, `unavailable`.
    Executed {
        /// The task that was sent.
        task: TaskName,
        /// The epoch that it was executed under.
        epoch: u32,
        /// What it answers.
        result: String,
        /// The command's operation.
        op: OpId,
    },

    /// An endpoint says that it does not know a send that was rolled back, and so that it will not run.
    RolledBack {
        /// The task that was sent.
        task: TaskName,
        /// The epoch that it was sent under.
        epoch: u32,
        /// The send that was rolled back, from 1.
        send: u32,
    },
    /// An endpoint whose effects are lines of a file started, and a command that it had told to be executed is not
    /// there any more.
    Forgotten {
        /// The task that was told to be executed.
        task: TaskName,
    },

    /// The simulator's endpoint: the product's inbox decided otherwise than the reference model beside it.
    Differed {
        /// The task that the decision is about.
        task: TaskName,
        /// The epoch that it came under.
        epoch: u32,
        /// The send that it came with, from 1.
        send: u32,
        /// What the inbox did, in words.
        inbox: String,
        /// What the reference would have done.
        reference: String,
    },
    /// So many decisions of an endpoint's inbox were compared with the reference, over the run.
    Compared {
        /// How many were compared.
        decisions: u64,
    },

    // ── the world ──
    /// A fault began, or happened.
    Fault {
        /// Which of the plan; absent in real histories.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fault: Option<FaultId>,
        /// What it does, for people.
        text: String,
    },
    /// The fault ended.
    Healed {
        /// Its number in the plan.
        fault: FaultId,
        /// What is over, for people.
        text: String,
    },
    /// It changed what something of the product did: an operation failed, a connection broke, a write was torn.
    Struck {
        /// Its number in the plan.
        fault: FaultId,
    },
    /// A process died.
    Died {
        /// `crash`, `power cut`, `pill`, `exit`.
        how: String,
    },
    /// The liveness phase began: from here on the core has no fault and must empty itself.
    Settling {
        /// The bridge of the core.
        bridge: HostName,
        /// The endpoint of the core.
        endpoint: HostName,
    },
    /// What was still pending when the budget was over, each with the reason in words. Nothing if it was reached.
    Pending {
        /// For each thing that was pending, what it waits for.
        reasons: Vec<String>,
    },
    /// Sizes that have limits. In units of the name.
    Gauge {
        /// `log_bytes`, `memory_tasks`, `connections`, `in_flight`, `inbox_entries`.
        name: Cow<'static, str>,
        /// The size at that moment.
        value: u64,
        /// How much is allowed.
        limit: u64,
    },
    /// For people only.
    Note {
        /// What people are to read; nothing is judged by it.
        text: String,
    },
}

impl What {
    /// The task it is about.
    pub fn task(&self) -> Option<TaskName> {
        match self {
            Self::Accepted { task, .. }
            | Self::Operated { task, .. }
            | Self::Found { task, .. }
            | Self::Registered { task, .. }
            | Self::Compensated { task, .. }
            | Self::Attempted { task, .. }
            | Self::Panicked { task, .. }
            | Self::Executing { task, .. }
            | Self::Executed { task, .. }
            | Self::RolledBack { task, .. }
            | Self::Forgotten { task }
            | Self::Differed { task, .. } => Some(*task),
            Self::Fed { task, .. } => *task,
            _ => None,
        }
    }
}

/// What failed attempts cost on a route, how long its tasks wait, and how old they may get.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTerms {
    /// The budget of rejections.
    pub max_retries: u16,
    /// The budget of doubts.
    pub max_in_doubt: u16,
    /// The waits after rejections, one after the other, in milliseconds; none if they follow no schedule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedule_ms: Vec<u64>,
    /// How old a task may get, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_ms: Option<u64>,
}

/// How many tasks are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Waiting for a lease.
    pub ready: u64,
    /// Waiting for a time.
    pub delayed: u64,
    /// Held under a lease.
    pub leased: u64,
    /// In the poison store.
    pub poison: u64,
}

/// What the end of a lease came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseEnd {
    /// `done`, `ready`, `delayed`, `poison`.
    pub next: Cow<'static, str>,
    /// The cause, if it went to poison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Whether it was charged to a budget.
    pub charged: bool,
    /// Sends under this lease.
    pub sends: u32,
    /// Until when it waits, for `delayed`: milliseconds from the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
}
