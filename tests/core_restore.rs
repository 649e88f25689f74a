//! Tasks that come from another queue bring numbers and times of their own.

use leasebridge::core::event::{Budgets, Carried, Event, Isolation, LifeImage, TaskImage};
use leasebridge::core::ids::BodyRef;
use leasebridge::core::{
    Epoch, Impossible, Input, MonoMs, Now, Origin, Policy, QueueMs, QueueState, Refusal, Reply,
    RouteId, Seq, SpanMs, TaskId, TaskState, decide,
};

const NOW: Now = Now {
    mono: MonoMs(1_000),
    queue: QueueMs(1_000_000),
};

fn ask(state: &mut QueueState, input: Input<'_>) -> Result<Reply, Refusal> {
    let mut events: Vec<Event> = Vec::new();
    let reply = decide(state, &Policy::default(), NOW, input, &mut events);
    events.iter().for_each(|event| state.apply(event));
    reply
}

fn queue() -> QueueState {
    let mut state = QueueState::new(1);
    let (origin, jitter) = (Origin(7), 0);
    ask(
        &mut state,
        Input::Open {
            origin,
            jitter,
            is_cut: false,
        },
    )
    .unwrap();
    ask(&mut state, Input::DefineRoute { name: "orders" }).unwrap();
    state
}

fn image(seq: u64, life: LifeImage) -> TaskImage {
    TaskImage {
        id: TaskId {
            seq: Seq(seq),
            origin: Origin(99),
        },
        route: RouteId(0),
        enqueued_at: QueueMs(5),
        deadline: None,
        key: None,
        carried: Carried::default(),
        epoch: Epoch::new(3),
        life,
        budgets: Budgets::default(),
        isolation: Isolation::None,
        history: None,
    }
}

#[test]
fn a_delay_from_a_queue_whose_time_is_ahead_lasts_no_longer_than_any_here() {
    let mut state = queue();
    let ahead = image(4, LifeImage::Delayed(QueueMs(9_000_000_000)));
    ask(&mut state, Input::Restore { image: &ahead }).unwrap();
    let longest = NOW.queue.after(SpanMs(4_320_000));
    let found = state.view(ahead.id).map(|view| view.state);
    assert_eq!(found, Some(TaskState::Delayed(longest)));
}

/// Only a log that nobody wrote says so; reading it must not end in a panic.
#[test]
fn a_held_task_without_an_epoch_is_impossible() {
    let mut state = queue();
    let life = LifeImage::Leased {
        alone_in_route: false,
        alone_in_queue: false,
    };
    let image = TaskImage {
        epoch: None,
        ..image(4, life)
    };
    let id = image.id;
    let restored = Event::Restored {
        image: Box::new(image),
        body: BodyRef::default(),
    };
    assert_eq!(state.replay(&restored), Err(Impossible::HeldUnleased(id)));
}

#[test]
fn numbers_that_nothing_can_follow_are_refused() {
    let mut state = queue();
    let last_seq = image(u64::MAX, LifeImage::Ready);
    let mut last_epoch = image(4, LifeImage::Ready);
    last_epoch.epoch = Some(Epoch::MAX);
    for image in [last_seq, last_epoch] {
        let refused = ask(&mut state, Input::Restore { image: &image });
        assert!(
            matches!(refused, Err(Refusal::NotThere { .. })),
            "{refused:?}"
        );
    }
    let enqueue = Input::Enqueue {
        route: RouteId(0),
        key: None,
        deadline: None,
    };
    assert!(ask(&mut state, enqueue).is_ok(), "the queue goes on");
}
