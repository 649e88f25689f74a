//! The order beside a naive one: a sorted list that is looked through from its front.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const GATES: [Gate; 4] = [Gate::Paused, Gate::Taken, Gate::Quarantine, Gate::Company];

fn rank(seq: u64) -> Rank {
    Rank {
        priority: Priority::Normal,
        seq: Seq(seq),
    }
}

fn waits_at(isolation: Isolation, gate: Gate) -> bool {
    match gate {
        Gate::Paused | Gate::Taken => true,
        Gate::Quarantine => isolation != Isolation::Queue,
        Gate::Company => isolation == Isolation::Queue,
    }
}

/// Tasks by rank, then by slot; and the closed gates of the route.
#[derive(Default)]
struct Naive {
    tasks: Vec<(Rank, Slot, Isolation)>,
    closed: Vec<Gate>,
}

impl Naive {
    fn head(&self, queue: &[Gate]) -> Option<Slot> {
        let may_go = |isolation| {
            let mut closed = self.closed.iter().chain(queue);
            !closed.any(|gate| waits_at(isolation, *gate))
        };
        let head = self.tasks.iter().find(|task| may_go(task.2));
        head.map(|(_, slot, _)| *slot)
    }
}

#[derive(Clone, Debug)]
enum OrderStep {
    /// A task with the next number, as a new one.
    New(Isolation),
    /// A task with a number that was left out, or was somebody's already: from another queue, say.
    Old(u64, Isolation),
    /// Any task leaves.
    Leave(Index),
    /// The head leaves that these gates of the queue let go.
    Grant(Vec<Gate>),
    Set(Gate, bool),
}

fn isolation() -> impl Strategy<Value = Isolation> {
    prop_oneof![
        6 => Just(Isolation::None),
        1 => Just(Isolation::Route),
        2 => Just(Isolation::Queue),
    ]
}

fn gate() -> impl Strategy<Value = Gate> {
    prop::sample::select(&GATES[..])
}

fn step() -> impl Strategy<Value = OrderStep> {
    prop_oneof![
        8 => isolation().prop_map(OrderStep::New),
        2 => (0..300_u64, isolation()).prop_map(|(seq, isolation)| OrderStep::Old(seq, isolation)),
        4 => any::<Index>().prop_map(OrderStep::Leave),
        4 => vec(gate(), 0..2).prop_map(OrderStep::Grant),
        1 => (gate(), any::<bool>()).prop_map(|(gate, closed)| OrderStep::Set(gate, closed)),
    ]
}

fn gates(closed: &[Gate]) -> Gates {
    let all = Gates::default();
    closed.iter().fold(all, |all, gate| all.and(*gate, true))
}

fn run(steps: Vec<OrderStep>) {
    let (mut order, mut naive) = (GrantOrder::default(), Naive::default());
    let (mut next, mut slot) = (1, 0);
    for step in steps {
        let leaves = match step {
            OrderStep::New(isolation) | OrderStep::Old(_, isolation) => {
                let seq = match step {
                    OrderStep::Old(seq, _) => seq,
                    // Every third number is left out, for somebody old.
                    _ => next + next % 3 / 2,
                };
                next = next.max(seq + 1);
                order.insert(rank(seq), slot, isolation);
                naive.tasks.push((rank(seq), slot, isolation));
                naive.tasks.sort_by_key(|(rank, slot, _)| (*rank, *slot));
                slot += 1;
                None
            }
            OrderStep::Leave(_) if naive.tasks.is_empty() => None,
            OrderStep::Leave(which) => Some(naive.tasks[which.index(naive.tasks.len())].1),
            OrderStep::Grant(closed) => naive.head(&closed),
            OrderStep::Set(gate, closed) => {
                let was_closed = naive.closed.contains(&gate);
                naive.closed.retain(|other| *other != gate);
                naive.closed.extend(closed.then_some(gate));
                let changed = order.set_closed(gate, closed);
                assert_eq!(changed, was_closed != closed, "{gate:?} to {closed}");
                None
            }
        };
        if let Some(leaves) = leaves {
            let at = naive.tasks.iter().position(|task| task.1 == leaves);
            let (rank, slot, isolation) = naive.tasks.remove(at.expect("it stands there"));
            order.remove(rank, slot, isolation);
        }
        for closed in [&[][..], &GATES[2..3], &GATES[3..], &GATES[..1]] {
            assert_eq!(order.head(gates(closed)), naive.head(closed), "{closed:?}");
        }
        for gate in GATES {
            assert_eq!(order.is_closed(gate), naive.closed.contains(&gate));
        }
        let all: Vec<Slot> = naive.tasks.iter().map(|task| task.1).collect();
        assert_eq!(order.iter().collect::<Vec<_>>(), all);
    }
}

proptest! {
    #[test]
    fn the_order_is_the_naive_one(steps in vec(step(), 0..400)) {
        run(steps);
    }
}

#[test]
fn a_task_costs_16_bytes_and_new_ones_no_search() {
    assert_eq!(size_of::<(Rank, Option<Slot>)>(), 16);
    let mut line = Line::default();
    for seq in 1..=100 {
        line.insert(rank(seq), 0);
    }
    assert_eq!(line.sizes(), (100, 0));
    for seq in 1..=40 {
        line.remove(rank(seq), 0);
    }
    assert_eq!(line.sizes(), (60, 0));
    line.insert(rank(7), 0);
    assert_eq!(line.sizes(), (60, 1));
}

#[test]
fn memory_follows_the_tasks_that_are_left() {
    let mut line = Line::default();
    for seq in 0..1000 {
        line.insert(rank(seq), 0);
    }
    // All but the head and the end leave, from the middle.
    for seq in 1..999 {
        line.remove(rank(seq), 0);
    }
    let (places, _) = line.sizes();
    assert!(places <= 130, "{places} places for two tasks");
    assert_eq!(line.iter().count(), 2);
    line.remove(rank(0), 0);
    assert_eq!(line.head(), Some((rank(999), 0)));
    assert_eq!(line.sizes(), (1, 0), "the front is never empty");
}

#[test]
fn a_line_that_was_just_swept_is_not_swept_at_the_next_removal() {
    let mut line = Line::default();
    for seq in 0..200 {
        line.insert(rank(seq), 0);
    }
    for seq in 1..=101 {
        line.remove(rank(seq), 0);
    }
    assert_eq!(line.sizes(), (99, 0), "half and one were empty");
    line.remove(rank(102), 0);
    assert_eq!(line.sizes(), (99, 0));
}

#[test]
#[should_panic(expected = "stands in its line")]
fn a_task_that_never_came_can_not_leave() {
    let mut line = Line::default();
    line.insert(rank(1), 0);
    line.insert(rank(2), 0);
    line.remove(rank(2), 1);
}
