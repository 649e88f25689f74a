//! One lease in the model's hands: register compensations, send, settle; or one of the ways in which holders
//! fail to.
//!
//! What it keeps to is what a bridge keeps to: nothing is sent before the lease is marked as sent, nothing after
//! it is known to be over; a failure is settled after its compensations have run; after a success none runs.

use std::sync::Arc;
use std::time::Duration;

use leasebridge::core::DeliveryId;
use leasebridge::core::event::TransportKind;
use leasebridge::pipeline::{Context, ContextOptions};
use leasebridge::queue::{Command, Failure, Lease, Sends};
use tokio::sync::oneshot;

use super::answer::ExecutionAnswer;
use super::endpoint::{Endpoint, Sent};
use super::holder::HolderLane;
use super::host::Stop;
use super::network::Passage;
use crate::history::{TaskName, What};
use crate::plan::{FaultId, Micros, OnLost, OpId, PeerFault};
use crate::seed::Draws;

/// Sends per attempt: one over the socket, three over gRPC.
const SENDS_MAX: u8 = 4;

/// How long a sender waits for a first sign of life.
const SILENCE: Duration = Duration::from_secs(3);

/// How long a holder whose lease is lost yet waits for the answer, if it does.
const LATE_MAX: Duration = Duration::from_secs(30);

/// How long one compensation may take.
const COMPENSATION_LIMIT: Duration = Duration::from_millis(500);

/// After so many leases of a task its holders behave: bad holders alone must not spend a budget.
const MISHELD_MAX: u32 = 3;

/// What a holder does with its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Delivers and settles.
    Deliver,
    /// Gives it back unused.
    Release,
    /// Drops it unused.
    Drop,
    /// Drops it when it has been sent.
    SendAndDrop,
    /// Settles it long after its deadline.
    SettleLate,
    /// Panics when it has been sent, whatever was answered.
    Panic,
}

/// See the module.
pub(super) struct DeliveryAttempt {
    lane: Arc<HolderLane>,
    lease: Lease<Command>,
    op: OpId,
    /// Somebody else extends it.
    kept: bool,
    manner: Manner,
    draws: Draws,
}

/// How a delivery ended.
enum DeliveryOutcome {
    Answered(ExecutionAnswer),
    /// Some of it may have arrived; nothing was heard.
    InDoubt,
    /// Nothing of it left.
    NotSent,
    /// The lease was over before anything could be sent.
    Over,
}

impl DeliveryAttempt {
    pub(super) fn new(lane: Arc<HolderLane>, lease: Lease<Command>, kept: bool) -> Self {
        let op = lane.world.bodies.op(&lease.value().body);
        let op = op.expect("a queue gives out bodies that were put in");
        let epoch = lease.delivery().epoch.get();
        let label = format!("attempt {epoch} of {op} on {}", lane.host.name);
        let mut draws = lane.world.plan.seed.draws(&label);
        let manner = match draws.below(48) {
            _ if epoch > MISHELD_MAX || lane.world.is_over() => Manner::Deliver,
            0 => Manner::Release,
            1 => Manner::Drop,
            2 => Manner::SendAndDrop,
            3 if !kept => Manner::SettleLate,
            4 => Manner::Panic,
            _ => Manner::Deliver,
        };
        Self {
            lane,
            lease,
            op,
            kept,
            manner,
            draws,
        }
    }

    pub(super) async fn run(self) {
        match self.manner {
            Manner::Release => {
                // Whether it was too late for that, the feed says.
                let _given_back = self.lease.release().await;
            }
            Manner::Drop => drop(self.lease),
            Manner::Deliver | Manner::SendAndDrop | Manner::SettleLate | Manner::Panic => {
                self.deliver().await;
            }
        }
    }

    async fn deliver(mut self) {
        let Some(endpoint) = self.lane.world.endpoint_of(&self.lane.route).cloned() else {
            unreachable!("every route of a plan has an endpoint");
        };
        let delivery = self.lease.delivery();
        let mut scope = Context::new(self.lane.process.env.clone(), ContextOptions::default());
        self.register(&scope, delivery);
        self.step(&scope, delivery);
        let doubt = self.lane.doubt(delivery.task);
        if self.lane.on_lost == OnLost::Hold && doubt.is_some_and(|inbox| inbox != endpoint.inbox())
        {
            let why = "the inbox that may have executed it has lost its memory";
            self.fail(&mut scope, delivery).await;
            let _settled = self.lease.move_to_poison(why).await;
            return;
        }
        let is_kept_up = self.kept || !self.draws.one_in(8);
        let waits_late = self.draws.one_in(2);
        let mut sends = 0;
        let outcome = {
            let (lane, lease, op) = (&self.lane, &self.lease, self.op);
            let work = send(lane, &endpoint, lease, op, &mut self.draws, &mut sends);
            let mut work = std::pin::pin!(work);
            let lost = tokio::select! {
                biased;
                outcome = &mut work => Some(outcome),
                () = keep(lane, lease, is_kept_up && !self.kept) => None,
            };
            match lost {
                Some(outcome) => outcome,
                None if waits_late => {
                    let clock = &*lane.process.env.clock;
                    let late = leasebridge::env::timeout(clock, LATE_MAX, work).await;
                    late.unwrap_or(DeliveryOutcome::InDoubt)
                }
                None => DeliveryOutcome::InDoubt,
            }
        };
        self.settle(scope, outcome, sends, &endpoint).await;
    }

    /// A step that succeeds: what it had registered runs never, whatever becomes of the attempt.
    fn step(&self, scope: &Context, delivery: DeliveryId) {
        let (lane, (task, epoch)) = (self.lane.clone(), named(delivery));
        let step = scope.child();
        step.register_compensation("undo the step", move || async move {
            let compensated = What::Compensated {
                task,
                epoch,
                number: 0,
            };
            lane.world.record(&lane.host.name, compensated);
            Ok(())
        });
        step.succeed();
    }

    fn register(&mut self, scope: &Context, delivery: DeliveryId) {
        let (lane, (task, epoch)) = (&self.lane, named(delivery));
        for number in 1..=1 + u32::try_from(self.draws.below(3)).unwrap_or(0) {
            let registered = What::Registered {
                task,
                epoch,
                number,
            };
            lane.world.record(&lane.host.name, registered);
            let takes = Duration::from_millis(if self.draws.one_in(4) { 2 } else { 0 });
            let fails = self.draws.one_in(8);
            let (lane, task) = (lane.clone(), task);
            scope.register_compensation("undo", move || async move {
                if !takes.is_zero() {
                    lane.process.env.clock.sleep(takes).await;
                }
                let compensated = What::Compensated {
                    task,
                    epoch,
                    number,
                };
                lane.world.record(&lane.host.name, compensated);
                if fails {
                    Err("it can't be undone".into())
                } else {
                    Ok(())
                }
            });
        }
    }

    async fn settle(
        self,
        mut scope: Context,
        outcome: DeliveryOutcome,
        sends: u8,
        endpoint: &Endpoint,
    ) {
        let delivery = self.lease.delivery();
        let lane = self.lane.clone();
        let is_doubt = matches!(
            outcome,
            DeliveryOutcome::InDoubt | DeliveryOutcome::Answered(ExecutionAnswer::Silence)
        );
        let is_doubt = is_doubt || (self.manner == Manner::Panic && sends > 0);
        lane.doubted(delivery.task, is_doubt.then(|| endpoint.inbox()));
        match outcome {
            DeliveryOutcome::NotSent => lane.reached(false),
            DeliveryOutcome::Answered(_) => lane.reached(true),
            DeliveryOutcome::InDoubt | DeliveryOutcome::Over => {}
        }
        let failure = match outcome {
            DeliveryOutcome::Answered(ExecutionAnswer::Done) => None,
            DeliveryOutcome::Answered(ExecutionAnswer::KillsBridge) => {
                lane.host.stop(Stop::Dies {
                    how: "pill",
                    power: None,
                    fault: None,
                });
                return std::future::pending().await;
            }
            DeliveryOutcome::Answered(ExecutionAnswer::Rejected) => {
                Some(Failure::Rejected("no".to_owned()))
            }
            DeliveryOutcome::Answered(ExecutionAnswer::Refused) => {
                Some(Failure::Refused("never".to_owned()))
            }
            DeliveryOutcome::Answered(ExecutionAnswer::Unavailable(span)) => {
                Some(Failure::Unavailable {
                    retry_after: span.as_duration(),
                    reason: "not now".to_owned(),
                })
            }
            DeliveryOutcome::Answered(ExecutionAnswer::Silence) | DeliveryOutcome::InDoubt => {
                Some(Failure::InDoubt("no answer".to_owned()))
            }
            DeliveryOutcome::NotSent => Some(Failure::NotSent("nobody there".to_owned())),
            DeliveryOutcome::Over => {
                self.fail(&mut scope, delivery).await;
                return;
            }
        };
        match self.manner {
            Manner::SettleLate => {
                let late = lease_span(&lane) * 2;
                lane.process.env.clock.sleep(late).await;
            }
            Manner::SendAndDrop => {
                self.fail(&mut scope, delivery).await;
                return;
            }
            Manner::Panic => {
                self.panic(scope, counted(sends)).await;
                return;
            }
            _ => {}
        }
        self.report(scope, failure, counted(sends)).await;
    }

    /// The bridge's own code fails on this command.
    async fn panic(self, mut scope: Context, sends: Sends) {
        let delivery = self.lease.delivery();
        self.fail(&mut scope, delivery).await;
        let (world, host) = (self.lane.world.clone(), self.lane.host.clone());
        let (task, epoch) = named(delivery);
        let panicked = |settled| What::Panicked {
            task,
            epoch,
            settled,
        };
        world.record(&host.name, panicked(false));
        let failure = Failure::Panicked("as told".to_owned());
        if self.lease.fail_after(failure, sends).await.is_ok() {
            world.record(&host.name, panicked(true));
        }
    }

    /// The last word: on the compensations, then on the lease. Whether the lease was still good, the feed says.
    async fn report(mut self, mut scope: Context, failure: Option<Failure>, sends: Sends) {
        let delivery = self.lease.delivery();
        match failure {
            None => {
                scope.succeed();
                self.attempted(delivery, true);
                let _settled = self.lease.ack_after(sends).await;
            }
            Some(Failure::Refused(why)) if self.draws.one_in(2) => {
                self.fail(&mut scope, delivery).await;
                let _settled = self.lease.move_to_poison(why).await;
            }
            Some(failure) => {
                self.fail(&mut scope, delivery).await;
                let _settled = self.lease.fail_after(failure, sends).await;
            }
        }
    }

    /// Undoes what was registered.
    async fn fail(&self, scope: &mut Context, delivery: DeliveryId) {
        // Those that can't be undone are part of the model; they count as run.
        let _ran = scope.compensate(COMPENSATION_LIMIT).await;
        self.attempted(delivery, false);
    }

    fn attempted(&self, delivery: DeliveryId, success: bool) {
        let (task, epoch) = named(delivery);
        let attempted = What::Attempted {
            task,
            epoch,
            success,
        };
        self.lane.world.record(&self.lane.host.name, attempted);
    }
}

fn counted(sends: u8) -> Sends {
    Sends {
        count: sends,
        transport: match sends {
            0 => None,
            1 => Some(TransportKind::Socket),
            _ => Some(TransportKind::Grpc),
        },
    }
}

fn named(delivery: DeliveryId) -> (crate::history::TaskName, u32) {
    (TaskName::from(delivery.task), delivery.epoch.get())
}

fn lease_span(lane: &HolderLane) -> Duration {
    lane.world.plan.knobs.lease.as_duration()
}

/// Completes when the lease is lost; extends it until then, if asked.
async fn keep(lane: &HolderLane, lease: &Lease<Command>, extends: bool) {
    let extending = async {
        if !extends {
            return std::future::pending().await;
        }
        loop {
            lane.process.env.clock.sleep(lease_span(lane) / 3).await;
            if lease.extend().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        () = lease.lost() => {}
        () = extending => {}
    }
}

/// Sends until there is a definite answer, or nothing more is tried.
async fn send(
    lane: &Arc<HolderLane>,
    endpoint: &Arc<Endpoint>,
    lease: &Lease<Command>,
    op: OpId,
    draws: &mut Draws,
    sends: &mut u8,
) -> DeliveryOutcome {
    let clock = &lane.process.env.clock;
    while *sends < SENDS_MAX {
        let passage = passage(lane, endpoint, draws);
        if let Some(fault) = passage.by {
            lane.world.strike(fault);
        }
        if passage.not_sent {
            break;
        }
        if *sends == 0 && lease.mark_sent().is_err() {
            return DeliveryOutcome::Over;
        }
        *sends += 1;
        let sent = Sent {
            delivery: lease.delivery(),
            send: *sends,
            op,
            bridge: lane.host.name.clone(),
        };
        let answer = carry(lane, endpoint, sent, passage);
        let silence = async {
            let silent = passage.request_lost || passage.delay.as_duration() >= SILENCE;
            match silent {
                true => clock.sleep(SILENCE).await,
                false => std::future::pending().await,
            }
        };
        let answer = tokio::select! {
            biased;
            answer = answer => Some(answer.unwrap_or(ExecutionAnswer::Silence)),
            () = silence => None,
        };
        if let Some(answer) = answer {
            match heard(lane, endpoint, answer, passage, draws).await {
                ExecutionAnswer::Silence => clock.sleep(SILENCE).await,
                answer => return DeliveryOutcome::Answered(answer),
            }
        }
        if draws.one_in(2) {
            break;
        }
    }
    match *sends {
        0 => DeliveryOutcome::NotSent,
        _ => DeliveryOutcome::InDoubt,
    }
}

/// What becomes of the next send.
fn passage(lane: &HolderLane, endpoint: &Endpoint, draws: &mut Draws) -> Passage {
    let world = &lane.world;
    let ends = (&lane.host.name, &endpoint.spec.host);
    let bytes = u64::from(world.bodies.padding_max());
    let mut passage = world.network.pass(ends, world.now(), bytes, draws);
    let [min, max] = world.plan.knobs.latency;
    let latency = min.plus(Micros(draws.below(max.0.saturating_sub(min.0) + 1)));
    passage.delay = passage.delay.plus(latency);
    passage.not_sent |= !endpoint.is_up();
    match endpoint.fault() {
        Some((fault, PeerFault::BeatsButDoesNotWork)) => {
            passage.request_lost = true;
            passage.by = Some(fault);
        }
        Some((fault, PeerFault::TakesLate { delay })) => {
            passage.delay = passage.delay.plus(delay);
            passage.by = Some(fault);
        }
        _ => {}
    }
    passage
}

/// Carries a send to its endpoint, whatever becomes of the sender meanwhile.
fn carry(
    lane: &HolderLane,
    endpoint: &Arc<Endpoint>,
    sent: Sent,
    passage: Passage,
) -> oneshot::Receiver<ExecutionAnswer> {
    let (mut answered, answer) = oneshot::channel();
    let (world, endpoint) = (lane.world.clone(), endpoint.clone());
    let carrying = async move {
        if passage.request_lost {
            // The sender hears nothing for as long as it waits.
            answered.closed().await;
            return;
        }
        world.sleep(passage.delay).await;
        let answer = endpoint.deliver(&world, sent).await;
        // The sender may have gone.
        let _heard = answered.send(answer);
    };
    drop(tokio::spawn(Box::pin(carrying)));
    answer
}

/// What the sender hears of an answer.
async fn heard(
    lane: &HolderLane,
    endpoint: &Endpoint,
    answer: ExecutionAnswer,
    passage: Passage,
    draws: &mut Draws,
) -> ExecutionAnswer {
    let is_reply = !matches!(
        answer,
        ExecutionAnswer::Silence | ExecutionAnswer::KillsBridge
    );
    if !is_reply {
        return answer;
    }
    if passage.reply_lost {
        return ExecutionAnswer::Silence;
    }
    let strike = |fault: FaultId| lane.world.strike(fault);
    match endpoint.fault() {
        Some((
            fault,
            PeerFault::NeverAnswers | PeerFault::WrongDeliveryId | PeerFault::TalksGarbage,
        )) => {
            strike(fault);
            ExecutionAnswer::Silence
        }
        Some((fault, PeerFault::WorksButDoesNotBeat)) if draws.one_in(2) => {
            strike(fault);
            ExecutionAnswer::Silence
        }
        Some((fault, PeerFault::AnswersLate { delay })) => {
            strike(fault);
            lane.world.sleep(delay).await;
            answer
        }
        _ => answer,
    }
}
