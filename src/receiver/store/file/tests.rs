#![expect(
    clippy::disallowed_methods,
    reason = "a test looks at the real file and damages it from outside"
)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use bytes::Bytes;

use super::*;
use crate::wire::{ExecutionOutcome, HandlerError};

fn delivery(seq: u64, epoch: u32) -> DeliveryId {
    DeliveryId {
        task: TaskId {
            seq: Seq(seq),
            origin: Origin(5),
        },
        epoch: Epoch::new(epoch).unwrap(),
    }
}

fn done(seq: u64, result: &str) -> InboxRecord {
    let result = Bytes::copy_from_slice(result.as_bytes());
    InboxRecord::Finished(delivery(seq, 1), Ok(result))
}

fn range(first: u64, last: u64) -> IdRange {
    IdRange::new(Origin(5), Seq(first), Seq(last)).unwrap()
}

fn settled(first: u64, last: u64) -> InboxRecord {
    InboxRecord::Settled(range(first, last))
}

/// Opens a store, appends, closes. Returns what it remembered at its opening.
async fn session(
    path: &Path,
    batches: Vec<Vec<InboxRecord>>,
) -> Result<(InboxId, StoredInbox), StoreError> {
    let env = Env::real();
    let backing = InboxLog {
        disk: Arc::clone(&env.disk),
        entropy: Arc::clone(&env.entropy),
        path: path.to_owned(),
        open: None,
        compact_bytes_min: 2_000,
        copy_again_at: 0,
    };
    let worker = Worker::start(&*env.disk, path, backing).unwrap();
    let loaded = worker.load().await?;
    for batch in batches {
        worker.append(batch).await?;
    }
    worker.close().await;
    Ok(loaded)
}

#[tokio::test]
async fn a_cut_anywhere_loses_whole_batches_from_the_end_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("inbox");
    let (id, _) = session(&path, vec![]).await.unwrap();
    let mut ends = vec![fs::read(&path).unwrap().len()];
    for seq in 0..3 {
        let batch = vec![InboxRecord::Started(delivery(seq, 1)), done(seq, "result")];
        session(&path, vec![batch]).await.unwrap();
        ends.push(fs::read(&path).unwrap().len());
    }
    let whole = fs::read(&path).unwrap();
    for cut in ends[0]..=whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let (found, stored) = session(&path, vec![]).await.unwrap();
        let batches = ends.iter().filter(|end| **end <= cut).count() - 1;
        assert_eq!((found, stored.tasks.len()), (id, batches), "cut at {cut}");
        assert_eq!(fs::read(&path).unwrap().len(), ends[batches]);
    }
}

#[tokio::test]
async fn damage_before_the_last_block_is_refused_and_at_the_end_cut() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("inbox");
    session(&path, vec![vec![done(1, "first")]]).await.unwrap();
    let second = fs::read(&path).unwrap().len();
    session(&path, vec![vec![done(2, "second")]]).await.unwrap();
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        fs::write(&path, &damaged).unwrap();
        let found = session(&path, vec![]).await;
        if at < second {
            assert!(
                matches!(found, Err(StoreError::Corrupt { .. })),
                "byte {at}: {found:?}"
            );
            assert_eq!(fs::read(&path).unwrap(), damaged, "left as it was");
        } else {
            assert_eq!(found.unwrap().1.tasks.len(), 1, "byte {at}");
        }
    }
}

#[tokio::test]
async fn a_file_that_is_mostly_settled_shrinks_and_forgets_nothing_that_lives() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("inbox");
    let kept = vec![
        done(1_000, "kept"),
        InboxRecord::Started(delivery(1_001, 3)),
    ];
    let (id, _) = session(&path, vec![kept]).await.unwrap();
    let mut size_max = 0;
    for seq in 0..200 {
        let batch = vec![done(seq, &"x".repeat(100)), settled(seq, seq)];
        session(&path, vec![batch]).await.unwrap();
        size_max = size_max.max(fs::read(&path).unwrap().len());
    }
    assert!(size_max < 2_500, "it grew to {size_max} bytes");
    let (found, stored) = session(&path, vec![]).await.unwrap();
    assert_eq!(found, id);
    let expected = [
        (
            delivery(1_000, 1).task,
            Epoch::FIRST,
            StoredTask::Finished(Ok("kept".into())),
        ),
        (
            delivery(1_001, 1).task,
            Epoch::new(3).unwrap(),
            StoredTask::Started,
        ),
    ];
    assert_eq!(stored.tasks, expected);
    assert_eq!(stored.settled.iter().collect::<Vec<_>>(), [range(0, 199)]);
    // Copied records can be copied again, and a left-over copy is no obstacle.
    fs::write(dir.path().join("inbox.new"), "left over").unwrap();
    let large = (0..30)
        .map(|seq| done(2_000 + seq, &"y".repeat(100)))
        .collect();
    session(&path, vec![large, vec![settled(2_000, 2_029)]])
        .await
        .unwrap();
    let (_, stored) = session(&path, vec![]).await.unwrap();
    assert_eq!(stored.tasks, expected);
}

#[tokio::test]
async fn many_settled_ranges_are_not_copied_over_and_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("inbox");
    let ranges: Vec<InboxRecord> = (0..500).map(|at| settled(2 * at, 2 * at)).collect();
    session(&path, vec![ranges]).await.unwrap();
    let before = fs::read(&path).unwrap();
    session(&path, vec![vec![settled(5_000, 5_000)]])
        .await
        .unwrap();
    assert!(
        fs::read(&path).unwrap().starts_with(&before),
        "appended, not copied"
    );
}

fn outcome() -> impl Strategy<Value = ExecutionOutcome> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40)
            .prop_map(|result| -> ExecutionOutcome { Ok(result.into()) }),
        ".{0,9}".prop_map(|text| -> ExecutionOutcome { Err(HandlerError::Rejected(text)) }),
        ".{0,9}".prop_map(|text| -> ExecutionOutcome { Err(HandlerError::Refused(text)) }),
        (any::<u64>(), ".{0,9}").prop_map(|(ms, text)| -> ExecutionOutcome {
            Err(HandlerError::Unavailable {
                retry_after: Duration::from_millis(ms),
                text,
            })
        }),
    ]
}

proptest! {
    #[test]
    fn records_read_back_as_they_were_written(
        seq in any::<u64>(),
        epoch in 1..=u32::MAX,
        outcome in outcome(),
    ) {
        let delivery = delivery(seq, epoch);
        let records = [
            InboxRecord::Started(delivery),
            InboxRecord::Finished(delivery, outcome),
            InboxRecord::NotStarted(delivery),
            InboxRecord::Settled(range(0, seq)),
        ];
        let mut bytes = BytesMut::new();
        for record in &records {
            record::encode(record, &mut bytes);
        }
        let mut rest = &bytes[..];
        for record in records {
            prop_assert_eq!(record::decode(&mut rest), Some(record));
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut rest = &bytes[..];
        while !rest.is_empty() && record::decode(&mut rest).is_some() {}
    }
}
