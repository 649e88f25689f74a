//! Makes histories in a few words: each record is one second after the one before.

use std::collections::BTreeMap;

use crate::history::{Counts, LeaseEnd, Record, RouteTerms, TaskName, What};
use crate::oracle::{Ask, Asked, CommandNature, Invariant, Rules, Trouble, judge};
use crate::plan::{FaultKind, HostName, Inbox, Micros, NetFault, OpId, Ways};

pub(super) const BRIDGE: &str = "bridge";
pub(super) const ENDPOINT: &str = "endpoint";
pub(super) const OTHER: &str = "endpoint-2";
pub(super) const ROUTE: &str = "orders";
pub(super) const SECOND: u64 = 1_000_000;
pub(super) const MAX_RETRIES: u16 = 2;
pub(super) const MAX_IN_DOUBT: u16 = 3;

/// A history under construction. Task `n` is made by op `n` and is called `n-00000000000000aa`.
#[derive(Clone, Debug)]
pub(super) struct Story {
    pub(super) records: Vec<Record>,
    at: u64,
    sequence: u64,
    boot: u32,
    route: &'static str,
}

/// A queue that is open and empty.
pub(super) fn story() -> Story {
    let empty = Story {
        records: Vec::new(),
        at: 0,
        sequence: 0,
        boot: 0,
        route: ROUTE,
    };
    empty.up("inbox-1").opened(Counts::default())
}

pub(super) fn task(number: u32) -> TaskName {
    format!("{number}-00000000000000aa")
        .parse()
        .expect("a name")
}

/// Counts with so many tasks ready.
pub(super) fn ready(ready: u64) -> Counts {
    Counts {
        ready,
        ..Counts::default()
    }
}

impl Story {
    pub(super) fn record(mut self, host: &str, what: What) -> Self {
        self.at += SECOND;
        self.records.push(Record {
            at: self.at,
            host: host.into(),
            what,
        });
        self
    }

    /// Lets so many seconds pass before the next record.
    pub(super) fn after(mut self, secs: u64) -> Self {
        self.at += secs * SECOND;
        self
    }

    /// What follows is on another route.
    pub(super) fn on(mut self, route: &'static str) -> Self {
        self.route = route;
        self
    }

    // ── producers and operators ──

    pub(super) fn offered(self, op: u32) -> Self {
        self.offers(op, None, u64::from(op), None)
    }

    /// Under a key, with what the key is to stand for.
    pub(super) fn keyed(self, op: u32, key: &str, print: u64) -> Self {
        self.offers(op, Some(key), print, None)
    }

    /// With a deadline, in seconds.
    pub(super) fn due_by(self, op: u32, deadline: u64) -> Self {
        self.offers(op, None, u64::from(op), Some(deadline * SECOND))
    }

    fn offers(self, op: u32, key: Option<&str>, print: u64, deadline: Option<u64>) -> Self {
        let what = What::Offered {
            op: OpId(op),
            bridge: BRIDGE.into(),
            route: self.route.into(),
            key: key.map(str::to_owned),
            print,
            deadline,
        };
        self.record("producer", what)
    }

    pub(super) fn accepted(self, op: u32, number: u32, duplicate: bool) -> Self {
        let what = What::Accepted {
            op: OpId(op),
            bridge: BRIDGE.into(),
            task: task(number),
            duplicate,
        };
        self.record("producer", what)
    }

    pub(super) fn declined(self, op: u32, why: &str) -> Self {
        let (op, why) = (OpId(op), why.to_owned());
        self.record("producer", What::Declined { op, why })
    }

    pub(super) fn unknown(self, op: u32) -> Self {
        let (op, why) = (OpId(op), "no answer".to_owned());
        self.record("producer", What::Unknown { op, why })
    }

    /// Offered, told by the feed, accepted.
    pub(super) fn enqueued(self, number: u32) -> Self {
        let offered = self.offered(number).fed("enqueued", number, None, None);
        offered.accepted(number, number, false)
    }

    pub(super) fn operated(self, act: &str, number: u32) -> Self {
        let what = What::Operated {
            op: OpId(900),
            task: task(number),
            act: act.to_owned(),
        };
        self.record("world", what)
    }

    // ── the queue ──

    pub(super) fn opened(mut self, counts: Counts) -> Self {
        self.boot += 1;
        // The ends of the dead process's leases were told to nobody.
        self.sequence = 5;
        let what = What::Opened {
            boot: self.boot,
            origin: format!("{:016x}", self.boot),
            counts,
            terms: RouteTerms {
                max_retries: MAX_RETRIES,
                max_in_doubt: MAX_IN_DOUBT,
                ..RouteTerms::default()
            },
            routes: BTreeMap::new(),
        };
        self.record(BRIDGE, what)
    }

    /// The budget of doubts is another one than usual.
    pub(super) fn budget(self, budget: u16) -> Self {
        self.terms(|terms| terms.max_in_doubt = budget)
    }

    /// Something else holds than usual.
    pub(super) fn terms(mut self, change: impl Fn(&mut RouteTerms)) -> Self {
        for record in &mut self.records {
            if let What::Opened { terms, .. } = &mut record.what {
                change(terms);
            }
        }
        self
    }

    pub(super) fn died(self, host: &str) -> Self {
        let how = "crash".to_owned();
        self.record(host, What::Died { how })
    }

    /// The bridge dies and comes back with so many tasks.
    pub(super) fn restarted(self, counts: Counts) -> Self {
        self.died(BRIDGE).opened(counts)
    }

    pub(super) fn counted(self, counts: Counts, listed: u64) -> Self {
        let listed = Some(listed);
        self.record(BRIDGE, What::Counted { counts, listed })
    }

    pub(super) fn fed(
        self,
        kind: &str,
        number: u32,
        epoch: Option<u32>,
        end: Option<LeaseEnd>,
    ) -> Self {
        self.fed_until(kind, number, (epoch, None), end)
    }

    /// Granted or extended until then, by the clock of the bridge.
    pub(super) fn held_until(self, kind: &str, number: u32, epoch: u32, until_ms: u64) -> Self {
        self.fed_until(kind, number, (Some(epoch), Some(until_ms)), None)
    }

    fn fed_until(
        mut self,
        kind: &str,
        number: u32,
        (epoch, until_ms): (Option<u32>, Option<u64>),
        end: Option<LeaseEnd>,
    ) -> Self {
        self.sequence += 1;
        let what = What::Fed {
            sequence: self.sequence,
            kind: kind.to_owned().into(),
            task: Some(task(number)),
            epoch,
            route: Some(self.route.into()),
            until_ms,
            end,
        };
        self.record(BRIDGE, what)
    }

    pub(super) fn missed(mut self, count: u64) -> Self {
        self.sequence += count;
        self.record(BRIDGE, What::FeedMissed { count })
    }

    pub(super) fn granted(self, number: u32, epoch: u32) -> Self {
        self.fed("granted", number, Some(epoch), None)
    }

    pub(super) fn extended(self, number: u32, epoch: u32) -> Self {
        self.fed("extended", number, Some(epoch), None)
    }

    pub(super) fn done(self, number: u32, epoch: u32) -> Self {
        self.ended("done", number, epoch, ended("done"))
    }

    pub(super) fn ended(self, kind: &str, number: u32, epoch: u32, end: LeaseEnd) -> Self {
        self.fed(kind, number, Some(epoch), Some(end))
    }

    /// Rejected, charged and delayed.
    pub(super) fn rejected(self, number: u32, epoch: u32) -> Self {
        self.ended("rejected", number, epoch, ended("delayed").charged())
    }

    pub(super) fn due(self, number: u32) -> Self {
        self.fed("due", number, None, None)
    }

    pub(super) fn told(self, kind: &str, number: u32) -> Self {
        self.fed(kind, number, None, None)
    }

    pub(super) fn found(self, number: u32, found: TaskAtEnd) -> Self {
        let what = What::Found {
            task: task(number),
            state: found.state.to_owned(),
            cause: found.cause.map(str::to_owned),
            epoch: found.epoch,
            retries: found.retries,
            in_doubt: found.in_doubt,
            attempts: found.attempts,
            blamed_for_deaths: found.blamed_for_deaths,
        };
        self.record(BRIDGE, what)
    }

    // ── endpoints ──

    pub(super) fn up(self, inbox: &str) -> Self {
        let (boot, inbox) = (1, inbox.to_owned());
        self.record(ENDPOINT, What::Up { boot, inbox })
    }

    pub(super) fn executing(self, number: u32, epoch: u32) -> Self {
        self.executing_for(number, epoch, number)
    }

    pub(super) fn executing_for(self, number: u32, epoch: u32, op: u32) -> Self {
        let what = What::Executing {
            task: task(number),
            epoch,
            send: 1,
            op: OpId(op),
            bridge: Some(BRIDGE.into()),
        };
        self.record(ENDPOINT, what)
    }

    pub(super) fn executed(self, number: u32, epoch: u32) -> Self {
        self.answered(ENDPOINT, number, epoch, "done")
    }

    pub(super) fn answered(self, host: &str, number: u32, epoch: u32, result: &str) -> Self {
        let what = What::Executed {
            task: task(number),
            epoch,
            result: result.to_owned(),
            op: OpId(number),
        };
        self.record(host, what)
    }

    /// A whole life.
    pub(super) fn delivered(self, number: u32, epoch: u32) -> Self {
        let granted = self.granted(number, epoch).executing(number, epoch);
        granted.executed(number, epoch).done(number, epoch)
    }
}

/// The end of a lease that cost nothing.
pub(super) fn ended(next: &str) -> LeaseEnd {
    LeaseEnd {
        next: next.to_owned().into(),
        cause: None,
        charged: false,
        sends: 1,
        delay_ms: None,
    }
}

pub(super) trait LeaseEndExt {
    fn charged(self) -> Self;
    fn because(self, cause: &str) -> Self;
    fn sent(self, sends: u32) -> Self;
}

impl LeaseEndExt for LeaseEnd {
    fn charged(self) -> Self {
        Self {
            charged: true,
            ..self
        }
    }

    fn because(self, cause: &str) -> Self {
        Self {
            cause: Some(cause.to_owned()),
            ..self
        }
    }

    fn sent(self, sends: u32) -> Self {
        Self { sends, ..self }
    }
}

/// How a task is found at the end.
#[derive(Clone, Debug, Default)]
pub(super) struct TaskAtEnd {
    pub(super) state: &'static str,
    pub(super) cause: Option<&'static str>,
    pub(super) epoch: u32,
    pub(super) retries: u16,
    pub(super) in_doubt: u16,
    pub(super) attempts: Vec<u32>,
    pub(super) blamed_for_deaths: Vec<u32>,
}

pub(super) fn found(state: &'static str, epoch: u32) -> TaskAtEnd {
    TaskAtEnd {
        state,
        epoch,
        ..TaskAtEnd::default()
    }
}

/// The rules of a plan without faults and operators.
pub(super) fn rules() -> Rules {
    Rules {
        endpoints: BTreeMap::from([
            (ROUTE.to_owned(), ENDPOINT.into()),
            ("bills".to_owned(), OTHER.into()),
        ]),
        inboxes: BTreeMap::from([(ENDPOINT.into(), Inbox::Memory)]),
        key_window: Some(Micros::from_secs(3_600)),
        window: Some(4),
        lease: Some(Micros::from_secs(30)),
        max_hold: Some(Micros::from_secs(300)),
        operators: Some(Vec::new()),
        troubles: Some(Vec::new()),
        ..Rules::default()
    }
}

/// An operator asks for something from second `at` on.
pub(super) fn asked(mut rules: Rules, at: u64, what: Ask) -> Rules {
    let bridge = BRIDGE.into();
    let at = Micros::from_secs(at);
    rules
        .operators
        .get_or_insert_default()
        .push(Asked { at, bridge, what });
    rules
}

pub(super) fn troubled(mut rules: Rules, from: u64, until: u64, kind: FaultKind) -> Rules {
    let (from, until) = (Micros::from_secs(from), Micros::from_secs(until));
    let trouble = Trouble { from, until, kind };
    rules.troubles.get_or_insert_default().push(trouble);
    rules
}

pub(super) fn partition(endpoint: &str) -> FaultKind {
    FaultKind::Network {
        a: BRIDGE.into(),
        b: endpoint.into(),
        fault: NetFault::Partition { ways: Ways::Both },
    }
}

pub(super) fn command(mut rules: Rules, op: u32, command: CommandNature) -> Rules {
    rules.commands.insert(OpId(op), command);
    rules
}

pub(super) fn lossless(mut rules: Rules, inbox: Inbox) -> Rules {
    rules.inboxes.insert(HostName::from(ENDPOINT), inbox);
    rules
}

/// The history breaks `invariant` first, and its story has all of `words`.
#[track_caller]
pub(super) fn rejects(story: &Story, rules: &Rules, invariant: Invariant, words: &[&str]) {
    let verdict = judge(&story.records, rules);
    let Some(first) = verdict.violations.first() else {
        panic!("nothing was found: {:#?}", story.records);
    };
    assert_eq!(first.invariant, invariant, "{verdict:#?}");
    for word in words {
        assert!(
            first.story.contains(word),
            "no `{word}` in: {}",
            first.story
        );
    }
    assert_eq!(story.records[first.record].at, first.at.0, "{first:?}");
    let mut lifted = rules.clone();
    lifted.lifts.insert(invariant);
    let verdict = judge(&story.records, &lifted);
    let still = verdict
        .violations
        .iter()
        .any(|found| found.invariant == invariant);
    assert!(!still, "lifted and judged all the same: {verdict:#?}");
}

/// The history breaks nothing, and these had something to check.
#[track_caller]
pub(super) fn accepts(story: &Story, rules: &Rules, checked: &[Invariant]) {
    let verdict = judge(&story.records, rules);
    assert!(verdict.violations.is_empty(), "{:#?}", verdict.violations);
    for invariant in checked {
        assert!(
            verdict.checks.contains_key(invariant),
            "{invariant:?} had nothing to check"
        );
    }
}
