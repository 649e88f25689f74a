use super::builder::*;
use crate::history::What;
use crate::oracle::Invariant::InboxAgrees;
use crate::oracle::{Class, judge};

#[test]
fn an_inbox_that_differs_from_its_reference_is_a_finding() {
    let differed = What::Differed {
        task: task(1),
        epoch: 2,
        send: 1,
        inbox: "answers rejected from memory".to_owned(),
        reference: "runs it".to_owned(),
    };
    let story = story().record(ENDPOINT, differed);
    let words = [
        "endpoint at 3.000 s",
        "1-00000000000000aa of epoch 2, send 1",
        "the inbox answers rejected from memory, the reference runs it",
    ];
    rejects(&story, &rules(), InboxAgrees, &words);
    assert_eq!(judge(&story.records, &rules()).class(), Class::Safety);
}

#[test]
fn decisions_that_were_compared_count_as_checks() {
    let story = story().record(ENDPOINT, What::Compared { decisions: 17 });
    accepts(&story, &rules(), &[InboxAgrees]);
    assert_eq!(judge(&story.records, &rules()).checks[&InboxAgrees], 17);
}
