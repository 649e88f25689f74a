//! A producer that goes on until it is told to stop.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::executed::Counter;
use super::until;

/// Lines written at a time.
const PIECE: u64 = 50;

/// How far the lines may be ahead of their execution: enough to keep everybody busy, and few enough to
/// be done with soon after the stop.
const AHEAD_MAX: u64 = 2_000;

/// Writes the numbers from 1 on, one a line.
pub(crate) struct Feed {
    stop: Arc<AtomicBool>,
    writer: JoinHandle<u64>,
}

impl Feed {
    /// Writes to `into` and looks at the executed commands in `executed`.
    pub(crate) fn start(mut into: impl Write + Send + 'static, executed: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let writer = std::thread::spawn(move || {
            let mut counter = Counter::new(executed);
            let mut last = 0;
            while !stopped.load(Ordering::Relaxed) {
                until("the endpoint goes on", || {
                    last < counter.count() + AHEAD_MAX || stopped.load(Ordering::Relaxed)
                });
                let piece: String = (last + 1..=last + PIECE)
                    .map(|n| format!("{n}\n"))
                    .collect();
                into.write_all(piece.as_bytes()).expect("enqueue reads on");
                last += PIECE;
            }
            last
        });
        Self { stop, writer }
    }

    /// Ends the input. Returns its last number.
    pub(crate) fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.writer.join().expect("the feed goes on until stopped")
    }
}
