//! The text of histories, held against a checked-in file that has a line of each kind, with and without what may be
//! left out. It was written by format 1's first writers: a line may be added to it, and none may ever change.

use std::collections::BTreeSet;

use super::{HISTORY_FORMAT, Header, What, read, write};

const LINES: &str = include_str!("lines.jsonl");

#[test]
fn every_line_that_was_ever_written_reads_and_is_written_again_the_same() {
    let (header, records, cut) = read(LINES.as_bytes()).expect("an old history");
    assert_eq!((header.history, cut), (HISTORY_FORMAT, false));
    let mut again = Vec::new();
    write(&mut again, &header, &records).expect("memory takes everything");
    let again = String::from_utf8(again).expect("text");
    for (old, new) in LINES.lines().zip(again.lines()) {
        assert_eq!(old, new);
    }
    assert_eq!(LINES.len(), again.len());
}

#[test]
fn the_file_has_a_line_of_each_kind() {
    let (_, records, _) = read(LINES.as_bytes()).expect("an old history");
    let kinds: BTreeSet<_> = records.iter().map(|record| kind(&record.what)).collect();
    assert_eq!(kinds, (0..KINDS).collect());
}

const KINDS: u32 = 33;

/// A new kind stands here or nothing compiles; then it wants a line.
fn kind(what: &What) -> u32 {
    match what {
        What::Offered { .. } => 0,
        What::Accepted { .. } => 1,
        What::Declined { .. } => 2,
        What::Unknown { .. } => 3,
        What::Operated { .. } => 4,
        What::Opened { .. } => 5,
        What::Closed {} => 6,
        What::JournalFailed { .. } => 7,
        What::OpenRefused { .. } => 8,
        What::Fed { .. } => 9,
        What::FeedMissed { .. } => 10,
        What::Counted { .. } => 11,
        What::Found { .. } => 12,
        What::Registered { .. } => 13,
        What::Compensated { .. } => 14,
        What::Attempted { .. } => 15,
        What::Up { .. } => 16,
        What::Executing { .. } => 17,
        What::Executed { .. } => 18,
        What::RolledBack { .. } => 19,
        What::Forgotten { .. } => 20,
        What::Fault { .. } => 21,
        What::Healed { .. } => 22,
        What::Struck { .. } => 23,
        What::Died { .. } => 24,
        What::Settling { .. } => 25,
        What::Pending { .. } => 26,
        What::Gauge { .. } => 27,
        What::Note { .. } => 28,
        What::Differed { .. } => 29,
        What::Compared { .. } => 30,
        What::LeftEarlier { .. } => 31,
        What::Panicked { .. } => 32,
    }
}

#[test]
fn a_writer_without_a_name_of_its_own_leaves_it_out() {
    let header = Header {
        history: HISTORY_FORMAT,
        source: "sim".to_owned(),
        host: None,
    };
    let mut text = Vec::new();
    write(&mut text, &header, &[]).expect("memory takes everything");
    assert_eq!(text, b"{\"history\":1,\"source\":\"sim\"}\n");
}

#[test]
fn fields_of_later_versions_are_passed_over() {
    let line = r#"{"at":1,"host":"bridge","what":"closed","mood":"fine"}"#;
    let text = format!("{}\n{line}\n", LINES.lines().next().expect("a header"));
    let (_, records, _) = read(text.as_bytes()).expect("a history");
    assert_eq!(records[0].what, What::Closed {});
}
