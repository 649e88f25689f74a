//! The life of a keeper: it connects, runs the link, waits, and connects again. A link that takes nothing new is run to
//! its end beside the one that comes after it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::pace::{backoff, failures_after};
use super::{Keeper, LinkStage};
use crate::bridge::limits::{LINGER, RECONNECT_IDLE_MAX, RECONNECT_MAX};
use crate::bridge::link::{Driver, Link, LinkEnd};
use crate::env::{BoxFuture, timeout};

/// A link that takes nothing new, on its way to its end.
struct LeavingLink {
    running: BoxFuture<'static, LinkEnd>,
    /// It had lasted for long enough before it took nothing new: its end is a reason to hurry.
    lasted: bool,
}

/// Held by the task that keeps the link: whatever ends it, nothing is left that looks as if it lived.
struct KeeperLife<'a>(&'a Keeper);

impl Drop for KeeperLife<'_> {
    fn drop(&mut self) {
        {
            let mut slot = self.0.slot();
            slot.stage = LinkStage::Closed;
            (slot.link, slot.leaving) = (None, None);
            if std::thread::panicking() {
                slot.last_error = Some("the task that keeps it panicked".to_owned());
            }
        }
        self.0.changed.notify_one();
    }
}

impl Keeper {
    /// Keeps a link up until `stop`; then closes it in order. Dropping this cuts it.
    pub(in crate::bridge) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let _life = KeeperLife(&self);
        let mut leaving = None;
        let mut failures = 0;
        loop {
            self.set(LinkStage::Connecting, None);
            let connecting = self.beside(&mut leaving, self.connector.connect(&self.route));
            let connected = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                connected = connecting => connected,
            };
            match connected {
                Ok((link, driver)) => {
                    let running = self.run_to_its_end(&link, driver, &stop);
                    let lasted = self.serve(link, running, &mut leaving).await;
                    // A link that dies at once, or wants nothing new at once, again and again, is not hurried back.
                    failures = failures_after(failures, lasted, self.route.heartbeat);
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    self.counters.connect_failures.increment();
                    self.lose(error.to_string());
                }
            }
            if !self.pause(&mut failures, &mut leaving, &stop).await {
                break;
            }
        }
        if let Some(leaving) = leaving {
            leaving.running.await;
        }
    }

    /// Publishes a new link and runs it until it ends or takes nothing new; in that case it goes on as the one that
    /// leaves. For how long it took commands.
    async fn serve(
        &self,
        link: Arc<Link>,
        mut running: BoxFuture<'static, LinkEnd>,
        leaving: &mut Option<LeavingLink>,
    ) -> Duration {
        let since = self.env.clock.now();
        self.counters.connects.increment();
        self.breaker().hurry(since);
        self.set(LinkStage::Up { since }, Some(Arc::clone(&link)));
        self.tell("link up");
        self.changed.notify_one();
        let ended = async {
            tokio::select! {
                biased;
                end = &mut running => Some(end),
                () = link.leaves() => None,
            }
        };
        let mut end = self.beside(leaving, ended).await;
        let lasted = self.env.clock.now().saturating_since(since);
        // Two at the most: a third waits until the first has ended.
        if end.is_none() && planted!(Bug::NextLinkWaits) {
            end = Some((&mut running).await);
        }
        if end.is_none() && leaving.is_some() {
            end = tokio::select! {
                biased;
                end = &mut running => Some(end),
                _ = self.left(leaving) => None,
            };
        }
        if let Some(end) = end {
            self.lose(end.to_string());
            return lasted;
        }
        *leaving = Some(LeavingLink {
            running,
            lasted: lasted >= self.route.heartbeat,
        });
        {
            let mut slot = self.slot();
            slot.link = None;
            slot.leaving = Some(link);
        }
        self.changed.notify_one();
        lasted
    }

    /// Does `what`, and meanwhile runs the link that leaves.
    async fn beside<T>(
        &self,
        leaving: &mut Option<LeavingLink>,
        what: impl Future<Output = T>,
    ) -> T {
        let mut what = std::pin::pin!(what);
        loop {
            tokio::select! {
                biased;
                value = &mut what => return value,
                _ = self.left(leaving), if leaving.is_some() => {}
            }
        }
    }

    /// Runs the link that leaves to its end. Whether that is a reason to hurry. Cancel safe.
    async fn left(&self, leaving: &mut Option<LeavingLink>) -> bool {
        let Some(link) = leaving else {
            return std::future::pending().await;
        };
        let end = (&mut link.running).await;
        let lasted = link.lasted;
        *leaving = None;
        self.slot().leaving = None;
        tracing::debug!(
            route = %self.route.name,
            transport = self.connector.transport.as_str(),
            %end,
            "the link that took nothing new has ended"
        );
        self.changed.notify_one();
        lasted
    }

    /// Waits before the next connect; `false` if the bridge stops. With nothing to do the wait grows longer, until
    /// somebody comes. The end of a link that leaves is news as well: its endpoint may have made place for the next.
    async fn pause(
        &self,
        failures: &mut u32,
        leaving: &mut Option<LeavingLink>,
        stop: &CancellationToken,
    ) -> bool {
        let dice = self.env.entropy.next_u64();
        let mut demand = self.demand.subscribe();
        let mut began = self.env.clock.now();
        let mut was_wanted = true;
        loop {
            let is_wanted = *demand.borrow_and_update();
            if is_wanted && !was_wanted {
                return true;
            }
            was_wanted = is_wanted;
            let longest = match is_wanted {
                true => RECONNECT_MAX,
                false => RECONNECT_IDLE_MAX,
            };
            let until = began.saturating_add(backoff(*failures, longest, dice));
            self.set(LinkStage::Waiting { until }, None);
            tokio::select! {
                biased;
                () = stop.cancelled() => return false,
                () = self.env.clock.sleep_until(until) => return true,
                lasted = self.left(leaving), if leaving.is_some() => if lasted {
                    *failures = 0;
                    began = self.env.clock.now();
                },
                // Never an error: the sender is this keeper's.
                _ = demand.changed() => {}
            }
        }
    }

    /// Runs a link to its end, and tells its inbox what left in earlier lives. Closes it once the bridge stops, or it
    /// takes nothing new and has answered everything.
    fn run_to_its_end(
        &self,
        link: &Arc<Link>,
        driver: Driver,
        stop: &CancellationToken,
    ) -> BoxFuture<'static, LinkEnd> {
        let (link, stop, clock) = (Arc::clone(link), stop.clone(), Arc::clone(&self.env.clock));
        let earlier = Arc::clone(&self.earlier);
        Box::pin(async move {
            let mut running = std::pin::pin!(driver.run());
            let told = async {
                earlier.tell(&link).await;
                std::future::pending::<Infallible>().await
            };
            let reason = tokio::select! {
                biased;
                end = &mut running => return end,
                never = told => match never {},
                () = stop.cancelled() => "the bridge stops",
                () = link.drained() => "everything asked was answered",
            };
            link.close(reason);
            let ended = timeout(&*clock, LINGER.saturating_mul(2), running).await;
            ended.unwrap_or(LinkEnd::Closed)
        })
    }
}

#[cfg(test)]
mod tests;
