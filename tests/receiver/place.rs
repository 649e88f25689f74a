//! A receiver's file that is not what it was, or not where it was: what is wrong with it is found before anything is
//! answered from it.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test looks at the real files and damages them from outside"
)]

use std::fs::{self, OpenOptions};
use std::path::Path;

use bytes::Bytes;
use leasebridge::env::Env;
use leasebridge::receiver::store::{InboxRecord, StoredInbox};
use leasebridge::receiver::{Delivered, EffectFile, EffectLog, FileStore, InboxStore, StoreError};
use tempfile::TempDir;

use crate::stored::{self, delivery};

/// Hexadecimal digits of the id in the first line: another one is another inbox, with the same memory.
const ID_DIGITS: std::ops::Range<usize> = 22..54;

fn command(seq: u64) -> Delivered {
    Delivered {
        body: Bytes::from(format!("@ {seq}")),
        key: "k".to_owned(),
        ..stored::command(seq)
    }
}

async fn effects(path: &Path) -> Result<(EffectFile, StoredInbox), StoreError> {
    let log = EffectFile::new(&Env::real(), path)?;
    match log.load().await {
        Ok((_, stored)) => Ok((log, stored)),
        Err(error) => {
            log.close().await;
            Err(error)
        }
    }
}

#[tokio::test]
async fn a_flipped_bit_anywhere_in_an_effect_file_is_found() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("out");
    let (log, _) = effects(&path).await.unwrap();
    log.append((1..=3).map(command).collect()).await.unwrap();
    log.close().await;
    let whole = fs::read(&path).unwrap();
    for at in (0..whole.len()).filter(|at| !ID_DIGITS.contains(at)) {
        for bit in 0..8 {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << bit;
            fs::write(&path, &damaged).unwrap();
            let found = effects(&path).await.err();
            let found = found.unwrap_or_else(|| panic!("bit {bit} of byte {at} went unnoticed"));
            assert!(matches!(found, StoreError::Line { .. }), "{found}");
            assert_eq!(fs::read(&path).unwrap(), damaged, "it is left as it was");
        }
    }
}

#[tokio::test]
async fn an_effect_file_of_the_first_version_goes_on_with_checksums() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("out");
    let id = "00112233445566778899aabbccddeeff";
    let old = format!("# leasebridge-inbox 1 {id}\norders\t1-0000000000000007\t1\tk\tone\n");
    fs::write(&path, &old).unwrap();
    for life in 2..=3 {
        let (log, stored) = effects(&path).await.unwrap();
        assert!(stored.done.contains(delivery(life - 1).task), "life {life}");
        log.append(vec![command(life)]).await.unwrap();
        log.close().await;
    }
    let text = fs::read_to_string(&path).unwrap();
    let new = text.strip_prefix(&old).expect("what was there stays");
    assert_eq!(new.matches("# leasebridge-inbox 2\n").count(), 1, "{text}");
    assert_eq!(
        text.lines().filter(|line| !line.starts_with('#')).count(),
        3
    );
    // A line of the new part without a checksum is none.
    let cut = text.trim_end().rsplit_once('\t').unwrap().0;
    fs::write(&path, format!("{cut}\n")).unwrap();
    assert!(effects(&path).await.is_err());
}

/// Does something to a file under whoever has it open.
type Meddle = fn(&Path);

/// What tools that rotate logs do, an unmounted folder, and a second writer.
const MEDDLING: [(&str, Meddle); 5] = [
    ("renamed", |path| {
        fs::rename(path, path.with_extension("1")).unwrap()
    }),
    ("removed", |path| fs::remove_file(path).unwrap()),
    ("cut", |path| {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(0).unwrap();
    }),
    ("replaced", |path| {
        let copy = path.with_extension("copy");
        fs::copy(path, &copy).unwrap();
        fs::rename(copy, path).unwrap();
    }),
    ("written to", |path| {
        use std::io::Write;
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(b"more\n").unwrap();
    }),
];

#[tokio::test]
async fn an_effect_file_that_was_meddled_with_answers_nothing_more() {
    for (what, meddle) in MEDDLING {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("out");
        let (log, _) = effects(&path).await.unwrap();
        log.append(vec![command(1)]).await.unwrap();
        meddle(&path);
        let answered = log.append(vec![command(2)]).await;
        assert!(matches!(answered, Err(StoreError::Io { .. })), "{what}");
    }
}

#[tokio::test]
async fn an_inbox_that_was_meddled_with_answers_nothing_more() {
    for (what, meddle) in MEDDLING {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("inbox");
        let store = FileStore::new(&Env::real(), &path).unwrap();
        store.load().await.unwrap();
        let started = |seq| vec![InboxRecord::Started(delivery(seq))];
        store.append(started(1)).await.unwrap();
        meddle(&path);
        let answered = store.append(started(2)).await;
        assert!(matches!(answered, Err(StoreError::Io { .. })), "{what}");
    }
}
