//! Pills and budgets: a command that kills its endpoint or the bridge is isolated and convicted, its
//! neighbours go free, and an outage charges nobody who had company.

use leasebridge::core::event::{Doubt, Isolation, Next, PoisonCause};
use leasebridge::core::{
    DeliveryId, Epoch, Event, Input, MonoMs, Now, Origin, Policy, QueueMs, QueueState, Refusal,
    RejectionWait, Reply, Report, RouteId, RoutePolicy, Settlement, SpanMs, TaskId, TaskState,
    decide,
};

const A: RouteId = RouteId(0);
const B: RouteId = RouteId(1);

/// A queue with two routes and a log that survives its crashes.
struct Queue {
    state: QueueState,
    log: Vec<Event>,
    policy: Policy,
    mono: u64,
    wall: u64,
    openings: u64,
}

impl Queue {
    fn new() -> Self {
        let mut queue = Self {
            state: QueueState::new(1),
            log: Vec::new(),
            policy: Policy {
                route: RoutePolicy {
                    in_doubt_max: 3,
                    after_rejection: RejectionWait::Exponential,
                    ..RoutePolicy::default()
                },
                ..Policy::default()
            },
            mono: 0,
            wall: 1_000,
            openings: 0,
        };
        queue.open();
        for name in ["a", "b"] {
            queue.ask(Input::DefineRoute { name }).expect("a good name");
        }
        queue
    }

    fn ask(&mut self, input: Input<'_>) -> Result<Reply, Refusal> {
        let now = Now {
            mono: MonoMs(self.mono),
            queue: QueueMs(self.wall),
        };
        let mut events = Vec::new();
        let reply = decide(&self.state, &self.policy, now, input, &mut events);
        for event in events {
            self.state.apply(&event);
            if event.is_durable() {
                self.log.push(event);
            }
        }
        reply
    }

    fn open(&mut self) {
        self.openings += 1;
        let origin = Origin(self.openings);
        self.ask(Input::Open {
            origin,
            jitter: 0,
            is_cut: false,
        })
        .expect("an opening is never refused");
    }

    /// The bridge dies and comes back.
    fn crash(&mut self) {
        self.state = QueueState::new(1);
        for event in &self.log {
            self.state.replay(event).expect("it was applied before");
        }
        self.mono = 0;
        self.open();
        // Past the backoff of the first few deaths.
        self.pass(2_000);
    }

    fn enqueue(&mut self, route: RouteId) -> TaskId {
        let input = Input::Enqueue {
            route,
            key: None,
            deadline: None,
        };
        match self.ask(input) {
            Ok(Reply::Enqueued(id)) => id,
            other => panic!("{other:?}"),
        }
    }

    fn try_grant(&mut self, route: RouteId) -> Option<DeliveryId> {
        match self.ask(Input::Grant { route }).expect("a known route") {
            Reply::Granted(grant) => Some(grant.delivery),
            _ => None,
        }
    }

    fn grant(&mut self, route: RouteId) -> DeliveryId {
        self.try_grant(route).expect("something may fly")
    }

    fn settle(&mut self, delivery: DeliveryId, report: Report) -> Result<Reply, Refusal> {
        self.ask(Input::Settle(Settlement {
            delivery,
            report,
            sends: 1,
            transport: None,
            error: None,
            jitter: 0,
        }))
    }

    fn lands(&mut self, delivery: DeliveryId, report: Report) -> Next {
        match self.settle(delivery, report) {
            Ok(Reply::Settled(next)) => next,
            other => panic!("{other:?}"),
        }
    }

    /// In doubt, and ready again: the jitter is zero.
    fn silence(&mut self, delivery: DeliveryId) -> Next {
        let next = self.lands(delivery, Report::InDoubt(Doubt::NoAnswer));
        self.pass(0);
        next
    }

    fn pass(&mut self, span: u64) {
        (self.mono, self.wall) = (self.mono + span, self.wall + span);
        for _ in 0..2 {
            let (jitter, limit) = (0, 1_000);
            self.ask(Input::Tick { jitter, limit })
                .expect("time is never refused");
        }
    }

    /// Charged rejections, charged doubts, company.
    fn spent(&self, id: TaskId) -> (u16, u16, Isolation) {
        let view = self.state.view(id).expect("it lives");
        (view.retries, view.in_doubt, view.isolation)
    }

    fn state(&self, id: TaskId) -> TaskState {
        self.state.view(id).expect("it lives").state
    }
}

#[test]
fn silence_in_company_costs_nothing_and_the_second_one_isolates() {
    let mut queue = Queue::new();
    let [one, two] = [queue.enqueue(A), queue.enqueue(A)];
    for isolation in [Isolation::None, Isolation::Route] {
        let flights = [queue.grant(A), queue.grant(A)];
        for flight in flights {
            queue.silence(flight);
        }
        assert_eq!(queue.spent(one), (0, 0, isolation));
        assert_eq!(queue.spent(two), (0, 0, isolation));
    }
    let alone = queue.grant(A);
    assert_eq!(alone.task, one);
    assert_eq!(
        queue.try_grant(A),
        None,
        "nobody joins a suspect in its route"
    );
    let elsewhere = queue.enqueue(B);
    assert_eq!(queue.grant(B).task, elsewhere, "other routes fly on");
    queue.silence(alone);
    assert_eq!(queue.spent(one), (0, 1, Isolation::Route), "alone, it pays");
}

#[test]
fn silence_is_charged_if_the_endpoint_answered_another_meanwhile() {
    let mut queue = Queue::new();
    let [silent, answered] = [queue.enqueue(A), queue.enqueue(A)];
    let flights = [queue.grant(A), queue.grant(A)];
    queue.lands(flights[1], Report::Rejected);
    queue.silence(flights[0]);
    assert_eq!(queue.spent(silent), (0, 1, Isolation::None));
    assert_eq!(queue.spent(answered), (1, 0, Isolation::None));
}

/// In an outage nobody is charged for silence. A panic of the code that delivers is no silence.
#[test]
fn a_panic_of_the_holder_is_charged_though_nobody_was_answered() {
    let mut queue = Queue::new();
    let [fatal, silent] = [queue.enqueue(A), queue.enqueue(A)];
    let flights = [queue.grant(A), queue.grant(A)];
    queue.lands(flights[0], Report::Panicked);
    queue.silence(flights[1]);
    assert_eq!(queue.spent(fatal), (0, 1, Isolation::None));
    assert_eq!(queue.spent(silent), (0, 0, Isolation::None));
}

/// A holder that refuses a command itself (too large, moved to poison by hand) showed nothing of the
/// endpoint; it was counted as an answer, so that an outage beside it charged healthy commands.
#[test]
fn a_refusal_of_this_side_is_no_answer_of_the_endpoint() {
    let mut queue = Queue::new();
    let [healthy, _] = [queue.enqueue(A), queue.enqueue(A)];
    let flights = [queue.grant(A), queue.grant(A)];
    queue
        .ask(Input::Settle(Settlement {
            delivery: flights[1],
            report: Report::Refused,
            sends: 0,
            transport: None,
            error: Some("over the size limit".into()),
            jitter: 0,
        }))
        .expect("it is held");
    queue.silence(flights[0]);
    assert_eq!(queue.spent(healthy), (0, 0, Isolation::None));
}

#[test]
fn an_answer_elsewhere_or_before_does_not_charge() {
    let mut queue = Queue::new();
    let [first, _, third] = [queue.enqueue(A), queue.enqueue(A), queue.enqueue(A)];
    let other = queue.enqueue(B);
    let early = queue.grant(A);
    assert_eq!(early.task, first);
    queue.lands(early, Report::Done);
    let flights = [queue.grant(A), queue.grant(A)];
    let elsewhere = queue.grant(B);
    assert_eq!(elsewhere.task, other);
    queue.lands(elsewhere, Report::Done);
    queue.silence(flights[1]);
    assert_eq!(queue.spent(third), (0, 0, Isolation::None));
}

#[test]
fn whoever_was_joined_later_did_not_fly_alone() {
    let mut queue = Queue::new();
    let first = queue.enqueue(A);
    let flight = queue.grant(A);
    queue.enqueue(A);
    let company = queue.grant(A);
    queue.lands(company, Report::NotSent);
    queue.silence(flight);
    assert_eq!(queue.spent(first), (0, 0, Isolation::None));
}

#[test]
fn a_pill_for_its_endpoint_is_convicted_and_its_neighbours_never_are() {
    let mut queue = Queue::new();
    queue.policy.route.in_doubt_max = 2;
    let pill = queue.enqueue(A);
    let neighbours = [queue.enqueue(A), queue.enqueue(A)];
    for round in 0..50 {
        let mut air: Vec<DeliveryId> = std::iter::from_fn(|| queue.try_grant(A)).collect();
        let kills = air.iter().any(|flight| flight.task == pill);
        // The pill takes its endpoint down before anybody is answered; without it all is well.
        air.reverse();
        for flight in air {
            if !kills {
                queue.lands(flight, Report::Done);
            } else {
                queue.silence(flight);
            }
        }
        for neighbour in neighbours {
            if let Some(view) = queue.state.view(neighbour) {
                assert_eq!(view.in_doubt, 0, "round {round}");
                assert!(!matches!(view.state, TaskState::Poison(_)));
            }
        }
    }
    let poisoned = TaskState::Poison(PoisonCause::InDoubtSpent);
    assert_eq!(queue.state(pill), poisoned);
    assert_eq!(queue.state.len(), 1, "the neighbours were executed");
}

#[test]
fn the_death_of_the_bridge_charges_only_what_was_alone_in_the_whole_queue() {
    let mut queue = Queue::new();
    let [alone_in_route, elsewhere] = [queue.enqueue(A), queue.enqueue(B)];
    queue.grant(A);
    queue.grant(B);
    queue.crash();
    assert_eq!(queue.spent(alone_in_route), (0, 0, Isolation::None));
    assert_eq!(queue.spent(elsewhere), (0, 0, Isolation::None));
    queue.grant(A);
    queue.crash();
    assert_eq!(queue.spent(alone_in_route), (0, 1, Isolation::None));
    assert_eq!(queue.spent(elsewhere), (0, 0, Isolation::None));
}

/// A queue whose two tasks, one in each route, both saw the bridge die twice.
fn two_suspects() -> (Queue, [TaskId; 2]) {
    let mut queue = Queue::new();
    let suspects = [queue.enqueue(A), queue.enqueue(B)];
    for _ in 0..2 {
        queue.grant(A);
        queue.grant(B);
        queue.crash();
    }
    (queue, suspects)
}

#[test]
fn who_saw_the_bridge_die_twice_flies_alone_in_the_whole_queue() {
    let (mut queue, [first, second]) = two_suspects();
    assert_eq!(queue.spent(first), (0, 0, Isolation::Queue));
    assert_eq!(queue.spent(second), (0, 0, Isolation::Queue));
    let healthy = queue.enqueue(B);
    let flight = queue.grant(A);
    assert_eq!(flight.task, first);
    assert_eq!(queue.try_grant(B), None, "it excludes all routes");
    queue.lands(flight, Report::Done);
    let flight = queue.grant(B);
    assert_eq!(flight.task, second);
    assert_eq!(queue.try_grant(B), None);
    queue.crash();
    assert_eq!(queue.spent(second), (0, 1, Isolation::Queue), "convicted");
    queue.pass(30_001);
    assert!(
        queue
            .state
            .view(healthy)
            .is_some_and(|view| view.epoch.is_none())
    );
}

#[test]
fn after_an_opening_suspects_go_first_and_keep_the_others_back_for_a_while() {
    let (mut queue, [first, _]) = two_suspects();
    queue
        .ask(Input::PauseRoute {
            route: A,
            paused: true,
        })
        .expect("known");
    queue
        .ask(Input::PauseRoute {
            route: B,
            paused: true,
        })
        .expect("known");
    let name = "c";
    let Ok(Reply::Route(c)) = queue.ask(Input::DefineRoute { name }) else {
        panic!("a good name");
    };
    let healthy = queue.enqueue(c);
    assert_eq!(queue.try_grant(c), None, "the suspects go first");
    assert_eq!(queue.state.next_wake().0, Some(MonoMs(30_000)));
    queue.pass(30_000);
    assert_eq!(
        queue.state.next_wake().0,
        None,
        "nothing to wake for any more"
    );
    assert_eq!(queue.grant(c).task, healthy, "but not for ever");
    assert_eq!(queue.spent(first).2, Isolation::Queue);
}

/// A suspect needs an empty sky. With traffic on other routes it never got one once the quarantine was
/// over, and as the lowest id of its route it blocked all behind it, for ever.
#[test]
fn a_suspect_that_finds_no_empty_sky_blocks_nobody_and_gets_one_in_the_end() {
    let (mut queue, [first, _]) = two_suspects();
    for route in [A, B] {
        queue
            .ask(Input::PauseRoute {
                route,
                paused: true,
            })
            .expect("known");
    }
    queue.pass(30_000);
    let Ok(Reply::Route(c)) = queue.ask(Input::DefineRoute { name: "c" }) else {
        panic!("a good name");
    };
    queue.enqueue(c);
    let mut traffic = queue.grant(c);
    queue
        .ask(Input::PauseRoute {
            route: A,
            paused: false,
        })
        .expect("known");
    let behind = queue.enqueue(A);
    assert_eq!(queue.grant(A).task, behind, "the suspect is passed over");
    for _ in 0..400 {
        // The sky over `c` is never empty: the next takes off before the last lands.
        queue.enqueue(c);
        let next = queue.try_grant(c);
        queue.lands(traffic, Report::Done);
        if let Some(flight) = queue.try_grant(A)
            && flight.task == first
        {
            return;
        }
        queue.pass(1_000);
        traffic = next.unwrap_or(traffic);
        if next.is_none() {
            queue.pass(1_000);
            assert_eq!(queue.grant(A).task, first, "alone at last");
            return;
        }
    }
    panic!("the suspect never flew");
}

/// The suspects of an earlier death were forgotten if the bridge died again while they were delayed.
#[test]
fn delayed_suspects_are_quarantined_at_the_next_opening_too() {
    let (mut queue, [first, second]) = two_suspects();
    for route in [A, B] {
        let flight = queue.grant(route);
        let retry_after = SpanMs(10_000);
        // An answer clears the suspicion: make them suspects anew, delayed this time.
        queue.lands(flight, Report::Unavailable { retry_after });
    }
    assert_eq!(queue.spent(first).2, Isolation::None);
    queue.pass(10_000);
    for _ in 0..2 {
        queue.grant(A);
        queue.grant(B);
        queue.state = QueueState::new(1);
        for event in &queue.log {
            queue.state.replay(event).expect("it was applied before");
        }
        queue.openings += 1;
        let (origin, jitter) = (Origin(queue.openings), u64::MAX);
        queue
            .ask(Input::Open {
                origin,
                jitter,
                is_cut: false,
            })
            .expect("an opening");
        if queue.spent(second).2 == Isolation::None {
            queue.pass(5_000);
        }
    }
    assert!(matches!(queue.state(first), TaskState::Delayed(_)));
    queue.crash();
    assert_eq!(queue.state.next_wake().0, Some(MonoMs(30_000)));
}

#[test]
fn the_first_delivery_and_five_retries_then_poison_and_a_requeue_starts_anew() {
    let mut queue = Queue::new();
    let id = queue.enqueue(A);
    for round in 0..2 {
        for attempt in 1..=6_u32 {
            let flight = queue.grant(A);
            assert_eq!(flight.epoch.get(), round * 6 + attempt);
            let next = queue.lands(flight, Report::Rejected);
            let spent = Next::Poison(PoisonCause::RetriesSpent);
            assert_eq!(next == spent, attempt == 6, "attempt {attempt}");
            queue.pass(0);
        }
        let history = queue.state.view(id).and_then(|view| view.history);
        assert_eq!(
            history.expect("it has one").counts.rejected,
            (round + 1) * 6
        );
        queue.ask(Input::Requeue { id }).expect("it is in poison");
        assert_eq!(queue.spent(id), (0, 0, Isolation::None));
    }
}

#[test]
fn the_budget_of_doubt_is_its_own() {
    let mut queue = Queue::new();
    let id = queue.enqueue(A);
    for attempt in 1..=4_u16 {
        let flight = queue.grant(A);
        let next = queue.silence(flight);
        let spent = Next::Poison(PoisonCause::InDoubtSpent);
        assert_eq!(next == spent, attempt == 4);
        if attempt == 2 {
            let flight = queue.grant(A);
            queue.lands(flight, Report::Rejected);
            queue.pass(0);
            assert_eq!(queue.spent(id), (1, 2, Isolation::None));
        }
    }
}

#[test]
fn what_is_nobodys_fault_spends_nothing() {
    let mut queue = Queue::new();
    let id = queue.enqueue(A);
    let behind = queue.enqueue(A);
    let retry_after = SpanMs(1);
    for _ in 0..30 {
        for report in [Report::NotSent, Report::Released, Report::Dropped] {
            let flight = queue.grant(A);
            assert_eq!(flight.task, id, "it kept its place before {behind}");
            assert_eq!(queue.lands(flight, report), Next::Ready);
        }
        let flight = queue.grant(A);
        queue.lands(flight, Report::Unavailable { retry_after });
        queue.pass(250);
    }
    assert_eq!(queue.spent(id), (0, 0, Isolation::None));
}

/// A `done` finished a task that nobody had ever been given: it named the epoch of no lease.
#[test]
fn a_done_without_any_lease_is_stale() {
    let mut queue = Queue::new();
    let task = queue.enqueue(A);
    let epoch = Epoch::FIRST;
    let delivery = DeliveryId { task, epoch };
    let refused = queue.settle(delivery, Report::Done);
    assert!(matches!(refused, Err(Refusal::Stale { current: None, .. })));
    assert_eq!(queue.state(task), TaskState::Ready);
}

/// A lease marked as sent could be given back as if it had not been, which forgot that it may have
/// been executed.
#[test]
fn only_what_was_never_sent_can_be_released() {
    for report in [Report::Released, Report::Dropped] {
        let mut queue = Queue::new();
        queue.enqueue(A);
        let delivery = queue.grant(A);
        queue.ask(Input::Send { delivery }).expect("it is held");
        assert!(matches!(queue.lands(delivery, report), Next::Delayed(_)));
        let history = queue
            .state
            .view(delivery.task)
            .and_then(|view| view.history);
        assert_eq!(history.expect("it has one").counts.in_doubt, 1);
    }
}

/// A send could still begin on a lease whose time was over and which only had not been swept.
#[test]
fn an_expired_lease_is_neither_extended_nor_sent() {
    let mut queue = Queue::new();
    queue.enqueue(A);
    let delivery = queue.grant(A);
    queue.mono += queue.policy.lease.0;
    for input in [Input::Send { delivery }, Input::Extend { delivery }] {
        let refused = queue.ask(input);
        assert!(matches!(refused, Err(Refusal::Stale { .. })));
    }
}

/// Moving a poisoned task to another route, or requeueing one that had expired in the middle of its
/// route, counted or listed it twice.
#[test]
fn each_task_is_counted_and_listed_once() {
    let mut queue = Queue::new();
    let [_, id, _] = [0; 3].map(|_| queue.enqueue(A));
    let flights = [(); 3].map(|()| queue.grant(A));
    queue.lands(flights[1], Report::Refused);
    assert_eq!(queue.state.totals(A).poisoned, 1);
    queue
        .ask(Input::Reroute { id, to: B })
        .expect("free of doubt");
    let totals = queue
        .state
        .route_ids()
        .map(|route| queue.state.totals(route));
    assert_eq!(totals.map(|totals| totals.poisoned).sum::<u64>(), 1);

    let mut queue = Queue::new();
    queue.enqueue(A);
    let deadline = Some(QueueMs(2_000));
    let (route, key) = (A, None);
    let input = Input::Enqueue {
        route,
        key,
        deadline,
    };
    let Ok(Reply::Enqueued(id)) = queue.ask(input) else {
        panic!("accepted");
    };
    queue.pass(1_000);
    assert_eq!(queue.state(id), TaskState::Poison(PoisonCause::Expired));
    queue.ask(Input::Requeue { id }).expect("it is in poison");
    assert_eq!(queue.state.waiting(A).count(), 2);
}
