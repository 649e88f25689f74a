//! An endpoint: the product's own inbox around a model of its process and its handler.
//!
//! Which commands run, which join and which are answered from memory the inbox decides, the reference beside it (see
//! [`inbox`](super::inbox)). The model plays the rest: handlers that work, fail, fall silent or kill, a process that
//! dies and starts, a host that stands still. A crash ends what runs; an inbox in memory forgets with it, a blind one
//! refuses what it cut off.
//!
//! How often a task was executed is counted outside of the process: it is what the plan's behaviours go by.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leasebridge::core::{DeliveryId, TaskId};
use leasebridge::receiver::inbox::{RunId, Waiter};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::answer::ExecutionAnswer;
use super::inbox::{self, ArrivalDecision, Difference, Twins};
use super::world::World;
use crate::history::{TaskName, What};
use crate::plan::{EndpointSpec, FaultId, HostName, Inbox, Micros, OpId, PeerFault, Step};

/// What arrives at an endpoint.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) delivery: DeliveryId,
    pub(super) send: u8,
    pub(super) op: OpId,
    pub(super) bridge: HostName,
}

/// See the module.
pub(super) struct Endpoint {
    pub(super) spec: EndpointSpec,
    handlers: Arc<Semaphore>,
    state: Mutex<EndpointState>,
}

struct EndpointState {
    boot: u32,
    inbox: u32,
    /// How many faults keep it down.
    holds: u32,
    up: bool,
    memory: Twins,
    /// What those that joined wait for.
    running: BTreeMap<TaskId, watch::Receiver<Option<ExecutionAnswer>>>,
    executions: BTreeMap<TaskId, usize>,
    faults: Vec<(FaultId, PeerFault)>,
    /// Nothing is worked on before this.
    paused_until: Micros,
    /// Everything takes so much longer.
    slow: Micros,
    tasks: JoinSet<()>,
}

/// An execution under way.
struct Execution {
    /// Whose command began it.
    waiter: Waiter,
    run: RunId,
    step: Step,
    told: watch::Sender<Option<ExecutionAnswer>>,
}

/// What an endpoint does with a command that arrives.
enum Taken {
    Known(ExecutionAnswer),
    Runs(watch::Receiver<Option<ExecutionAnswer>>),
}

impl Endpoint {
    pub(super) fn new(spec: EndpointSpec) -> Self {
        let handlers = Arc::new(Semaphore::new(spec.handlers.max(1) as usize));
        Self {
            spec,
            handlers,
            state: Mutex::new(EndpointState {
                boot: 0,
                inbox: 0,
                holds: 0,
                up: false,
                memory: Twins::new(),
                running: BTreeMap::new(),
                executions: BTreeMap::new(),
                faults: Vec::new(),
                paused_until: Micros(0),
                slow: Micros(0),
                tasks: JoinSet::new(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, EndpointState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts its process, if nothing keeps it down.
    pub(super) fn start(&self, world: &World) {
        let (boot, inbox) = {
            let mut state = self.lock();
            if state.up || state.holds > 0 {
                return;
            }
            state.up = true;
            state.boot += 1;
            if state.inbox == 0 || self.spec.inbox == Inbox::Memory {
                state.inbox += 1;
            }
            (state.boot, format!("{}-{}", self.spec.host, state.inbox))
        };
        world.record(&self.spec.host, What::Up { boot, inbox });
    }

    /// Its process dies, or stops.
    pub(super) fn die(&self, world: &World, how: &str) {
        {
            let mut state = self.lock();
            if !state.up {
                return;
            }
            state.up = false;
            state.tasks = JoinSet::new();
            state.running.clear();
            state.memory.on_crash(self.spec.inbox);
        }
        let how = how.to_owned();
        world.record(&self.spec.host, What::Died { how });
    }

    pub(super) fn hold_down(&self) {
        self.lock().holds += 1;
    }

    pub(super) fn let_up(&self, world: &World) {
        {
            let mut state = self.lock();
            state.holds = state.holds.saturating_sub(1);
        }
        self.start(world);
    }

    /// Ends everything that was done to it.
    pub(super) fn heal(&self, world: &World) {
        {
            let mut state = self.lock();
            state.holds = 0;
            state.faults.clear();
            state.paused_until = Micros(0);
            state.slow = Micros(0);
        }
        self.start(world);
    }

    pub(super) fn is_up(&self) -> bool {
        self.lock().up
    }

    /// Which memory it has now.
    pub(super) fn inbox(&self) -> u32 {
        self.lock().inbox
    }

    pub(super) fn misbehave(&self, id: FaultId, fault: &PeerFault) {
        self.lock().faults.push((id, fault.clone()));
    }

    pub(super) fn behave(&self, id: FaultId) {
        self.lock().faults.retain(|(on, _)| *on != id);
    }

    pub(super) fn pause(&self, until: Micros) {
        let mut state = self.lock();
        state.paused_until = state.paused_until.max(until);
    }

    pub(super) fn slow_down(&self, by: Micros) {
        self.lock().slow = by;
    }

    /// The misbehaviour that is on.
    pub(super) fn fault(&self) -> Option<(FaultId, PeerFault)> {
        self.lock().faults.first().cloned()
    }

    /// A command arrives: what its execution, or an earlier one, came to.
    pub(super) async fn deliver(
        self: &Arc<Self>,
        world: &Arc<World>,
        sent: Sent,
    ) -> ExecutionAnswer {
        match self.take(world, sent) {
            Taken::Known(answer) => answer,
            Taken::Runs(mut answer) => {
                let known = answer.wait_for(Option::is_some).await;
                // The process died of it, or under it.
                known
                    .ok()
                    .and_then(|known| *known)
                    .unwrap_or(ExecutionAnswer::Silence)
            }
        }
    }

    fn take(self: &Arc<Self>, world: &Arc<World>, sent: Sent) -> Taken {
        let task = sent.delivery.task;
        let mut state = self.lock();
        if !state.up {
            return Taken::Known(ExecutionAnswer::Silence);
        }
        let waiter = inbox::waiter(sent.delivery, sent.send);
        let (told, difference) = state.memory.on_command(waiter);
        self.report(world, difference);
        let run = match told {
            ArrivalDecision::Run(run) => run,
            ArrivalDecision::Answer(answer) => return Taken::Known(answer),
            ArrivalDecision::Join => {
                let running = state.running.get(&task).cloned();
                return running.map_or(Taken::Known(ExecutionAnswer::Silence), Taken::Runs);
            }
        };
        let (told, running) = watch::channel(None);
        state.running.insert(task, running.clone());
        let number = state.executions.entry(task).or_default();
        let planned = world.bodies.behaviour(sent.op).step(*number);
        *number += 1;
        let (step, by) = match state.faults.first() {
            Some((id, PeerFault::Rejects)) => (Step::Reject(Micros(0)), Some(*id)),
            Some((id, PeerFault::Refuses)) => (Step::Refuse(Micros(0)), Some(*id)),
            _ => (planned, None),
        };
        if let Some(by) = by {
            world.strike(by);
        }
        let execution = Execution {
            waiter,
            run,
            step,
            told,
        };
        let work = self.clone().execute(world.clone(), sent, execution);
        state.tasks.spawn(Box::pin(work));
        Taken::Runs(running)
    }

    async fn execute(self: Arc<Self>, world: Arc<World>, sent: Sent, execution: Execution) {
        let handlers = self.handlers.clone();
        let handler = handlers.acquire().await;
        let handler = handler.expect("the handlers are never closed");
        self.wait_out(&world).await;
        let (task, epoch) = (sent.delivery.task, sent.delivery.epoch.get());
        let (starts, difference) = {
            let mut state = self.lock();
            state.memory.on_start(execution.waiter, execution.run)
        };
        self.report(&world, difference);
        if !starts {
            return;
        }
        let executing = What::Executing {
            task: TaskName::from(task),
            epoch,
            send: u32::from(sent.send),
            op: sent.op,
            bridge: Some(sent.bridge),
        };
        world.record(&self.spec.host, executing);
        let (work, result, answer) = match execution.step {
            Step::Done(work) => (work, "done", ExecutionAnswer::Done),
            Step::Reject(work) => (work, "rejected", ExecutionAnswer::Rejected),
            Step::Refuse(work) => (work, "refused", ExecutionAnswer::Refused),
            Step::Panic => (Micros(0), "rejected", ExecutionAnswer::Rejected),
            Step::Unavailable(span) => {
                (Micros(0), "unavailable", ExecutionAnswer::unavailable(span))
            }
            Step::Silent => return self.finish(&world, task, &execution, ExecutionAnswer::Silence),
            Step::KillBridge => {
                return self.finish(&world, task, &execution, ExecutionAnswer::KillsBridge);
            }
            Step::KillEndpoint => return self.die_of_it(&world),
        };
        let slow = self.lock().slow;
        world.sleep(work.plus(slow)).await;
        self.wait_out(&world).await;
        drop(handler);
        let executed = What::Executed {
            task: TaskName::from(task),
            epoch,
            result: result.to_owned(),
            op: sent.op,
        };
        world.record(&self.spec.host, executed);
        self.finish(&world, task, &execution, answer);
    }

    /// Stands still while its process is paused.
    async fn wait_out(&self, world: &World) {
        loop {
            let until = self.lock().paused_until;
            if until <= world.now() {
                return;
            }
            world.sleep_until(until).await;
        }
    }

    /// The execution is over: who waits for it is answered. What fell silent is asked anew by the next command.
    fn finish(&self, world: &World, task: TaskId, execution: &Execution, answer: ExecutionAnswer) {
        let difference = {
            let mut state = self.lock();
            state.running.remove(&task);
            let Execution { waiter, run, .. } = execution;
            state.memory.on_finished(*waiter, *run, answer)
        };
        self.report(world, difference);
        execution.told.send_replace(Some(answer));
    }

    /// The product's inbox and the reference don't agree.
    fn report(&self, world: &World, difference: Option<Difference>) {
        if let Some(difference) = difference {
            world.record(&self.spec.host, difference.record());
        }
    }

    /// Says how often the two were compared.
    pub(super) fn tell_compared(&self, world: &World) {
        let decisions = self.lock().memory.compared();
        if decisions > 0 {
            world.record(&self.spec.host, What::Compared { decisions });
        }
    }

    /// The process dies of a command, and comes back by itself.
    fn die_of_it(self: &Arc<Self>, world: &Arc<World>) {
        self.hold_down();
        let (endpoint, world_then) = (self.clone(), world.clone());
        // Not one of its own tasks: those die with it.
        drop(tokio::spawn(async move {
            world_then.sleep(RESTART_DELAY).await;
            endpoint.let_up(&world_then);
        }));
        self.die(world, "pill");
    }
}

/// How long after its end a process is started again.
const RESTART_DELAY: Micros = Micros::from_millis(500);
