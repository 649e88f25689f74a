//! What everybody was told so far: the ground on which all groups judge.
//!
//! The ledger believes what it is told and infers nothing. What a record tells is *durable* from then on;
//! what a crash may have added untold is not in here, only the mark that it may have happened: a task's
//! place is **certain** as long as its queue has neither been opened anew nor missed news since the place
//! was told. The groups say what may follow from an uncertain place.

use std::collections::BTreeMap;
use std::hash::{BuildHasherDefault, Hash};
use std::sync::Arc;

use hashbrown::HashMap;
use siphasher::sip::SipHasher13;

use super::Rules;
use super::findings::Spot;
use crate::history::{LeaseEnd, Record, RouteTerms, TaskName, What};
use crate::plan::{HostName, OpId};

/// A host, a route or a task by its place in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct No(u32);

impl No {
    pub(super) fn from_index(index: u32) -> Self {
        Self(index)
    }

    pub(super) fn at(self) -> usize {
        self.0 as usize
    }
}

/// Text and its numbers, in the order in which they came up.
#[derive(Debug, Default)]
struct Names {
    list: Vec<Arc<str>>,
    numbers: Numbering<Arc<str>>,
}

impl Names {
    /// How many names are known by their address first: in a simulated run all that there are.
    const SHARED: usize = 12;

    fn get(&self, name: &Arc<str>) -> Option<No> {
        let shared = self.list.iter().take(Self::SHARED);
        match shared.enumerate().find(|(_, it)| Arc::ptr_eq(it, name)) {
            Some((at, _)) => Some(No(u32::try_from(at).expect("at most a dozen"))),
            None => self.numbers.0.get(name).copied(),
        }
    }

    fn no(&mut self, name: &Arc<str>) -> (No, bool) {
        if let Some(no) = self.get(name) {
            return (no, false);
        }
        self.list.push(name.clone());
        self.numbers.no(name)
    }
}

/// Numbers of what came up, in that order. Asked for every record, and never listed.
#[derive(Debug)]
struct Numbering<N>(HashMap<N, No, BuildHasherDefault<SipHasher13>>);

impl<N> Default for Numbering<N> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<N: Eq + Hash + Clone> Numbering<N> {
    fn no(&mut self, name: &N) -> (No, bool) {
        if let Some(no) = self.0.get(name) {
            return (*no, false);
        }
        let no = No(u32::try_from(self.0.len()).expect("fewer than 2^32 names"));
        self.0.insert(name.clone(), no);
        (no, true)
    }
}

/// Where the feed last said that a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TaskPlace {
    /// It has not said so.
    Unsaid,
    Ready,
    Delayed,
    Leased,
    Poison,
    Done,
    Purged,
    Drained,
}

impl TaskPlace {
    /// Whether it has left the queue.
    pub(super) fn is_gone(self) -> bool {
        matches!(self, Self::Done | Self::Purged | Self::Drained)
    }
}

/// An event of the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FeedEventKind {
    Enqueued,
    Granted,
    Extended,
    /// The end of a lease, or a late *done*.
    End(LeaseOutcome),
    Due,
    Expired,
    TooOld,
    Requeued,
    Purged,
    Drained,
    Restored,
    Rerouted,
    /// Of a route, or unknown to this version.
    Other,
}

/// How a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeaseOutcome {
    Done,
    Rejected,
    Refused,
    Unavailable,
    InDoubt,
    NotSent,
    Released,
}

impl FeedEventKind {
    fn of(text: &str) -> Self {
        match text {
            "enqueued" => Self::Enqueued,
            "granted" => Self::Granted,
            "extended" => Self::Extended,
            "done" => Self::End(LeaseOutcome::Done),
            "rejected" => Self::End(LeaseOutcome::Rejected),
            "refused" => Self::End(LeaseOutcome::Refused),
            "unavailable" => Self::End(LeaseOutcome::Unavailable),
            "in doubt" => Self::End(LeaseOutcome::InDoubt),
            "not sent" => Self::End(LeaseOutcome::NotSent),
            "released" => Self::End(LeaseOutcome::Released),
            "due" => Self::Due,
            "expired" => Self::Expired,
            "too old" => Self::TooOld,
            "requeued" => Self::Requeued,
            "purged" => Self::Purged,
            "drained" => Self::Drained,
            "restored" => Self::Restored,
            "rerouted" => Self::Rerouted,
            _ => Self::Other,
        }
    }
}

/// A task's event in the feed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fed<'a> {
    pub(super) kind: FeedEventKind,
    pub(super) task: No,
    pub(super) epoch: Option<u32>,
    pub(super) route: Option<No>,
    pub(super) until_ms: Option<u64>,
    pub(super) end: Option<&'a LeaseEnd>,
}

/// What is known of a task.
#[derive(Debug)]
pub(super) struct TaskFacts {
    pub(super) name: TaskName,
    pub(super) queue: Option<No>,
    pub(super) route: Option<No>,
    /// The operation that made it, once somebody said so.
    pub(super) op: Option<OpId>,
    pub(super) place: TaskPlace,
    /// When that was said.
    pub(super) since: u64,
    generation: u32,
    /// The epoch the feed has told last.
    pub(super) epoch: u32,
    /// The generation in which it told it: a place may be told anew without it.
    epoch_generation: u32,
    /// When a producer was first told that it is accepted.
    pub(super) accepted: Option<u64>,
    /// When the feed told of it first.
    pub(super) enqueued: Option<u64>,
    /// When an endpoint first had executed it.
    pub(super) executed: Option<u64>,
    /// The highest epoch anybody was seen to use.
    pub(super) epoch_used: u32,
}

/// What is known of a queue.
#[derive(Debug)]
pub(super) struct QueueFacts {
    pub(super) host: HostName,
    /// Openings so far.
    pub(super) boots: u32,
    pub(super) opened_at: u64,
    pub(super) is_open: bool,
    /// Closed in order since the last opening.
    pub(super) closed: bool,
    /// Changes whenever news may have been missed.
    generation: u32,
    /// Some news of this opening was missed.
    pub(super) blind: bool,
    sequence: Option<u64>,
    /// What holds on routes that have nothing of their own, and on those that have.
    terms: RouteTerms,
    own: BTreeMap<String, RouteTerms>,
    pub(super) last: Option<HostState>,
}

/// How a process was last heard to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostState {
    Died,
    Failed,
    Refused,
}

/// What is known of an operation.
#[derive(Clone, Debug)]
pub(super) struct OpFacts {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) queue: No,
    pub(super) route: Arc<str>,
    pub(super) key: Option<String>,
    pub(super) print: u64,
    pub(super) deadline: Option<u64>,
    pub(super) offers: u32,
    pub(super) declined: u32,
    pub(super) task: Option<No>,
}

impl OpFacts {
    /// Whether it may have become a task that nobody has named so far.
    pub(super) fn may_be_kept(&self) -> bool {
        self.task.is_none() && self.declined < self.offers
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Ledger {
    hosts: Names,
    routes: Names,
    names: Numbering<TaskName>,
    pub(super) tasks: Vec<TaskFacts>,
    /// By host; a host without a queue has none.
    pub(super) queues: Vec<QueueFacts>,
    pub(super) ops: BTreeMap<OpId, OpFacts>,
    /// The time of the last record.
    pub(super) now: u64,
    /// The index of the newest record.
    pub(super) last: usize,
}

/// One record and all that is needed to judge it; the ledger stands before it.
#[derive(Clone, Copy)]
pub(super) struct Sight<'a> {
    pub(super) index: usize,
    pub(super) record: &'a Record,
    pub(super) at: u64,
    pub(super) host: No,
    /// The task it is about.
    pub(super) task: Option<No>,
    /// If it is an event of the feed about a task.
    pub(super) fed: Option<Fed<'a>>,
    pub(super) ledger: &'a Ledger,
    pub(super) rules: &'a Rules,
}

impl<'a> Sight<'a> {
    /// Where a violation of the record's task shows.
    pub(super) fn spot(&self) -> Spot<'a> {
        let facts = self.task.map(|task| self.ledger.task(task));
        Spot {
            index: self.index,
            at: self.at,
            task: facts.map(|facts| &facts.name),
            op: facts.and_then(|facts| facts.op),
        }
    }
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self {
            hosts: Names::default(),
            routes: Names::default(),
            names: Numbering::default(),
            tasks: Vec::new(),
            queues: Vec::new(),
            ops: BTreeMap::new(),
            now: 0,
            last: 0,
        }
    }

    /// The number of a host that has come up.
    pub(super) fn host(&self, name: &HostName) -> Option<No> {
        self.hosts.get(&name.0)
    }

    pub(super) fn task(&self, no: No) -> &TaskFacts {
        &self.tasks[no.at()]
    }

    pub(super) fn queue(&self, no: No) -> &QueueFacts {
        &self.queues[no.at()]
    }

    /// What holds for a task: on its route in that queue.
    pub(super) fn terms(&self, queue: No, task: &TaskFacts) -> &RouteTerms {
        let queue = self.queue(queue);
        let own = task
            .route
            .and_then(|route| queue.own.get(self.route_name(route)));
        own.unwrap_or(&queue.terms)
    }

    /// Whether nothing can have happened to the task since the feed last told of it.
    pub(super) fn is_certain(&self, task: &TaskFacts) -> bool {
        let same = |queue: No| self.queue(queue).generation == task.generation;
        task.place != TaskPlace::Unsaid && task.queue.is_some_and(same)
    }

    /// Whether no grant can have happened since the feed told the task's epoch.
    pub(super) fn is_epoch_certain(&self, task: &TaskFacts) -> bool {
        let same = |queue: No| self.queue(queue).generation == task.epoch_generation;
        task.queue.is_some_and(same)
    }

    /// All tasks of a queue.
    pub(super) fn tasks_of(&self, queue: No) -> impl Iterator<Item = (No, &TaskFacts)> {
        let all = (0..).map(No).zip(&self.tasks);
        all.filter(move |(_, task)| task.queue == Some(queue))
    }

    /// The end of the history, for what never came.
    pub(super) fn end_spot<'a>(&self, task: Option<&'a TaskFacts>) -> Spot<'a> {
        Spot {
            index: self.last,
            at: self.now,
            task: task.map(|task| &task.name),
            op: task.and_then(|task| task.op),
        }
    }

    /// The endpoint a task is for, where it is known.
    pub(super) fn endpoint<'r>(&self, task: &TaskFacts, rules: &'r Rules) -> Option<&'r HostName> {
        rules.endpoints.get(self.route_name(task.route?))
    }

    pub(super) fn route_name(&self, route: No) -> &str {
        &self.routes.list[route.at()]
    }

    /// The earliest of its own deadlines that the task can have; `None` if it has none, or nobody knows its
    /// command.
    pub(super) fn deadline(&self, task: &TaskFacts) -> Option<u64> {
        let op = self.ops.get(&task.op?)?;
        self.repetitions(op).filter_map(|op| op.deadline).min()
    }

    /// The operations that offer the same command: itself, and those under its key.
    pub(super) fn repetitions<'a>(&'a self, op: &'a OpFacts) -> impl Iterator<Item = &'a OpFacts> {
        let keyed = move |other: &&OpFacts| {
            op.key.is_some()
                && other.queue == op.queue
                && other.route == op.route
                && other.key == op.key
        };
        let others = self.ops.values().filter(keyed);
        std::iter::once(op).chain(others)
    }

    /// Numbers everything the record names and makes the sight of it.
    pub(super) fn look<'a>(
        &'a mut self,
        index: usize,
        record: &'a Record,
        rules: &'a Rules,
    ) -> Sight<'a> {
        let host = self.host_no(&record.host);
        let task = record.what.task().map(|task| self.task_no(task));
        let fed = match &record.what {
            What::Fed {
                kind,
                epoch,
                route,
                until_ms,
                end,
                ..
            } => {
                let route = route.as_ref().map(|route| self.route_no(route));
                task.map(|task| Fed {
                    kind: FeedEventKind::of(kind),
                    task,
                    epoch: *epoch,
                    route,
                    until_ms: *until_ms,
                    end: end.as_ref(),
                })
            }
            What::Offered { bridge, .. } => {
                self.host_no(bridge);
                None
            }
            _ => None,
        };
        Sight {
            index,
            record,
            at: record.at,
            host,
            task,
            fed,
            ledger: self,
            rules,
        }
    }

    fn host_no(&mut self, name: &HostName) -> No {
        let (no, new) = self.hosts.no(&name.0);
        if new {
            self.queues.push(QueueFacts {
                host: name.clone(),
                boots: 0,
                opened_at: 0,
                is_open: false,
                closed: false,
                generation: 0,
                blind: false,
                sequence: None,
                terms: RouteTerms::default(),
                own: BTreeMap::new(),
                last: None,
            });
        }
        no
    }

    fn route_no(&mut self, name: &Arc<str>) -> No {
        self.routes.no(name).0
    }

    fn task_no(&mut self, name: TaskName) -> No {
        let (no, new) = self.names.no(&name);
        if new {
            self.tasks.push(TaskFacts {
                name,
                queue: None,
                route: None,
                op: None,
                place: TaskPlace::Unsaid,
                since: 0,
                generation: 0,
                epoch: 0,
                epoch_generation: 0,
                accepted: None,
                enqueued: None,
                executed: None,
                epoch_used: 0,
            });
        }
        no
    }

    /// Believes the record, which names this host and this task.
    pub(super) fn write(&mut self, index: usize, record: &Record, host: No, task: Option<No>) {
        self.now = self.now.max(record.at);
        self.last = index;
        match &record.what {
            What::Offered { .. } | What::Declined { .. } => self.write_offer(record),
            What::Accepted { op, bridge, .. } => {
                let queue = self.host_no(bridge);
                let no = task.expect("an acceptance names a task");
                let route = self.ops.get_mut(op).map(|facts| {
                    facts.task = Some(no);
                    facts.route.clone()
                });
                let route = route.map(|route| self.route_no(&route));
                let facts = &mut self.tasks[no.at()];
                facts.queue.get_or_insert(queue);
                facts.op.get_or_insert(*op);
                facts.route = facts.route.or(route);
                facts.accepted.get_or_insert(record.at);
            }
            What::Executing { op, epoch, .. } => {
                let facts = &mut self.tasks[task.expect("an execution names a task").at()];
                facts.op.get_or_insert(*op);
                facts.epoch_used = facts.epoch_used.max(*epoch);
            }
            What::Executed { result, .. } if result == "done" => {
                let facts = &mut self.tasks[task.expect("an execution names a task").at()];
                facts.executed.get_or_insert(record.at);
            }
            What::Fed { .. } => self.write_fed(host, task, record),
            _ => self.write_life(host, record),
        }
    }

    fn write_offer(&mut self, record: &Record) {
        match &record.what {
            What::Offered {
                op,
                bridge,
                route,
                key,
                print,
                deadline,
            } => {
                let queue = self.host_no(bridge);
                let facts = self.ops.entry(*op).or_insert_with(|| OpFacts {
                    first: record.at,
                    last: record.at,
                    queue,
                    route: route.as_str().into(),
                    key: key.clone(),
                    print: *print,
                    deadline: *deadline,
                    offers: 0,
                    declined: 0,
                    task: None,
                });
                facts.last = record.at;
                facts.offers += 1;
                facts.deadline = [facts.deadline, *deadline].into_iter().flatten().min();
            }
            What::Declined { op, .. } => {
                if let Some(facts) = self.ops.get_mut(op) {
                    facts.declined += 1;
                }
            }
            _ => {}
        }
    }

    fn write_life(&mut self, host: No, record: &Record) {
        let queue = &mut self.queues[host.at()];
        match &record.what {
            What::Opened { terms, routes, .. } => {
                queue.boots += 1;
                queue.opened_at = record.at;
                queue.is_open = true;
                queue.closed = false;
                queue.generation += 1;
                queue.blind = false;
                queue.sequence = None;
                queue.terms = terms.clone();
                queue.own = routes.clone();
                queue.last = None;
            }
            What::Closed {} => {
                queue.is_open = false;
                queue.closed = true;
            }
            What::JournalFailed { .. } => {
                queue.is_open = false;
                queue.last = Some(HostState::Failed);
            }
            What::OpenRefused { .. } => {
                queue.is_open = false;
                queue.last = Some(HostState::Refused);
            }
            What::Died { .. } => {
                queue.is_open = false;
                queue.last = Some(HostState::Died);
            }
            What::FeedMissed { .. } => {
                queue.generation += 1;
                queue.blind = true;
            }
            _ => {}
        }
    }

    fn write_fed(&mut self, host: No, task: Option<No>, record: &Record) {
        let What::Fed {
            sequence,
            kind,
            epoch,
            route,
            end,
            ..
        } = &record.what
        else {
            unreachable!("the caller looked");
        };
        let queue = &mut self.queues[host.at()];
        if queue.sequence.is_some_and(|last| *sequence != last + 1) {
            queue.generation += 1;
            queue.blind = true;
        }
        queue.sequence = Some(*sequence);
        let generation = queue.generation;
        let Some(task) = task else {
            return;
        };
        let route = route.as_ref().map(|route| self.route_no(route));
        let facts = &mut self.tasks[task.at()];
        facts.queue = Some(host);
        facts.route = route.or(facts.route);
        facts.epoch = match (FeedEventKind::of(kind), *epoch) {
            // Also if it went back: that was judged, and what follows is judged by what is now.
            (FeedEventKind::Granted, Some(epoch)) => epoch,
            (_, epoch) => facts.epoch.max(epoch.unwrap_or_default()),
        };
        facts.enqueued.get_or_insert(record.at);
        let place = match FeedEventKind::of(kind) {
            FeedEventKind::Enqueued | FeedEventKind::Due | FeedEventKind::Requeued => {
                TaskPlace::Ready
            }
            FeedEventKind::Granted | FeedEventKind::Extended => TaskPlace::Leased,
            FeedEventKind::End(_) => match end.as_ref().map(|end| &*end.next) {
                Some("ready") => TaskPlace::Ready,
                Some("delayed") => TaskPlace::Delayed,
                Some("poison") => TaskPlace::Poison,
                _ => TaskPlace::Done,
            },
            FeedEventKind::Expired | FeedEventKind::TooOld => TaskPlace::Poison,
            FeedEventKind::Purged => TaskPlace::Purged,
            FeedEventKind::Drained => TaskPlace::Drained,
            // Where it stands there depends on where it came from.
            FeedEventKind::Restored => TaskPlace::Unsaid,
            FeedEventKind::Rerouted | FeedEventKind::Other => facts.place,
        };
        if place != facts.place || FeedEventKind::of(kind) == FeedEventKind::Granted {
            facts.since = record.at;
        }
        facts.place = place;
        if !matches!(
            FeedEventKind::of(kind),
            FeedEventKind::Rerouted | FeedEventKind::Other
        ) {
            facts.generation = generation;
        }
        if epoch.is_some() || FeedEventKind::of(kind) == FeedEventKind::Enqueued {
            facts.epoch_generation = generation;
        }
    }
}
