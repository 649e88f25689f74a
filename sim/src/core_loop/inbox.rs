//! The product's inbox, and beside it the reference: both are fed the same, and every decision is compared.
//!
//! The product's decides what happens. Where the reference would have decided otherwise there is a [`Difference`],
//! which the endpoint puts in the history and the oracle judges.

use std::fmt;

use bytes::Bytes;
use leasebridge::core::{DeliveryId, Epoch, IdRange, SendNumber};
use leasebridge::receiver::InboxLimits;
use leasebridge::receiver::inbox::{
    Decision, Full, IdRanges, Inbox, LinkId, Remembered, RunId, Waiter,
};
use leasebridge::wire::{ExecutionOutcome, HandlerError};

use super::answer::ExecutionAnswer;
use super::reference::{Reference, ReferenceState, Ruling};
use crate::history::{TaskName, What};
use crate::plan::{self, Micros};

/// Nothing of a run is turned away: limits are the business of the product's own tests.
const LIMITS: InboxLimits = InboxLimits {
    entries_max: usize::MAX,
    result_bytes_max: usize::MAX,
    settled_ranges_max: usize::MAX,
    tombstones_per_link: usize::MAX,
};

/// The answer of a handler whose command kills its bridge.
const PILL: &str = "its bridge dies of it";

/// See the module.
pub(super) struct Twins {
    product: Inbox,
    reference: Reference,
    compared: u64,
}

/// What becomes of a command that arrives.
pub(super) enum ArrivalDecision {
    /// It is to be executed.
    Run(RunId),
    /// An execution under way answers it too.
    Join,
    /// It is answered at once; by silence, if nothing is executed for it.
    Answer(ExecutionAnswer),
}

/// What the product decided, and what the rules say.
pub(super) struct Difference {
    waiter: Waiter,
    product: String,
    reference: String,
}

impl Twins {
    pub(super) fn new() -> Self {
        Self {
            product: Inbox::new(LIMITS),
            reference: Reference::default(),
            compared: 0,
        }
    }

    /// How many decisions were compared so far.
    pub(super) fn compared(&self) -> u64 {
        self.compared
    }

    /// A command arrives.
    pub(super) fn on_command(&mut self, waiter: Waiter) -> (ArrivalDecision, Option<Difference>) {
        let decision = self.product.on_command(waiter);
        let ruling = self.reference.on_command(waiter);
        self.compared += 1;
        let decided = ruling_of(&decision);
        let difference = (decided != ruling).then(|| Difference {
            waiter,
            product: decided.to_string(),
            reference: ruling.to_string(),
        });
        let told = match decision {
            Decision::Run(run) => ArrivalDecision::Run(run),
            Decision::Join => ArrivalDecision::Join,
            Decision::Answer(outcome) => ArrivalDecision::Answer(answer_of(&outcome)),
            Decision::Stale(_) | Decision::Settled | Decision::RolledBack | Decision::Full(_) => {
                ArrivalDecision::Answer(ExecutionAnswer::Silence)
            }
        };
        (told, difference)
    }

    /// The handler is about to be called: whether it still may. Nothing takes a run back here, so it always may.
    pub(super) fn on_start(&mut self, waiter: Waiter, run: RunId) -> (bool, Option<Difference>) {
        let starts = self.product.on_start(waiter.delivery.task, run);
        self.compared += 1;
        let difference = (!starts).then(|| Difference {
            waiter,
            product: "takes the execution back".to_owned(),
            reference: "starts it".to_owned(),
        });
        (starts, difference)
    }

    /// The execution that `waiter` began has come to this.
    pub(super) fn on_finished(
        &mut self,
        waiter: Waiter,
        run: RunId,
        answer: ExecutionAnswer,
    ) -> Option<Difference> {
        let task = waiter.delivery.task;
        let Some(outcome) = outcome_of(answer) else {
            // What comes to nothing is put back as what a store knows to be not executed.
            if let Some(epoch) = self.product.bound_epoch(task) {
                self.product.remember(task, epoch, Remembered::NotDone);
            }
            self.reference.on_finished(task, None);
            return None;
        };
        let mut waited = self.product.on_finished(task, run, &outcome);
        waited.sort_unstable();
        let expected = self.reference.on_finished(task, Some(answer));
        self.compared += 1;
        (waited != expected).then(|| Difference {
            waiter,
            product: format!("answers {} sends at the end", waited.len()),
            reference: format!("answers {}", expected.len()),
        })
    }

    /// The process dies: a new inbox is built from what is on disk.
    pub(super) fn on_crash(&mut self, inbox: plan::Inbox) {
        self.reference.on_crash(inbox);
        let mut product = Inbox::new(LIMITS);
        let mut done = IdRanges::default();
        for (task, past) in self.reference.tasks() {
            let what = match &past.state {
                ReferenceState::Idle | ReferenceState::Running(_) => Remembered::NotDone,
                ReferenceState::Done => Remembered::Done(Bytes::new()),
                ReferenceState::Answered(_, answer) => match outcome_of(*answer) {
                    Some(Ok(result)) => Remembered::Done(result),
                    Some(Err(error)) => Remembered::Answered(error),
                    None => Remembered::NotDone,
                },
                ReferenceState::Cut => Remembered::InDoubt,
                ReferenceState::DoneBefore => {
                    let added = done.insert(IdRange::one(task), usize::MAX);
                    assert!(added, "no limit stands against it");
                    continue;
                }
            };
            if let Some(epoch) = Epoch::new(past.epoch) {
                product.remember(task, epoch, what);
            }
        }
        product.remember_done_before(done);
        self.product = product;
    }
}

impl Difference {
    /// As a record of the endpoint.
    pub(super) fn record(self) -> What {
        What::Differed {
            task: TaskName::from(self.waiter.delivery.task),
            epoch: self.waiter.delivery.epoch.get(),
            send: self.waiter.send.get(),
            inbox: self.product,
            reference: self.reference,
        }
    }
}

/// A send as the inbox sees it. There are no links in the core loop: all sends come over one.
pub(super) fn waiter(delivery: DeliveryId, send: u8) -> Waiter {
    Waiter {
        delivery,
        send: SendNumber::new(u32::from(send)).expect("the holder counts sends from 1"),
        link: LinkId(0),
    }
}

/// What a handler says, if it says anything.
fn outcome_of(answer: ExecutionAnswer) -> Option<ExecutionOutcome> {
    Some(match answer {
        ExecutionAnswer::Done => Ok(Bytes::new()),
        ExecutionAnswer::Rejected => Err(HandlerError::Rejected(String::new())),
        ExecutionAnswer::Refused => Err(HandlerError::Refused(String::new())),
        ExecutionAnswer::Unavailable(span) => Err(HandlerError::Unavailable {
            retry_after: span.as_duration(),
            text: String::new(),
        }),
        ExecutionAnswer::KillsBridge => Err(HandlerError::Rejected(PILL.to_owned())),
        ExecutionAnswer::Silence => return None,
    })
}

fn answer_of(outcome: &ExecutionOutcome) -> ExecutionAnswer {
    match outcome {
        Ok(_) => ExecutionAnswer::Done,
        Err(HandlerError::Rejected(text)) if text == PILL => ExecutionAnswer::KillsBridge,
        Err(HandlerError::Rejected(_)) => ExecutionAnswer::Rejected,
        Err(HandlerError::Refused(_)) => ExecutionAnswer::Refused,
        Err(HandlerError::Unavailable { retry_after, .. }) => {
            let millis = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
            ExecutionAnswer::Unavailable(Micros::from_millis(millis))
        }
    }
}

fn ruling_of(decision: &Decision) -> Ruling {
    match decision {
        Decision::Run(_) => Ruling::Runs,
        Decision::Join => Ruling::Joins,
        Decision::Answer(outcome) => Ruling::Knows(answer_of(outcome)),
        Decision::Stale(epoch) => Ruling::Stale(epoch.get()),
        Decision::Full(Full::Waiters) => Ruling::Full,
        Decision::Settled | Decision::RolledBack | Decision::Full(_) => Ruling::Other,
    }
}

impl fmt::Display for Ruling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runs => f.write_str("runs it"),
            Self::Joins => f.write_str("joins it to an execution"),
            Self::Knows(answer) => write!(f, "answers {answer} from memory"),
            Self::Stale(newest) => write!(f, "calls it stale after epoch {newest}"),
            Self::Full => f.write_str("lets no more wait"),
            Self::Other => f.write_str("turns it away"),
        }
    }
}
