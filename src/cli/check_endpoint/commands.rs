//! Commands, rollbacks and what the inbox has to remember.

use bytes::Bytes;
use leasebridge::wire::BODY_BYTES_DEFAULT;
use leasebridge::wire::v1::frame::Kind;
use leasebridge::wire::v1::reply::Outcome;
use leasebridge::wire::v1::rollback_reply::State;

use super::probe::{Answer, Checked, Finding, Probe, ProbeLink, Sent, broken, not_judged};

/// Commands that are sent at once.
const AT_ONCE: u32 = 8;

fn done(result: &Bytes) -> Answer {
    let result = result.clone();
    Answer::Outcome(Outcome::Done(leasebridge::wire::v1::Done { result }))
}

/// The send must get this answer.
async fn must_get(probe: &Probe, link: &mut ProbeLink, of: Sent, expected: &Answer) -> Checked {
    let got = probe.ask(link, of).await?;
    if got == *expected {
        return Ok(());
    }
    let (got, expected) = match (&got, expected) {
        (Answer::Outcome(Outcome::Done(_)), Answer::Outcome(Outcome::Done(_))) => (
            "`done` with another result".to_owned(),
            "the stored one".to_owned(),
        ),
        _ => (got.words(), expected.words()),
    };
    broken(format!("{of:?} got {got} instead of {expected}"))
}

fn stale(current_epoch: u32) -> Answer {
    Answer::Outcome(Outcome::Stale(leasebridge::wire::v1::Stale {
        current_epoch,
    }))
}

pub(super) async fn one_reply_each(probe: &Probe) -> Checked {
    let mut link = probe.link().await?;
    let count = AT_ONCE.min(link.hello.in_flight_max);
    let mut open: Vec<Sent> = (0..count).map(|_| probe.fresh()).collect();
    for of in &open {
        link.peer.send(Kind::Command(probe.command(*of))).await;
    }
    while !open.is_empty() {
        let (of, answer) = probe.any_answer(&mut link).await?;
        let Some(at) = open.iter().position(|open| *open == of) else {
            return broken(format!("{of:?} was answered twice, or was never sent"));
        };
        match answer {
            Answer::Outcome(Outcome::Stale(_)) | Answer::RolledBack => {
                return broken(format!("{of:?}, a first send, got {}", answer.words()));
            }
            Answer::Outcome(_) => open.swap_remove(at),
        };
    }
    // Nothing may follow: what comes next has to be the answer to this.
    let last = probe.fresh();
    probe.ask(&mut link, last).await.map(drop)
}

pub(super) async fn done_binds(probe: &Probe) -> Checked {
    let mut link = probe.link().await?;
    let (of, result) = probe.executed(&mut link).await?;
    must_get(probe, &mut link, of.again(2), &done(&result)).await?;
    must_get(probe, &mut link, of.in_epoch(2), &done(&result)).await
}

pub(super) async fn done_outlives_links(probe: &Probe) -> Checked {
    let mut link = probe.link().await?;
    let (of, result) = probe.executed(&mut link).await?;
    drop(link);
    let mut link = probe.link().await?;
    must_get(probe, &mut link, of.again(2), &done(&result)).await
}

pub(super) async fn done_crosses_transports(probe: &Probe) -> Checked {
    let Some(other) = &probe.other else {
        return not_judged("it was tried over one transport");
    };
    let mut first = probe.link_at(other).await?;
    let (of, result) = probe.executed(&mut first).await?;
    let mut link = probe.link().await?;
    if link.hello.inbox_id != first.hello.inbox_id {
        return not_judged("the transports say that they have inboxes of their own");
    }
    must_get(probe, &mut link, of.again(2), &done(&result)).await
}

pub(super) async fn no_binds_its_epoch(probe: &Probe) -> Checked {
    let mut link = probe.link().await?;
    let of = probe.fresh();
    let first = probe.ask(&mut link, of).await?;
    match &first {
        Answer::Outcome(Outcome::Rejected(_) | Outcome::Refused(_)) => {
            let again = probe.ask(&mut link, of.again(2)).await?;
            match again.words() == first.words() {
                true => Ok(()),
                false => broken(format!(
                    "an epoch got {} and then {}",
                    first.words(),
                    again.words()
                )),
            }
        }
        other => not_judged(format!(
            "it takes a rejected or refused command, and got {}",
            other.words()
        )),
    }
}

pub(super) async fn older_is_stale(probe: &Probe) -> Checked {
    let mut link = probe.link().await?;
    let of = probe.fresh().in_epoch(3);
    probe.ask(&mut link, of).await?;
    must_get(probe, &mut link, of.in_epoch(2), &stale(3)).await
}

pub(super) async fn duplicates_share(probe: &Probe) -> Checked {
    let mut link = probe.link().await?;
    if link.hello.in_flight_max < 2 {
        return not_judged("it takes one command at a time");
    }
    let of = probe.fresh();
    for send in [1, 2] {
        let command = probe.command(of.again(send));
        link.peer.send(Kind::Command(command)).await;
    }
    let (first, one) = probe.any_answer(&mut link).await?;
    let (second, other) = probe.any_answer(&mut link).await?;
    if first.send == second.send || first.again(1) != of || second.again(1) != of {
        return broken(format!(
            "sends 1 and 2 of a task were answered as {first:?} and {second:?}"
        ));
    }
    match one == other {
        true => Ok(()),
        false => broken(format!(
            "one execution, two outcomes: {} and {}",
            one.words(),
            other.words()
        )),
    }
}

/// The state that a rollback must be answered with.
async fn must_be(
    probe: &Probe,
    link: &mut ProbeLink,
    of: Sent,
    expected: State,
) -> Result<Bytes, Finding> {
    let reply = probe.roll_back(link, of).await?;
    match reply.state() == expected {
        true => Ok(reply.result),
        false => broken(format!(
            "a rollback of {of:?} got {} instead of {}",
            reply.state().as_str_name(),
            expected.as_str_name()
        )),
    }
}

pub(super) async fn unknown_leaves_a_tombstone(probe: &Probe) -> Checked {
    let mut link = probe.link().await?;
    let of = probe.fresh();
    must_be(probe, &mut link, of, State::Unknown).await?;
    must_get(probe, &mut link, of, &Answer::RolledBack).await
}

pub(super) async fn rollback_names_one_send(probe: &Probe) -> Checked {
    let mut link = probe.link().await?;
    let of = probe.fresh();
    must_be(probe, &mut link, of, State::Unknown).await?;
    match probe.ask(&mut link, of.again(2)).await? {
        Answer::RolledBack => broken("a rollback of send 1 took send 2 back as well"),
        Answer::Outcome(Outcome::Stale(_)) => broken("send 2 is called stale"),
        Answer::Outcome(_) => Ok(()),
    }
}

pub(super) async fn rollback_finds_done(probe: &Probe) -> Checked {
    let mut link = probe.link().await?;
    let (of, result) = probe.executed(&mut link).await?;
    let told = must_be(probe, &mut link, of, State::AlreadyDone).await?;
    match told == result {
        true => must_get(probe, &mut link, of.again(2), &done(&result)).await,
        false => broken("a rollback of an executed command got another result"),
    }
}

pub(super) async fn settled_never_runs(probe: &Probe) -> Checked {
    let mut link = probe.link().await?;
    let of = probe.fresh();
    link.peer.send(probe.settled(of.seq, of.seq)).await;
    must_get(probe, &mut link, of, &stale(1)).await?;
    // The next one is not in the range.
    match probe.ask(&mut link, probe.fresh()).await? {
        Answer::Outcome(Outcome::Stale(_)) => {
            broken("a task beside the settled range is called stale")
        }
        _ => Ok(()),
    }
}

pub(super) async fn settled_outlives_links(probe: &Probe) -> Checked {
    let mut link = probe.link().await?;
    let (of, _) = probe.executed(&mut link).await?;
    link.peer.send(probe.settled(of.seq, of.seq)).await;
    must_get(probe, &mut link, of.again(2), &stale(1)).await?;
    drop(link);
    let mut link = probe.link().await?;
    must_get(probe, &mut link, of.in_epoch(2), &stale(2)).await
}

pub(super) async fn refuses_large_bodies(probe: &Probe) -> Checked {
    let mut link = probe.link().await?;
    let most = link.hello.body_bytes_max;
    if most > BODY_BYTES_DEFAULT {
        return not_judged(format!(
            "it takes bodies of {most} bytes: a larger one would take long"
        ));
    }
    let of = probe.fresh();
    let mut command = probe.command(of);
    command.body = vec![b'x'; most as usize + 1].into();
    link.peer.send(Kind::Command(command)).await;
    match probe.answer(&mut link, of).await? {
        Answer::Outcome(Outcome::Refused(_)) => Ok(()),
        other => broken(format!("a body of {most} + 1 bytes got {}", other.words())),
    }
}
