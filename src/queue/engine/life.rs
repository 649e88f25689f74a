//! A queue's life: the log is opened and folded, the drivers start, and a close seals the log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::super::commit::CommitQueue;
use super::super::error::OpenError;
use super::super::log::{LogFailure, LogOptions, LogStore, OpenLog, Tenure};
use super::super::options::{DEFAULT_ROUTE, QueueOptions};
use super::super::route_limits::RoutePolicies;
use super::compaction::Compaction;
use super::locked::vital;
use super::tail::Tail;
use super::told::Told;
use super::waiting::Waiting;
use super::{
    Core, Engine, EngineEnd, Promise, QueueStage, admission, cache, drivers, jobs, reading, shares,
    time,
};
use crate::core::{
    DeliveryId, Event, Impossible, Input, Now, Origin, QueueState, Reply, Report, Settlement,
    SpanMs,
};
use crate::coverage::{Site, sometimes};
use crate::env::{BoxFuture, Clock, timeout};
use crate::journal::{Fold, Geometry, Sealer, Writer};

/// How long an opening may take before it says how far it is.
const TELL_AFTER: Duration = Duration::from_secs(1);

/// How often it says so.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Keeps an engine's life going: when the last handle and the last lease are gone, its drivers finish
/// what was appended and end, without sealing the log.
pub(crate) struct Owner {
    pub(crate) engine: Arc<Engine>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.engine.lock().stage = QueueStage::Closed;
        self.engine.commit.shut_down();
        self.engine.wake_everybody();
    }
}

/// Held by every driver that writes the log. When the last one has ended, others may have the log, and
/// whoever waits for the end hears of it.
pub(super) struct Presence {
    tenure: Option<Box<dyn Tenure>>,
    ended: watch::Sender<Option<EngineEnd>>,
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.tenure = None;
        // A failure has been told already, and stays the last word.
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert(EngineEnd::Closed);
            first
        });
    }
}

/// Folds what recovery reads.
struct Recovering {
    state: Option<QueueState>,
    /// Records so far, for whoever waits.
    records: Arc<AtomicU64>,
}

impl Fold for Recovering {
    fn base(&mut self, base: crate::core::event::Base) -> Result<(), String> {
        match &self.state {
            None => self.state = Some(QueueState::from_base(base)),
            Some(state) if state.base() == base => {}
            Some(_) => return Err(Impossible::OtherBase.to_string()),
        }
        Ok(())
    }

    fn event(&mut self, event: Event) -> Result<(), String> {
        self.records.fetch_add(1, Ordering::Relaxed);
        let state = self
            .state
            .as_mut()
            .ok_or("an event stands before the first base")?;
        state
            .replay(&event)
            .map_err(|impossible| impossible.to_string())
    }
}

/// Waits for an opening. One that takes long says how far it is: nothing else shows that it is at work.
async fn tell_while_it_takes<T>(opening: T, clock: &dyn Clock, records: &AtomicU64) -> T::Output
where
    T: Future,
{
    let started = clock.now();
    let mut opening = std::pin::pin!(opening);
    let mut next = TELL_AFTER;
    loop {
        match timeout(clock, next, &mut opening).await {
            Ok(opened) => return opened,
            Err(_elapsed) => {
                let secs = clock.now().saturating_since(started).as_secs();
                let records = records.load(Ordering::Relaxed);
                tracing::info!(
                    records,
                    secs,
                    "recovering the journal: its records are read and checked"
                );
                next = TELL_EVERY;
            }
        }
    }
}

impl Owner {
    /// Opens the options' log, recovers it, and starts the drivers.
    pub(crate) async fn open(options: QueueOptions) -> Result<Arc<Self>, OpenError> {
        options.validate()?;
        let geometry = options.geometry()?;
        let how = LogOptions {
            geometry,
            segments_max: options.segments_max(),
        };
        let store = options.log_store();
        let (sender, opened) = oneshot::channel();
        let records = Arc::new(AtomicU64::new(0));
        let opening: BoxFuture<'static, ()> = {
            let store = store.clone();
            let counted = Arc::clone(&records);
            Box::pin(async move {
                let mut fold = Recovering {
                    state: None,
                    records: counted,
                };
                let opened = store.open(how, &mut fold).await;
                // Whoever wanted it open may have gone: then the tenure goes with this.
                let _heard = sender.send(opened.map(|opened| (opened, fold.state)));
            })
        };
        store
            .run("leasebridge-open", opening)
            .map_err(OpenError::Thread)?;
        let opened = tell_while_it_takes(opened, &*options.env.clock, &records).await;
        let (opened, state) = opened.map_err(|_| {
            OpenError::Thread(std::io::Error::other(
                "the opening driver ended without a word",
            ))
        })??;
        let state = state.unwrap_or_else(|| {
            let entropy = &options.env.entropy;
            let salt = u128::from(entropy.next_u64()) << 64;
            QueueState::new(salt | u128::from(entropy.next_u64()))
        });
        let (owner, begun) = Self::start(options, geometry, &*store, opened, state)?;
        owner.engine.begun(begun).await?;
        Ok(owner)
    }

    fn start(
        options: QueueOptions,
        geometry: Geometry,
        store: &dyn LogStore,
        opened: OpenLog,
        state: QueueState,
    ) -> Result<(Arc<Self>, Begun), OpenError> {
        let env = options.env.clone();
        let (reads, read_requests) = mpsc::channel(reading::READ_REQUESTS_MAX);
        let OpenLog { log, start, tenure } = opened;
        let is_cut = start.is_cut;
        let writer = Writer::new(geometry, &start);
        let commit = CommitQueue::new(writer.durable());
        let jump_max = SpanMs::from_duration(options.clock_jump_max);
        let (clock, heard) = time::QueueClock::new(&*env.clock, &state, jump_max);
        let waiting = Waiting::new(state.route_ids().count());
        let core = Core {
            policy: RoutePolicies::policy(&options),
            terms: RoutePolicies::new(&options),
            clock,
            heard: Some(heard),
            state,
            tail: Tail::new(writer),
            shares: shares::Shares::new(&options),
            space: admission::Space::new(&options, log.room().ready),
            compaction: Compaction::default(),
            bodies: cache::BodyCache::new(options.cache_bytes),
            waiting,
            told: Told::new(options.watermarks()),
            stage: QueueStage::Open,
            broken: false,
            times: Default::default(),
            events: Vec::new(),
        };
        let ended = watch::Sender::new(None);
        let presence = Arc::new(Presence {
            tenure: Some(tenure),
            ended: ended.clone(),
        });
        let engine = Arc::new(Engine {
            env: env.clone(),
            options,
            core: Mutex::new(core),
            commit,
            log: log.clone(),
            room: Notify::new(),
            lost: Notify::new(),
            rearm: Arc::new(Notify::new()),
            upkeep: Arc::new(Notify::new()),
            jobs: Arc::new(Notify::new()),
            job_news: Notify::new(),
            reads,
            ended: ended.clone(),
        });
        let owner = Arc::new(Self {
            engine: engine.clone(),
        });
        // Before any driver runs: to the one that keeps time, what the dead process held would be leases whose time is
        // over and that were never sent.
        let begun = engine.begin(is_cut);
        let (rearm, upkeep) = (engine.rearm.clone(), engine.upkeep.clone());
        let job_begun = engine.jobs.clone();
        let weak = Arc::downgrade(&engine);
        let run = |name, driver| store.run(name, driver).map_err(OpenError::Thread);
        run(
            "leasebridge-write",
            Box::pin(vital(
                weak.clone(),
                "writer",
                drivers::write(engine, Sealer::new(&start), presence.clone()),
            )),
        )?;
        run(
            "leasebridge-read",
            Box::pin(vital(
                weak.clone(),
                "reader",
                reading::read_bodies(log.clone(), read_requests),
            )),
        )?;
        run(
            "leasebridge-keep",
            Box::pin(vital(
                weak.clone(),
                "keeper",
                drivers::keep_segments(weak.clone(), upkeep, presence),
            )),
        )?;
        // It waits for the disk as well, and holds the engine meanwhile: it ends with the disk's other drivers.
        let jobs = jobs::go_on(weak.clone(), job_begun);
        run(
            "leasebridge-jobs",
            Box::pin(vital(weak.clone(), "jobs", jobs)),
        )?;
        let watching = drivers::watch_log(weak.clone(), log, ended.subscribe());
        tokio::spawn(vital(weak.clone(), "watcher", watching));
        let time = time::keep_time(weak.clone(), rearm);
        tokio::spawn(vital(weak, "clock", time));
        Ok((owner, begun))
    }
}

/// The first events of an opening have been decided.
struct Begun(Promise<()>);

impl Core {
    /// Ends every lease that is still held: what may have been sent is in doubt, the rest is as if it had
    /// never been leased.
    fn give_back_held(&mut self, now: Now) {
        let held: Vec<DeliveryId> = self.state.held().collect();
        sometimes!(Site::HeldAtClose, !held.is_empty());
        for delivery in held {
            let settlement = Settlement {
                delivery,
                report: Report::Dropped,
                sends: 0,
                transport: None,
                error: Some("the queue was closed while the lease was held".into()),
                jitter: 0,
            };
            let settled = self.run(now, Input::Settle(settlement), &[]);
            debug_assert!(settled.is_ok(), "a held lease can be ended");
        }
        self.waiting.lease_lost();
    }

    fn seal(&mut self) {
        self.tail.seal(&self.state);
    }
}

impl Engine {
    /// The first events of this opening: its origin, the end of the dead process's leases, the default
    /// route. They are decided before anything else is, and nothing is promised to anybody before they are durable.
    fn begin(&self, is_cut: bool) -> Begun {
        if planted!(Bug::ClockBeforeOpening) {
            let _looked = self.tick();
        }
        let origin = Origin(self.env.entropy.next_u64());
        let jitter = self.env.entropy.next_u64();
        let wall = self.env.clock.wall();
        Begun(self.with(|core, now| {
            // Before anything that time may decide.
            if let Some(heard) = core.heard.take() {
                core.hear_clock(now, heard, wall);
            }
            // Before the opening: it settles what the dead process held.
            for route in core.state.route_ids() {
                core.adopt(now, route);
            }
            let opened = core.run(
                now,
                Input::Open {
                    origin,
                    jitter,
                    is_cut,
                },
                &[],
            );
            opened.expect("an opening is never refused");
            let name = DEFAULT_ROUTE;
            match core.run(now, Input::DefineRoute { name }, &[]) {
                Ok(Reply::Route(route)) => {
                    core.adopt(now, route);
                    // Otherwise it is in service once somebody defines it, as any other.
                    if self.options.routes.contains_key(name) {
                        core.shares.serve(&self.options, route, name);
                    }
                }
                other => unreachable!("its name is good, and the first: {other:?}"),
            }
        }))
    }

    /// Completes when the first events are durable.
    async fn begun(&self, begun: Begun) -> Result<(), LogFailure> {
        self.kept(begun.0).await?;
        // What the last process had begun goes on; and a clock in doubt is looked at again.
        self.jobs.notify_one();
        self.rearm.notify_one();
        Ok(())
    }

    /// Stops taking and granting, gives back what is held, seals the log and ends the drivers. Everything
    /// promised stays promised; a second call waits for the first.
    pub(crate) async fn close(&self) -> Result<(), LogFailure> {
        let _sealed = self.with(|core, now| {
            if core.stage != QueueStage::Open {
                return;
            }
            core.stage = QueueStage::Closing;
            core.give_back_held(now);
            core.seal();
            core.stage = QueueStage::Closed;
        });
        self.commit.shut_down();
        self.wake_everybody();
        match self.ended().await {
            EngineEnd::Closed => Ok(()),
            EngineEnd::Failed(failure) => Err(failure),
        }
    }
}
