//! What all checks of one endpoint over one transport share: how to make links and commands, and how to wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use leasebridge::env::{Env, timeout};
use leasebridge::wire::v1::reply::Outcome;
use leasebridge::wire::v1::rollback_reply::State;
use leasebridge::wire::v1::{self, frame::Kind};
use leasebridge::wire::{
    BODY_BYTES_MAX, BridgeHello, EndpointHello, HEARTBEAT_DEFAULT, frame_bytes_for,
};

use super::peer::{Heard, Peer, Target};

/// Why a rule is not simply kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It is broken: what was seen.
    Broken(String),
    /// Nothing can be said, and why.
    NotJudged(String),
}

/// How a check ends.
pub(super) type Checked = Result<(), Finding>;

pub(super) fn broken<T>(what: impl Into<String>) -> Result<T, Finding> {
    Err(Finding::Broken(what.into()))
}

pub(super) fn not_judged<T>(why: impl Into<String>) -> Result<T, Finding> {
    Err(Finding::NotJudged(why.into()))
}

/// How an endpoint is tried.
pub(super) struct ProbeOptions {
    pub(super) env: Env,
    pub(super) target: Target,
    /// The other transport of the same endpoint, if it was tried before.
    pub(super) other: Option<Target>,
    pub(super) route: String,
    pub(super) body: Bytes,
    pub(super) secret: Bytes,
    pub(super) patience: Duration,
}

/// See the module.
pub(super) struct Probe {
    pub(super) env: Env,
    pub(super) target: Target,
    pub(super) other: Option<Target>,
    pub(super) body: Bytes,
    pub(super) secret: Bytes,
    pub(super) patience: Duration,
    route: String,
    /// No queue has it: random, as each opening's.
    origin: u64,
    next_seq: AtomicU64,
    commands: AtomicU64,
}

/// A link that is up, and what the endpoint said of itself.
pub(super) struct ProbeLink {
    pub(super) peer: Peer,
    pub(super) hello: EndpointHello,
    pub(super) raw: v1::Hello,
}

/// One send of one delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) seq: u64,
    pub(super) epoch: u32,
    pub(super) send: u32,
}

impl Sent {
    pub(super) fn again(self, send: u32) -> Self {
        Self { send, ..self }
    }

    pub(super) fn in_epoch(self, epoch: u32) -> Self {
        Self { epoch, ..self }
    }
}

/// What becomes of a send.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    Outcome(Outcome),
    RolledBack,
}

impl Answer {
    pub(super) fn words(&self) -> String {
        match self {
            Self::RolledBack => "`rollback_reply`, rolled back".to_owned(),
            Self::Outcome(Outcome::Done(done)) => {
                format!("`done` with {} bytes", done.result.len())
            }
            Self::Outcome(Outcome::Rejected(_)) => "`rejected`".to_owned(),
            Self::Outcome(Outcome::Refused(_)) => "`refused`".to_owned(),
            Self::Outcome(Outcome::Unavailable(_)) => "`unavailable`".to_owned(),
            Self::Outcome(Outcome::Stale(stale)) => {
                format!("`stale`, current epoch {}", stale.current_epoch)
            }
        }
    }
}

impl Probe {
    pub(super) fn new(options: ProbeOptions) -> Self {
        let origin = options.env.entropy.next_u64();
        Self {
            env: options.env,
            target: options.target,
            other: options.other,
            body: options.body,
            secret: options.secret,
            patience: options.patience,
            route: options.route,
            origin,
            next_seq: AtomicU64::new(1),
            commands: AtomicU64::new(0),
        }
    }

    /// How many commands were sent.
    pub(super) fn commands(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }

    /// What an honest bridge says first.
    pub(super) fn hello(&self) -> v1::Hello {
        let hello = BridgeHello {
            software: concat!("leasebridge check-endpoint/", env!("CARGO_PKG_VERSION")).into(),
            route: self.route.clone(),
            frame_bytes_max: frame_bytes_for(BODY_BYTES_MAX),
            body_bytes_max: BODY_BYTES_MAX,
            credentials: self.secret.clone(),
            heartbeat: HEARTBEAT_DEFAULT,
            tells_received: true,
        };
        match hello.to_kind() {
            Kind::Hello(hello) => hello,
            _ => unreachable!("a hello is one"),
        }
    }

    /// Whether anybody is there.
    ///
    /// # Errors
    /// In words, why not.
    pub(super) async fn reach(&self) -> Result<(), String> {
        let opening = Peer::open(&self.env, &self.target, Kind::Hello(self.hello()));
        match timeout(&*self.env.clock, self.patience, opening).await {
            Ok(opened) => opened.map(drop),
            Err(_elapsed) => Err(format!("{} doesn't answer", self.target.address())),
        }
    }

    /// A connection whose first frame this is. That it can't be made says nothing about a rule.
    pub(super) async fn open(&self, first: Kind) -> Result<Peer, Finding> {
        self.open_at(&self.target, first).await
    }

    async fn open_at(&self, target: &Target, first: Kind) -> Result<Peer, Finding> {
        let opening = Peer::open(&self.env, target, first);
        match timeout(&*self.env.clock, self.patience, opening).await {
            Ok(Ok(peer)) => Ok(peer),
            Ok(Err(error)) => not_judged(error),
            Err(_elapsed) => not_judged("no connection within the patience"),
        }
    }

    /// A socket that has said nothing yet.
    pub(super) async fn silent_socket(&self) -> Result<Peer, Finding> {
        let connecting = Peer::connect(&self.env, &self.target);
        match timeout(&*self.env.clock, self.patience, connecting).await {
            Ok(Ok(peer)) => Ok(peer),
            Ok(Err(error)) => not_judged(error),
            Err(_elapsed) => not_judged("no connection within the patience"),
        }
    }

    /// A link that is up.
    pub(super) async fn link(&self) -> Result<ProbeLink, Finding> {
        self.link_at(&self.target).await
    }

    /// The same over either transport.
    pub(super) async fn link_at(&self, target: &Target) -> Result<ProbeLink, Finding> {
        let mut peer = self.open_at(target, Kind::Hello(self.hello())).await?;
        match self.hear(&mut peer).await {
            Heard::Frame(Kind::Hello(raw)) => {
                match EndpointHello::from_kind(Kind::Hello(raw.clone())) {
                    Ok(hello) => Ok(ProbeLink { peer, hello, raw }),
                    Err(error) => not_judged(format!("no link: {error}")),
                }
            }
            other => not_judged(format!("no link: {} came for a hello", other.words())),
        }
    }

    /// A task that was never sent: its first send.
    pub(super) fn fresh(&self) -> Sent {
        Sent {
            seq: self.next_seq.fetch_add(1, Ordering::Relaxed),
            epoch: 1,
            send: 1,
        }
    }

    pub(super) fn delivery(&self, of: Sent) -> v1::DeliveryId {
        v1::DeliveryId {
            task: Some(v1::TaskId {
                origin: self.origin,
                seq: of.seq,
            }),
            epoch: of.epoch,
        }
    }

    pub(super) fn command(&self, of: Sent) -> v1::Command {
        self.commands.fetch_add(1, Ordering::Relaxed);
        v1::Command {
            delivery: Some(self.delivery(of)),
            send: of.send,
            route: self.route.clone(),
            headers: Vec::new(),
            body: self.body.clone(),
            key: String::new(),
            expires_in_ms: 0,
        }
    }

    pub(super) fn settled(&self, first: u64, last: u64) -> Kind {
        let range = v1::SettledRange {
            origin: self.origin,
            first,
            last,
        };
        Kind::Settled(v1::Settled {
            ranges: vec![range],
        })
    }

    /// Whatever comes next, heartbeats included.
    pub(super) async fn hear(&self, peer: &mut Peer) -> Heard {
        self.hear_within(peer, self.patience).await
    }

    pub(super) async fn hear_within(&self, peer: &mut Peer, patience: Duration) -> Heard {
        let heard = timeout(&*self.env.clock, patience, peer.next()).await;
        heard.unwrap_or(Heard::Silence)
    }

    /// What comes next that says something: heartbeats are acknowledged, signs of work passed over.
    pub(super) async fn word(&self, peer: &mut Peer) -> Heard {
        let until = self.env.clock.now() + self.patience;
        loop {
            let left = until.saturating_since(self.env.clock.now());
            match self.hear_within(peer, left).await {
                Heard::Frame(Kind::Heartbeat(beat)) => {
                    let sequence = beat.sequence;
                    let ack = v1::HeartbeatAck {
                        sequence,
                        received_bytes: 0,
                    };
                    peer.send(Kind::HeartbeatAck(ack)).await;
                }
                Heard::Frame(Kind::Working(_) | Kind::HeartbeatAck(_)) => {}
                other => return other,
            }
        }
    }

    /// Sends a command and waits for what becomes of it.
    pub(super) async fn ask(&self, link: &mut ProbeLink, of: Sent) -> Result<Answer, Finding> {
        let command = self.command(of);
        link.peer.send(Kind::Command(command)).await;
        self.answer(link, of).await
    }

    /// Waits for what becomes of a send, and nothing else may come.
    pub(super) async fn answer(&self, link: &mut ProbeLink, of: Sent) -> Result<Answer, Finding> {
        let (got, answer) = self.any_answer(link).await?;
        match got == of {
            true => Ok(answer),
            false => broken(format!("the answer to {of:?} names {got:?}")),
        }
    }

    /// Waits for an answer to any send: which, and what.
    pub(super) async fn any_answer(&self, link: &mut ProbeLink) -> Result<(Sent, Answer), Finding> {
        let (delivery, send, answer) = match self.word(&mut link.peer).await {
            Heard::Frame(Kind::Reply(reply)) => match reply.outcome {
                Some(outcome) => (reply.delivery, reply.send, Answer::Outcome(outcome)),
                None => return broken("a `reply` without an outcome"),
            },
            Heard::Frame(Kind::RollbackReply(reply)) if reply.state() == State::RolledBack => {
                (reply.delivery, reply.send, Answer::RolledBack)
            }
            other => {
                let what = other.words();
                return broken(format!("{what} came where an answer to a command was due"));
            }
        };
        let named = delivery.and_then(|delivery| Some((delivery.epoch, delivery.task?)));
        match named {
            Some((epoch, task)) if task.origin == self.origin => {
                let seq = task.seq;
                Ok((Sent { seq, epoch, send }, answer))
            }
            _ => broken("an answer names a task that was never sent"),
        }
    }

    /// Asks to forget a send, and waits for what the endpoint says.
    pub(super) async fn roll_back(
        &self,
        link: &mut ProbeLink,
        of: Sent,
    ) -> Result<v1::RollbackReply, Finding> {
        let delivery = Some(self.delivery(of));
        let send = of.send;
        let rollback = v1::Rollback { delivery, send };
        link.peer.send(Kind::Rollback(rollback)).await;
        match self.word(&mut link.peer).await {
            Heard::Frame(Kind::RollbackReply(reply)) => {
                if (reply.delivery, reply.send) == (delivery, send) {
                    Ok(reply)
                } else {
                    broken("the answer to a rollback names another send")
                }
            }
            other => broken(format!(
                "{} came where the answer to a rollback was due",
                other.words()
            )),
        }
    }

    /// Lets the endpoint forget all that was sent. Nobody is told if it doesn't: each rule had its say.
    pub(super) async fn tidy_up(&self) {
        let Ok(mut link) = self.link().await else {
            return;
        };
        let last = self.next_seq.load(Ordering::Relaxed) - 1;
        if last == 0 {
            return;
        }
        link.peer.send(self.settled(1, last)).await;
        let beat = v1::Heartbeat {
            sequence: 1,
            received_bytes: 0,
        };
        link.peer.send(Kind::Heartbeat(beat)).await;
        // Its answer shows that the rest was read.
        let _read = self.ack(&mut link.peer).await;
    }

    /// The next acknowledgement of a heartbeat, with the endpoint's own heartbeats between.
    ///
    /// # Errors
    /// In words, what came in its place.
    pub(super) async fn ack(&self, peer: &mut Peer) -> Result<v1::HeartbeatAck, String> {
        let until = self.env.clock.now() + self.patience;
        loop {
            let left = until.saturating_since(self.env.clock.now());
            match self.hear_within(peer, left).await {
                Heard::Frame(Kind::HeartbeatAck(ack)) => return Ok(ack),
                Heard::Frame(Kind::Heartbeat(_)) => {}
                other => return Err(other.words()),
            }
        }
    }

    /// A command that is executed, and its result; without one the rule is not judged.
    pub(super) async fn executed(&self, link: &mut ProbeLink) -> Result<(Sent, Bytes), Finding> {
        let of = self.fresh();
        match self.ask(link, of).await {
            Ok(Answer::Outcome(Outcome::Done(done))) => Ok((of, done.result)),
            Ok(other) => not_judged(format!(
                "it takes an executed command, and got {}",
                other.words()
            )),
            Err(Finding::Broken(what)) | Err(Finding::NotJudged(what)) => {
                not_judged(format!("it takes an executed command: {what}"))
            }
        }
    }

    /// After a violation: the link ends, with `Close` or without.
    pub(super) async fn ends(&self, mut peer: Peer) -> Checked {
        loop {
            match self.word(&mut peer).await {
                Heard::End(_) => return Ok(()),
                Heard::Frame(Kind::Close(_)) => {
                    return match self.word(&mut peer).await {
                        Heard::End(_) | Heard::Silence => Ok(()),
                        other => broken(format!("{} came behind `close`", other.words())),
                    };
                }
                // What was on its way, and what an endpoint says that ends in order.
                Heard::Frame(Kind::Drain(_) | Kind::Hello(_)) => {}
                Heard::Silence => return broken("the link goes on as if nothing had happened"),
                other => return broken(format!("{} came, and no end of the link", other.words())),
            }
        }
    }
}
