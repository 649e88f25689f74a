//! Accepting a command: a new task, a duplicate of the key's first one, or a conflict with it.

use super::super::event::{Carried, Enqueued, Event};
use super::super::ids::{BodyRef, Fingerprint, KeyHash, RouteId, TaskId};
use super::super::keys::{Fate, KnownKey};
use super::super::policy::Policy;
use super::super::state::QueueState;
use super::super::time::{Now, QueueMs};
use super::{Refusal, Reply};
use crate::coverage::{Site, reached, sometimes};

type CommandTerms = (RouteId, Option<(KeyHash, Fingerprint)>, Option<QueueMs>);

pub(super) fn enqueue(
    state: &QueueState,
    policy: &Policy,
    now: Now,
    (route, key, deadline): CommandTerms,
    out: &mut Vec<Event>,
) -> Result<Reply, Refusal> {
    if route.0 as usize >= state.lanes.len() {
        return Err(Refusal::UnknownRoute(route));
    }
    // Before the deadline: a repetition of what was accepted in time is no late command.
    if let Some((key, fingerprint)) = key
        && let Some(entry) = remembered(state, policy, now, key)
    {
        if entry.fingerprint != fingerprint {
            reached!(Site::KeyConflictRefused);
            return Err(Refusal::KeyConflict { first: entry.id });
        }
        reached!(Site::DuplicateAnswered);
        sometimes!(Site::DuplicateOfFinished, entry.fate != Fate::Live);
        return Ok(Reply::Duplicate(entry.id, state.key_state(&entry)));
    }
    let at = now.queue.max(state.at);
    if deadline.is_some_and(|deadline| deadline <= at) {
        reached!(Site::DeadlineAlreadyPassed);
        return Err(Refusal::DeadlinePassed);
    }
    let id = TaskId {
        seq: state.next_seq,
        origin: state.origin,
    };
    let body = BodyRef::default();
    out.push(Event::Enqueued(Enqueued {
        id,
        at,
        route,
        deadline,
        key,
        carried: Carried::default(),
        body,
    }));
    Ok(Reply::Enqueued(id))
}

/// What a key stands for, if it stands for anything: as long as its task lives, and for the window's time after.
fn remembered(state: &QueueState, policy: &Policy, now: Now, key: KeyHash) -> Option<KnownKey> {
    let known = state.known_key(key)?;
    let in_window = now.queue.max(state.at) < known.at.after(policy.key_window);
    (known.fate == Fate::Live || in_window).then_some(known)
}

impl QueueState {
    /// Whether an enqueue with that key would be answered by what the key stands for already.
    pub(crate) fn remembers(&self, key: KeyHash, policy: &Policy, now: Now) -> bool {
        remembered(self, policy, now, key).is_some()
    }
}
