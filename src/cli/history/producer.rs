//! What a producer offers its bridge, and what it is told.

use leasebridge::core::TaskId;
use leasebridge::history::{HostName, OpId, TaskName, What};
use leasebridge::wire::v1;
use leasebridge::wire::v1::enqueue_reply::Result as Reply;
use leasebridge::wire::v1::refusal::Reason;

use super::op::{op_of, print_of};
use super::{BRIDGE, HistoryLost, HistorySink};

/// Tells the history, if there is one. A command that is sent again is offered again, under the number it
/// had.
#[derive(Clone)]
pub(crate) struct Teller(pub(crate) Option<HistorySink>);

impl Teller {
    /// These are about to be sent.
    pub(crate) async fn offered(&self, commands: &[v1::EnqueueRequest]) -> Result<(), HistoryLost> {
        self.each(commands, |command, op| What::Offered {
            op,
            bridge: HostName::from(BRIDGE),
            route: command.route.clone(),
            key: Some(command.key.clone()).filter(|key| !key.is_empty()),
            print: print_of(&command.route, &command.body),
            deadline: (command.deadline_unix_ms > 0)
                .then(|| command.deadline_unix_ms.saturating_mul(1_000)),
        })
        .await
    }

    /// What the answer will be told of.
    pub(crate) fn keep(&self, commands: &[v1::EnqueueRequest]) -> Vec<v1::EnqueueRequest> {
        match &self.0 {
            Some(_) => commands.to_vec(),
            None => Vec::new(),
        }
    }

    /// They were answered, in order.
    pub(crate) async fn answered(
        &self,
        commands: &[v1::EnqueueRequest],
        replies: &[v1::EnqueueReply],
    ) -> Result<(), HistoryLost> {
        let mut replies = replies.iter();
        self.each(commands, |_, op| {
            answer(op, replies.next().and_then(|reply| reply.result.as_ref()))
        })
        .await
    }

    /// All of them were turned away because the queue is full: nothing was kept.
    pub(crate) async fn turned_away(
        &self,
        commands: &[v1::EnqueueRequest],
    ) -> Result<(), HistoryLost> {
        self.each(commands, |_, op| What::Declined {
            op,
            why: "full".to_owned(),
        })
        .await
    }

    /// No answer came, or none that says what became of them.
    pub(crate) async fn unanswered(
        &self,
        commands: &[v1::EnqueueRequest],
        why: &str,
    ) -> Result<(), HistoryLost> {
        self.each(commands, |_, op| What::Unknown {
            op,
            why: why.to_owned(),
        })
        .await
    }

    async fn each(
        &self,
        commands: &[v1::EnqueueRequest],
        mut what: impl FnMut(&v1::EnqueueRequest, OpId) -> What,
    ) -> Result<(), HistoryLost> {
        let Some(history) = &self.0 else {
            return Ok(());
        };
        let whats = commands
            .iter()
            .map(|command| what(command, op_of(&command.key, &command.body)))
            .collect();
        history.tell(whats).await
    }
}

fn answer(op: OpId, reply: Option<&Reply>) -> What {
    let unknown = |why: &str| What::Unknown {
        op,
        why: why.to_owned(),
    };
    match reply {
        Some(Reply::Accepted(accepted)) => match accepted.task {
            Some(task) => What::Accepted {
                op,
                bridge: HostName::from(BRIDGE),
                task: TaskName::from(TaskId::from(task)),
                duplicate: accepted.duplicate,
            },
            None => unknown("accepted, and no task named"),
        },
        Some(Reply::Refused(refusal)) => {
            let why = match refusal.reason() {
                Reason::QueueFull => "full",
                Reason::Closing => "closed",
                Reason::UnknownRoute => "unknown_route",
                Reason::BodyTooLarge | Reason::HeadersTooLarge | Reason::KeyTooLong => "too_large",
                Reason::KeyConflict => "key_conflict",
                Reason::DeadlinePassed => "deadline_passed",
                Reason::Unspecified => return unknown(&refusal.message),
            };
            What::Declined {
                op,
                why: why.to_owned(),
            }
        }
        None => unknown("an empty answer"),
    }
}
