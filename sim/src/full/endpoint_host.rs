//! The life of an endpoint's process: the real receiver on both transports, with the inbox the plan gives it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use leasebridge::env::{Address, BoxFuture, Env};
use leasebridge::receiver::store::StoredInbox;
use leasebridge::receiver::{
    Delivered, EffectFile, EffectLog, FileStore, Receiver, ReceiverError, ReceiverOptions,
    RunningReceiver, StoreError,
};
use leasebridge::wire::InboxId;

use super::body::Body;
use super::handler::{Executor, executing};
use super::seat::{HostOrder, Seat};
use super::shared::{ProcessEnd, Shared, has_strangers};
use super::strangers;
use crate::history::{self, TaskName, What};
use crate::net::{GRPC_PORT, SOCKET_PORT};
use crate::plan::{EndpointSpec, Inbox, Step};

/// The inbox's file on the endpoint's disk.
const INBOX_FILE: &str = "/inbox";
/// Rollbacks of what never was that a link may leave where strangers try it: few enough that they reach it.
const TOMBSTONES_PER_LINK: usize = 128;
/// How long a graceful stop waits for what is being executed.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// See the module.
pub(super) async fn run(
    shared: Arc<Shared>,
    seat: Arc<Seat>,
    spec: EndpointSpec,
) -> turmoil::Result {
    let (boot, env) = seat.boot();
    let receiver = match start(&shared, &seat, &spec, env.clone()).await {
        Ok(receiver) => receiver,
        Err(error) => {
            shared.note(&seat.name, format!("the receiver can't start: {error}"));
            shared
                .die(&seat.name, after(&seat, &env, &error).await)
                .await
        }
    };
    let inbox = receiver.inbox_id().to_string();
    shared.record(&seat.name, What::Up { boot, inbox });
    let stopped = tokio::select! {
        biased;
        error = receiver.failed() => Err(error),
        () = asked_to_stop(&seat, &receiver) => Ok(()),
        never = watch(&shared, &seat, &env, &receiver) => match never {},
    };
    match stopped {
        Err(error) => {
            let why = error.to_string();
            if let Some(gauge) = history::ended_for_want(&why) {
                shared.record(&seat.name, gauge);
            }
            shared.note(&seat.name, format!("the inbox failed: {why}"));
            shared.die(&seat.name, ProcessEnd::Exit).await
        }
        Ok(()) => {
            receiver.shutdown(SHUTDOWN).await;
            seat.done(&HostOrder::Drain);
            shared.die(&seat.name, ProcessEnd::Ended).await
        }
    }
}

/// A command waits for a handler for at most this part of what its lease can last.
const WAIT_SHARE: u32 = 4;

async fn asked_to_stop(seat: &Seat, receiver: &RunningReceiver) {
    loop {
        match seat.next_order().await {
            HostOrder::Drain => return,
            HostOrder::RenewLinks => {
                receiver.renew_links();
                seat.done(&HostOrder::RenewLinks);
            }
            order => unreachable!("{order:?} is for a bridge"),
        }
    }
}

async fn start(
    shared: &Arc<Shared>,
    seat: &Arc<Seat>,
    spec: &EndpointSpec,
    env: Env,
) -> Result<RunningReceiver, ReceiverError> {
    let knobs = &shared.plan.knobs;
    let mut options = ReceiverOptions::new(Address::tcp("0.0.0.0", SOCKET_PORT));
    options.grpc = Some(Address::tcp("0.0.0.0", GRPC_PORT));
    options.body_bytes_max = shared.body_bytes_max;
    options.handlers_max = spec.handlers as usize;
    options.in_flight_max = spec.in_flight;
    options.handler_wait_max = options
        .handler_wait_max
        .min(knobs.max_hold.as_duration() / WAIT_SHARE);
    options.heartbeat = knobs.heartbeat.as_duration();
    options.connections_max = shared.connections_max();
    if has_strangers(&shared.plan) {
        options.inbox.tombstones_per_link = TOMBSTONES_PER_LINK;
    }
    let handler = Arc::new(Executor {
        env: env.clone(),
        seat: Arc::clone(seat),
        shared: Arc::clone(shared),
        is_blind: spec.inbox == Inbox::Blind,
    });
    let receiver = match spec.inbox {
        Inbox::Memory => Receiver::new(options, handler),
        Inbox::File | Inbox::Blind => {
            let store = Arc::new(FileStore::new(&env, INBOX_FILE)?);
            Receiver::with_store(options, handler, store)
        }
        Inbox::Effect => {
            let log = Arc::new(Effects {
                file: EffectFile::new(&env, INBOX_FILE)?,
                seat: Arc::clone(seat),
                shared: Arc::clone(shared),
            });
            Receiver::with_effects(options, log)
        }
    };
    let receiver = receiver.unwrap_or_else(|error| panic!("the plan's knobs: {error}"));
    receiver.start(env).await
}

/// What becomes of a process that could not start. A damaged inbox is put aside if its disk is known to rot:
/// an operator would do that, and know what it means; without such a fault it is for the oracle to see.
async fn after(seat: &Seat, env: &Env, error: &ReceiverError) -> ProcessEnd {
    let damaged = matches!(
        error,
        ReceiverError::Store(StoreError::Corrupt { .. } | StoreError::Line { .. })
    );
    match (damaged, super::disk_faults::rots(seat)) {
        (false, _) => ProcessEnd::Exit,
        (true, false) => ProcessEnd::Refused,
        (true, true) => {
            let aside = env.disk.remove(Path::new(INBOX_FILE)).await;
            aside.map_or(ProcessEnd::Refused, |()| ProcessEnd::Exit)
        }
    }
}

/// Says once a second how much it holds.
async fn watch(
    shared: &Shared,
    seat: &Seat,
    env: &Env,
    receiver: &RunningReceiver,
) -> std::convert::Infallible {
    loop {
        env.clock.sleep(Duration::from_secs(1)).await;
        let what = What::Gauge {
            name: "connections".into(),
            value: receiver.links() as u64,
            limit: shared.connections_max() as u64,
        };
        shared.record(&seat.name, what);
        strangers::show(shared, seat, receiver.listeners().into());
        seat.show_inbox(receiver.status().inbox.tasks);
    }
}

/// The product's effect file, watched: what is written is executed. Only two steps of a behaviour have a
/// meaning here, *done* and the one that kills the endpoint; the others are done as well.
struct Effects {
    file: EffectFile,
    seat: Arc<Seat>,
    shared: Arc<Shared>,
}

impl EffectLog for Effects {
    fn load(&self) -> BoxFuture<'_, Result<(InboxId, StoredInbox), StoreError>> {
        Box::pin(async move {
            let loaded = self.file.load().await?;
            let done = &loaded.1.done;
            // What the last process wrote and could not tell.
            for task in self.shared.ledger.begun_effects() {
                if done.contains(task) {
                    self.written(task);
                }
            }
            // What was told: the file itself is the effect, so what is missing there was undone.
            for task in self.shared.ledger.effects_at(&self.seat.name) {
                if !done.contains(task) {
                    let task = TaskName::from(task);
                    self.shared
                        .record(&self.seat.name, What::Forgotten { task });
                }
            }
            Ok(loaded)
        })
    }

    fn append(&self, commands: Vec<Delivered>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let tasks: Vec<_> = commands
                .iter()
                .map(|command| command.delivery.task)
                .collect();
            for command in &commands {
                let Some(body) = Body::decode(&command.body) else {
                    continue;
                };
                let what = executing(&self.shared, command, body.op);
                self.shared.record(&self.seat.name, what);
                let execution = self.shared.ledger.executes(command.delivery.task);
                if body.steps.step(execution) == Step::KillEndpoint {
                    self.shared.die(&self.seat.name, ProcessEnd::Pill).await;
                }
                self.shared.ledger.begin_effect(command.delivery, body.op);
            }
            self.file.append(commands).await?;
            tasks.into_iter().for_each(|task| self.written(task));
            Ok(())
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.file.close()
    }
}

impl Effects {
    fn written(&self, task: leasebridge::core::TaskId) {
        let Some((delivery, op)) = self.shared.ledger.end_effect(&self.seat.name, task) else {
            return;
        };
        let what = What::Executed {
            task: TaskName::from(task),
            epoch: delivery.epoch.get(),
            result: "done".into(),
            op,
        };
        self.shared.record(&self.seat.name, what);
    }
}
