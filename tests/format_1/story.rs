//! What a queue lived through, told event by event, with every kind of record in it. The same story went into the
//! folder of version 1; told again without a log, it says what that folder must say.

use std::collections::BTreeMap;
use std::hash::Hasher;

use leasebridge::core::event::{Doubt, Event, Removal, TransportKind};
use leasebridge::core::ids::{Fingerprint, KeyHash, SegmentNo};
use leasebridge::core::{
    DeliveryId, Input, MonoMs, Now, Origin, Policy, QueueMs, QueueState, RejectionWait, Reply,
    Report, RouteId, RoutePolicy, Settlement, SpanMs, TaskId, decide,
};
use leasebridge_sim::host::WALL_START;
use prost::Message;
use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher13 as SipHasher13x128};

pub(crate) const SALT: u128 = 0x5a17_0000_0000_0000_0000_0000_0000_0001;

pub(crate) const ROUTES: [&str; 4] = ["mail", "print", "held", "late"];
const MAIL: RouteId = RouteId(0);
const PRINT: RouteId = RouteId(1);
const HELD: RouteId = RouteId(2);
const LATE: RouteId = RouteId(3);

/// Where the log of the story goes.
pub(crate) trait Log {
    /// A new opening of the folder.
    fn open(&mut self);
    /// Writes the event, its body's place filled in.
    fn append(&mut self, state: &QueueState, event: &mut Event, body: &[u8]);
    /// Nothing in that segment, nor before it, is needed any more.
    fn retire(&mut self, state: &QueueState, segment: SegmentNo);
    /// The log is closed in order.
    fn close(&mut self, state: &QueueState);
}

/// The state that the story comes to, and what its log can't be asked for.
#[derive(Default)]
pub(crate) struct Story {
    pub(crate) state: QueueState,
    /// Bodies of all tasks that ever were, as they stand in the log.
    pub(crate) bodies: BTreeMap<TaskId, Vec<u8>>,
    now: Now,
}

/// As the queue hashes a key; written down here a second time because a log outlives the code.
pub(crate) fn hash_key(key: &str) -> KeyHash {
    let mut hasher = SipHasher13x128::new_with_key(&SALT.to_le_bytes());
    hasher.write(key.as_bytes());
    KeyHash(hasher.finish128().as_u128())
}

fn fingerprint(route: &str, value: &[u8]) -> Fingerprint {
    let mut hasher = SipHasher13::new_with_key(&SALT.to_le_bytes());
    hasher.write_usize(route.len());
    hasher.write(route.as_bytes());
    hasher.write(value);
    Fingerprint(hasher.finish())
}

/// `key length (2 bytes) | key | value`.
pub(crate) fn envelope(key: &str, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(key.len()).expect("short keys");
    [&len.to_le_bytes()[..], key.as_bytes(), value].concat()
}

fn policy() -> Policy {
    Policy {
        route: RoutePolicy {
            retries_max: 2,
            // As it was when the story was told.
            after_rejection: RejectionWait::Exponential,
            ..RoutePolicy::default()
        },
        ..Policy::default()
    }
}

/// A task's value: its words, and enough behind them to fill a segment with few.
pub(crate) fn value(words: &str) -> String {
    format!("{words:.<120}")
}

/// Tells the story. `until_closed` ends with the first closing; else it ends in the middle of the third opening,
/// with a lease in the air.
pub(crate) fn tell(log: &mut dyn Log, until_closed: bool) -> Story {
    let mut story = Story {
        state: QueueState::new(SALT),
        ..Story::default()
    };
    // Two days before the simulation begins: what was finished then is forgotten in between.
    story.now.queue = QueueMs(WALL_START.unix_ms() - 48 * 3_600_000);
    story.open(log, 1);
    story.first_day(log);
    story.compaction(log);
    story.last_hour(log);
    log.close(&story.state);
    if until_closed {
        return story;
    }
    story.deaths(log);
    story
}

impl Story {
    fn open(&mut self, log: &mut dyn Log, origin: u64) {
        log.open();
        self.now.mono = MonoMs(0);
        let origin = Origin(0xfee1_0000 + origin);
        self.run(
            log,
            Input::Open {
                origin,
                jitter: 5,
                is_cut: false,
            },
        );
    }

    fn run(&mut self, log: &mut dyn Log, input: Input<'_>) -> Reply {
        let body = match &input {
            Input::Move { id, .. } => self.bodies[id].clone(),
            Input::Restore { image } => self.bodies[&image.id].clone(),
            _ => Vec::new(),
        };
        self.run_with(log, input, &body)
    }

    fn run_with(&mut self, log: &mut dyn Log, input: Input<'_>, body: &[u8]) -> Reply {
        self.now.mono.0 += 10;
        self.now.queue.0 += 10;
        let mut events = Vec::new();
        let reply = decide(&self.state, &policy(), self.now, input, &mut events);
        for event in events {
            self.happens(log, event, body);
        }
        reply.expect("nothing of the story is refused")
    }

    fn happens(&mut self, log: &mut dyn Log, mut event: Event, body: &[u8]) {
        log.append(&self.state, &mut event, body);
        self.state.apply(&event);
    }

    fn enqueue(
        &mut self,
        log: &mut dyn Log,
        route: RouteId,
        words: &str,
        key: Option<&str>,
        deadline: Option<QueueMs>,
    ) -> TaskId {
        let value = value(words).encode_to_vec();
        let body = envelope(key.unwrap_or_default(), &value);
        let name = ROUTES[route.0 as usize];
        let input = Input::Enqueue {
            route,
            key: key.map(|key| (hash_key(key), fingerprint(name, &value))),
            deadline,
        };
        let Reply::Enqueued(id) = self.run_with(log, input, &body) else {
            panic!("{words} is new");
        };
        self.bodies.insert(id, body);
        id
    }

    fn grant(&mut self, log: &mut dyn Log, route: RouteId) -> DeliveryId {
        match self.run(log, Input::Grant { route }) {
            Reply::Granted(grant) => grant.delivery,
            other => panic!("nothing to grant from {route:?}: {other:?}"),
        }
    }

    fn settle(&mut self, log: &mut dyn Log, delivery: DeliveryId, report: Report) {
        let sent = !matches!(report, Report::NotSent | Report::Released);
        if sent {
            self.run(log, Input::Send { delivery });
        }
        let error = "the endpoint said: ".to_owned() + &"no, ".repeat(12) + "no";
        let settlement = Settlement {
            delivery,
            report,
            sends: u8::from(sent),
            transport: sent.then_some(TransportKind::Socket),
            error: (report != Report::Done).then(|| error.into()),
            jitter: 1 << 40,
        };
        self.run(log, Input::Settle(settlement));
    }

    fn pause(&mut self, log: &mut dyn Log, route: RouteId, paused: bool) {
        self.run(log, Input::PauseRoute { route, paused });
    }

    fn attempt(&mut self, log: &mut dyn Log, route: RouteId, report: Report) -> TaskId {
        let delivery = self.grant(log, route);
        self.settle(log, delivery, report);
        delivery.task
    }

    /// Lets so much time pass, and its work be done.
    fn pass(&mut self, log: &mut dyn Log, ms: u64) {
        self.now.mono.0 += ms;
        self.now.queue.0 += ms;
        let (jitter, limit) = (7, 1000);
        while self.run(log, Input::Tick { jitter, limit }) == (Reply::Ticked { more: true }) {}
    }

    /// Fills the first segment: tasks of every state, and keys of finished ones.
    fn first_day(&mut self, log: &mut dyn Log) {
        for name in &ROUTES[..3] {
            self.run(log, Input::DefineRoute { name });
        }
        self.pause(log, HELD, true);
        self.enqueue(log, HELD, "held", Some("held"), None);
        self.enqueue(log, MAIL, "forgotten", Some("forgotten"), None);
        self.attempt(log, MAIL, Report::Done);
        // To poison, with a history of three.
        self.enqueue(log, MAIL, "rejected thrice", Some("rejected thrice"), None);
        for _ in 0..3 {
            self.attempt(log, MAIL, Report::Rejected);
            self.pass(log, 20_000);
        }
        self.enqueue(log, MAIL, "refused", None, None);
        self.attempt(log, MAIL, Report::Refused);
        self.now.queue.0 += 36 * 3_600_000;
        for n in 0..FINISHED {
            let key = finished(n);
            self.enqueue(log, MAIL, &key, Some(&key), None);
            self.attempt(log, MAIL, Report::Done);
        }
        let id = self.enqueue(log, MAIL, "purged", Some("purged"), None);
        self.attempt(log, MAIL, Report::Refused);
        // As it was purged then: its key stays.
        self.now.mono.0 += 10;
        self.now.queue.0 += 10;
        let (at, why) = (self.now.queue, Removal::Purged);
        self.happens(log, Event::Removed { id, at, why }, &[]);
        self.enqueue(log, MAIL, "not sent", None, None);
        self.attempt(log, MAIL, Report::NotSent);
    }

    /// All that the first segment holds and is needed is written anew, further on; one task is in the air meanwhile.
    fn compaction(&mut self, log: &mut dyn Log) {
        let far = QueueMs(WALL_START.unix_ms() + 3_600_000);
        self.enqueue(log, PRINT, "with a deadline", None, Some(far));
        self.enqueue(log, PRINT, "released", None, None);
        let held = self.grant(log, PRINT);
        let released = self.grant(log, PRINT);
        self.settle(log, released, Report::Released);
        let ids: Vec<TaskId> = self.bodies.keys().copied().collect();
        let from = SegmentNo(1);
        for id in ids {
            self.run(log, Input::Move { id, from });
        }
        for n in 0..FINISHED {
            let key = hash_key(&finished(n));
            self.run(log, Input::MoveKey { key, from });
        }
        for key in ["purged", "forgotten"] {
            let key = hash_key(key);
            self.run(log, Input::MoveKey { key, from });
        }
        assert!(self.state.is_unneeded(from), "all of it was moved");
        log.retire(&self.state, from);
        self.settle(log, held, Report::InDoubt(Doubt::LeaseExpired));
    }

    /// One of each of the other records, a few minutes before the simulation begins.
    fn last_hour(&mut self, log: &mut dyn Log) {
        let soon = WALL_START.unix_ms() - 10 * 60_000;
        // The key of what was finished two days before is forgotten.
        self.pass(log, soon - self.now.queue.0);
        self.run(log, Input::DefineRoute { name: ROUTES[3] });
        self.pause(log, LATE, true);
        self.pause(log, LATE, false);
        let deadline = Some(QueueMs(soon + 60_000));
        self.enqueue(log, MAIL, "expired", None, deadline);
        let id = self.enqueue(log, MAIL, "rerouted", Some("rerouted"), None);
        self.run(log, Input::Reroute { id, to: PRINT });
        self.pass(log, 120_000);
        // Out of poison, by hand.
        let first = self.state.poison(MAIL, None).next();
        let id = first.expect("one was rejected thrice").id;
        self.run(log, Input::Requeue { id });
        // Out to another queue, and in from one.
        let delivery = self.grant(log, MAIL);
        let mut image = self.state.image(delivery.task).expect("it lives");
        self.run(log, Input::DrainOut { delivery });
        image.id.origin = Origin(0x0abc);
        image.key = None;
        let body = envelope("", &value("restored").encode_to_vec());
        self.bodies.insert(image.id, body);
        self.run(log, Input::Restore { image: &image });
        for n in 0..4 {
            let key = format!("fresh {n}");
            self.enqueue(log, MAIL, &key, Some(&key), None);
        }
        let retry_after = SpanMs(3_600_000);
        self.attempt(log, MAIL, Report::Unavailable { retry_after });
        self.attempt(log, MAIL, Report::InDoubt(Doubt::NoAnswer));
        self.attempt(log, PRINT, Report::Rejected);
        self.attempt(log, MAIL, Report::Done);
    }

    /// Two openings end with two tasks in the air: who was there both times is a suspect.
    fn deaths(&mut self, log: &mut dyn Log) {
        for origin in [2, 3] {
            self.open(log, origin);
            self.pass(log, 31_000);
            for _ in 0..2 {
                let delivery = self.grant(log, MAIL);
                self.run(log, Input::Send { delivery });
            }
        }
    }
}

/// Commands finished within the day before the simulation begins.
pub(crate) const FINISHED: u32 = 30;

pub(crate) fn finished(n: u32) -> String {
    format!("finished {n}")
}
