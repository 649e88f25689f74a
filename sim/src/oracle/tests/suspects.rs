use super::builder::*;
use crate::history::{Counts, What};
use crate::oracle::Invariant::{OutagesAreFree, PillsAreConvicted};

fn doubt() -> crate::history::LeaseEnd {
    ended("delayed")
}

#[test]
fn whoever_flew_alone_is_charged() {
    let alone = story().enqueued(1).granted(1, 1);
    let charged = alone.clone().ended("in doubt", 1, 1, doubt().charged());
    accepts(&charged, &rules(), &[OutagesAreFree, PillsAreConvicted]);
    let free = alone.ended("in doubt", 1, 1, doubt());
    rejects(
        &free,
        &rules(),
        PillsAreConvicted,
        &["granted at 6.000 s", "in doubt at 7.000 s", "it flew alone"],
    );
}

#[test]
fn whoever_had_company_is_not() {
    let two = story().enqueued(1).enqueued(2).granted(1, 1).granted(2, 1);
    accepts(
        &two.clone().ended("in doubt", 1, 1, doubt()),
        &rules(),
        &[OutagesAreFree],
    );
    let charged = two.ended("in doubt", 1, 1, doubt().charged());
    rejects(
        &charged,
        &rules(),
        OutagesAreFree,
        &["granted at 9.000 s and charged for a doubt at 11.000 s"],
    );
    // Company that came later and has gone again is company.
    let visited = story().enqueued(1).enqueued(2).granted(1, 1).granted(2, 1);
    let visited = visited
        .ended("not sent", 2, 1, ended("ready").sent(0))
        .ended("in doubt", 1, 1, doubt().charged());
    rejects(&visited, &rules(), OutagesAreFree, &["did not fly alone"]);
}

#[test]
fn whoever_was_passed_over_is_charged() {
    let passed = story()
        .enqueued(1)
        .enqueued(2)
        .granted(1, 1)
        .delivered(2, 1);
    accepts(
        &passed.clone().ended("in doubt", 1, 1, doubt().charged()),
        &rules(),
        &[OutagesAreFree],
    );
    rejects(
        &passed.ended("in doubt", 1, 1, doubt()),
        &rules(),
        PillsAreConvicted,
        &["others were answered meanwhile"],
    );
    // An answer on another route says nothing of this endpoint.
    let elsewhere = story()
        .enqueued(1)
        .enqueued(3)
        .granted(1, 1)
        .granted(3, 1)
        .on("bills")
        .enqueued(2)
        .granted(2, 1);
    let elsewhere = elsewhere.answered(OTHER, 2, 1, "done").done(2, 1).on(ROUTE);
    accepts(
        &elsewhere.ended("in doubt", 1, 1, doubt()),
        &rules(),
        &[OutagesAreFree],
    );
    // A refusal without a send came from this side.
    let local = story().enqueued(1).enqueued(2).granted(1, 1).granted(2, 1);
    let local = local.ended("refused", 2, 1, ended("poison").because("refused").sent(0));
    accepts(
        &local.ended("in doubt", 1, 1, doubt()),
        &rules(),
        &[OutagesAreFree],
    );
}

#[test]
fn conviction_needs_what_a_charge_needs() {
    let mut charged = story().enqueued(1).enqueued(2);
    for epoch in 1..=u32::from(MAX_IN_DOUBT) {
        charged = charged
            .granted(1, epoch)
            .ended("in doubt", 1, epoch, doubt().charged())
            .due(1);
    }
    let last = u32::from(MAX_IN_DOUBT) + 1;
    let convicted = ended("poison").because("in doubt spent");
    let alone = charged.clone().granted(1, last);
    accepts(
        &alone.ended("in doubt", 1, last, convicted.clone()),
        &rules(),
        &[OutagesAreFree],
    );
    let company = charged.granted(1, last).granted(2, 1);
    rejects(
        &company.ended("in doubt", 1, last, convicted),
        &rules(),
        OutagesAreFree,
        &["convicted for a doubt", "did not fly alone"],
    );
}

/// Task 1 has been in doubt twice in company.
fn suspected() -> Story {
    let mut story = story().enqueued(1).enqueued(2);
    for epoch in 1..=2 {
        story = story
            .granted(1, epoch)
            .granted(2, epoch)
            .ended("in doubt", 1, epoch, doubt());
        story = story
            .ended("not sent", 2, epoch, ended("ready").sent(0))
            .due(1);
    }
    story
}

#[test]
fn a_suspect_flies_alone() {
    let alone = suspected()
        .granted(1, 3)
        .ended("in doubt", 1, 3, doubt().charged());
    accepts(&alone, &rules(), &[PillsAreConvicted]);
    let joined = suspected().granted(1, 3).granted(2, 3);
    rejects(
        &joined,
        &rules(),
        PillsAreConvicted,
        &[
            "1-00000000000000aa must fly alone after 2 doubts",
            "together with 2-00000000000000aa",
        ],
    );
    let answered = suspected()
        .granted(1, 3)
        .ended("unavailable", 1, 3, doubt())
        .due(1)
        .granted(1, 4)
        .granted(2, 3);
    accepts(&answered, &rules(), &[PillsAreConvicted]);
}

#[test]
fn whoever_had_company_is_not_charged_for_a_death() {
    let delayed = |count| Counts {
        delayed: count,
        ..Counts::default()
    };
    let blamed = |epoch| TaskAtEnd {
        in_doubt: 1,
        attempts: vec![epoch],
        blamed_for_deaths: vec![epoch],
        ..found("delayed", epoch)
    };
    let free = |epoch| TaskAtEnd {
        in_doubt: 0,
        blamed_for_deaths: Vec::new(),
        ..blamed(epoch)
    };
    let two = story().enqueued(1).enqueued(2).granted(1, 1).granted(2, 1);
    let died = two.restarted(delayed(2));
    let both = |first, second| died.clone().found(1, first).found(2, second);
    accepts(&both(free(1), free(1)), &rules(), &[]);
    for one_of_them in [both(blamed(1), free(1)), both(free(1), blamed(1))] {
        rejects(
            &one_of_them,
            &rules(),
            OutagesAreFree,
            &["death of its bridge under the lease of epoch 1, and did not fly alone"],
        );
    }
    // Under a lease that nobody heard of, or alone.
    accepts(&both(free(1), blamed(2)), &rules(), &[OutagesAreFree]);
    let alone = story().enqueued(1).granted(1, 1).restarted(delayed(1));
    accepts(&alone.found(1, blamed(1)), &rules(), &[OutagesAreFree]);
}

#[test]
fn whoever_made_its_holder_panic_is_charged_in_any_company() {
    let panicked = |settled| What::Panicked {
        task: task(1),
        epoch: 1,
        settled,
    };
    let two = story().enqueued(1).enqueued(2).granted(1, 1).granted(2, 1);
    let told = two.record(BRIDGE, panicked(false));
    let paid = told.clone().ended("in doubt", 1, 1, doubt().charged());
    let settled = paid.record(BRIDGE, panicked(true));
    accepts(&settled, &rules(), &[PillsAreConvicted]);
    let free = told.ended("in doubt", 1, 1, doubt());
    // It may have been the lease's own end, as long as nobody says otherwise.
    accepts(&free, &rules(), &[]);
    let settled = free.record(BRIDGE, panicked(true));
    let words = &["panicked, as was told at", "was not charged"];
    rejects(&settled, &rules(), PillsAreConvicted, words);
}
