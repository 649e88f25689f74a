//! A task that is to live for as long as its node.

use std::fmt::Display;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::watched::{TaskEnd, watched};

/// A task of a node. Dropping this cuts it off.
pub(super) struct Part {
    task: JoinHandle<()>,
    ended: watch::Receiver<Option<String>>,
}

impl Part {
    /// Starts `work`. Needs a tokio runtime.
    pub(super) fn spawn<E: Display + 'static>(
        work: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> Self {
        let (tell, ended) = watch::channel(None);
        let task = tokio::spawn(watched(work, move |end| {
            let why = match end {
                TaskEnd::Ended(Ok(())) => "it ended by itself".to_owned(),
                TaskEnd::Ended(Err(error)) => error.to_string(),
                TaskEnd::Panicked(why) => format!("it panicked: {why}"),
                TaskEnd::CutOff => "it was cut off".to_owned(),
            };
            tell.send_replace(Some(why));
        }));
        Self { task, ended }
    }

    /// Completes when the work has ended, and says why. Cancel safe.
    pub(super) async fn ended(&self) -> String {
        let mut ended = self.ended.clone();
        let why = ended.wait_for(Option::is_some).await;
        why.expect("it is told before the teller goes")
            .clone()
            .unwrap_or_default()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_end_is_told_with_its_reason() {
        let by_itself = Part::spawn(async { Ok::<(), String>(()) });
        assert_eq!(by_itself.ended().await, "it ended by itself");
        let failed = Part::spawn(async { Err("no more memory") });
        assert_eq!(failed.ended().await, "no more memory");
        assert_eq!(failed.ended().await, "no more memory", "it stays so");
        let panicked = Part::spawn(async {
            assert_eq!(1 + 1, 3, "this test wants it");
            Ok::<(), String>(())
        });
        let why = panicked.ended().await;
        assert!(
            why.contains("panicked: ") && why.contains("this test wants it"),
            "{why}"
        );
    }

    #[tokio::test]
    async fn a_dropped_part_is_cut_off() {
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        let part = Part::spawn(async move {
            let _tell = tell;
            std::future::pending::<Result<(), String>>().await
        });
        drop(part);
        assert!(told.await.is_err(), "its task is gone");
    }
}
