use super::builder::*;
use crate::history::What;
use crate::oracle::Invariant::{Bounded, Liveness};
use crate::oracle::{Class, Rules, judge};

fn settling(story: Story) -> Story {
    let what = What::Settling {
        bridge: BRIDGE.into(),
        endpoint: ENDPOINT.into(),
    };
    story.record("world", what)
}

fn pending(story: Story, reasons: &[&str]) -> Story {
    let reasons = reasons.iter().map(|&reason| reason.to_owned()).collect();
    story.record("world", What::Pending { reasons })
}

#[test]
fn what_is_healed_must_become_empty() {
    let empty = pending(settling(story()), &[]);
    accepts(&empty, &rules(), &[Liveness]);
    let stuck = pending(
        settling(story()).after(100),
        &["lease 17 held past its deadline"],
    );
    rejects(
        &stuck,
        &rules(),
        Liveness,
        &[
            "healed at 3.000 s",
            "104.000 s: lease 17 held past its deadline",
        ],
    );
    assert_eq!(judge(&stuck.records, &rules()).class(), Class::Liveness);
}

#[test]
fn a_run_that_breaks_off_is_not_alive() {
    let resolves = Rules {
        resolves: true,
        ..rules()
    };
    rejects(
        &story(),
        &resolves,
        Liveness,
        &["ends at 2.000 s without a liveness phase"],
    );
    rejects(
        &settling(story()),
        &rules(),
        Liveness,
        &["began at 3.000 s", "without saying"],
    );
    accepts(&story(), &rules(), &[]);
}

#[test]
fn sizes_stay_under_their_limits() {
    let gauge = |value| {
        let name = "log_bytes".into();
        story().record(
            BRIDGE,
            What::Gauge {
                name,
                value,
                limit: 10,
            },
        )
    };
    accepts(&gauge(10), &rules(), &[Bounded]);
    rejects(
        &gauge(11),
        &rules(),
        Bounded,
        &["`log_bytes` of bridge was 11 at 3.000 s", "limit is 10"],
    );
}
