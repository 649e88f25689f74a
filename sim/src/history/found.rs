//! One task as the admin API shows it, as a record.

use leasebridge::core::event::{Doubt, LeaseOutcome, PoisonCause};
use leasebridge::core::history::Attempt;
use leasebridge::core::{TaskId, TaskState};
use leasebridge::history;
use leasebridge::queue::{Explained, Payload, SafeTaskQueue};

use super::{TaskName, What};

/// Why these answers are always to be had.
const HELD: &str = "a log in files is held for as long as its process lives";

/// The task as the queue shows it now; one that no longer lives is looked for by its key.
pub async fn found<T: Payload>(queue: &SafeTaskQueue<T>, id: TaskId, key: Option<&str>) -> What {
    let explained = queue.explain(id).await;
    match explained.expect(HELD) {
        Some(explained) => alive(&explained),
        None => {
            let known = key.map(|key| queue.find_key_anywhere(key).expect(HELD));
            gone(id, &known.unwrap_or_default())
        }
    }
}

fn alive<T>(explained: &Explained<T>) -> What {
    let mut what = history::found(explained);
    if let What::Found {
        blamed_for_deaths, ..
    } = &mut what
    {
        let kept: Vec<&Attempt> = explained
            .history
            .iter()
            .flat_map(|history| history.attempts())
            .collect();
        *blamed_for_deaths = blamed(&kept, explained.state);
    }
    what
}

/// A task that no longer lives: *done* if its key still knows.
fn gone(id: TaskId, by_key: &[(TaskId, TaskState)]) -> What {
    let is_done = by_key.contains(&(id, TaskState::Done));
    What::Found {
        task: TaskName::from(id),
        state: if is_done { "done" } else { "gone" }.to_owned(),
        cause: None,
        epoch: 0,
        retries: 0,
        in_doubt: 0,
        attempts: Vec::new(),
        blamed_for_deaths: Vec::new(),
    }
}

/// The attempts that a death of the bridge ended and that were charged for it, or convicted, which is not
/// charged any more.
fn blamed(attempts: &[&Attempt], state: TaskState) -> Vec<u32> {
    let last = attempts.last().map(|attempt| attempt.epoch);
    let is_convicted = state == TaskState::Poison(PoisonCause::InDoubtSpent);
    attempts
        .iter()
        .filter(|attempt| attempt.outcome == LeaseOutcome::InDoubt(Doubt::BridgeDied))
        .filter(|attempt| attempt.charged || (is_convicted && Some(attempt.epoch) == last))
        .map(|attempt| attempt.epoch.get())
        .collect()
}
