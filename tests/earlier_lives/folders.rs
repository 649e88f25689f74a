//! A folder that a program left which knew nothing of all this, checked in. It says when it was opened, which is enough.
//!
//! Six commands were executed, two were accepted behind them, then the process was killed; the next one accepted one
//! more and was stopped in order.

#![expect(
    clippy::disallowed_methods,
    reason = "it copies a folder that is checked in"
)]

use std::fs;
use std::path::Path;

use leasebridge::core::{IdRange, Origin, Seq};
use leasebridge::queue::{Command, QueueOptions, SafeTaskQueue};

use super::left;

const SEGMENT_BYTES: usize = 1028 << 10;
const PAGE_BYTES: usize = 4096;

/// Puts the folder where a queue can open it. Of each segment the zeros in the middle are left out.
fn check_out(to: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-2");
    for slot in ["000001", "000002"] {
        let mut bytes = fs::read(from.join(format!("{slot}.head"))).unwrap();
        bytes.resize(SEGMENT_BYTES - PAGE_BYTES, 0);
        bytes.extend(fs::read(from.join(format!("{slot}.tail"))).unwrap());
        bytes.resize(SEGMENT_BYTES, 0);
        fs::write(to.join(format!("{slot}.seg")), bytes).unwrap();
    }
    fs::copy(from.join("mark"), to.join("mark")).unwrap();
}

#[tokio::test]
async fn a_folder_from_before_is_announced_as_far_as_it_says_when_it_was_opened() {
    let dir = tempfile::tempdir().unwrap();
    check_out(dir.path());
    let options = QueueOptions {
        segment_bytes: u32::try_from(SEGMENT_BYTES).unwrap(),
        body_bytes_max: 4 << 10,
        ..QueueOptions::new(dir.path())
    };
    let range = |origin, first, last| IdRange::new(Origin(origin), Seq(first), Seq(last)).unwrap();
    let (killed, stopped) = (0x76e8_0d82_5edb_9f14, 0x24a2_590e_6328_a3fd);
    let mut rest = Vec::new();
    for opening in 0..3 {
        let queue: SafeTaskQueue<Command> = SafeTaskQueue::open(options.clone()).await.unwrap();
        let left = left(&queue).await;
        if opening == 0 {
            assert_eq!(left, [range(killed, 1, 6)]);
            for _ in 0..3 {
                let lease = queue.lease("default").await.unwrap();
                rest.push(lease.id());
                lease.ack().await.unwrap();
            }
        } else {
            assert_eq!(left, [range(killed, 1, 8), range(stopped, 9, 9)]);
        }
        queue.close().await.unwrap();
    }
    assert_eq!(rest.len(), 3);
}
