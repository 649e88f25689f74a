//! Who waits for room on a link, one after the other.
//!
//! Whoever comes while somebody waits stands behind him, even if there is room for what he brings. Small commands would
//! else take each byte that is freed, and a large one would wait for as long as any come: on a slow line, until its lease
//! has ended.

use tokio::sync::{Notify, SemaphorePermit};

use super::{NotAsked, Waiters};

/// The first place of those that wait. Whoever holds it may ask, if there is room; dropping it is the next one's turn.
pub(in crate::bridge) struct RoomTurn<'a> {
    permit: Option<SemaphorePermit<'a>>,
    changed: &'a Notify,
}

impl Drop for RoomTurn<'_> {
    fn drop(&mut self) {
        self.permit = None;
        self.changed.notify_waiters();
    }
}

impl Waiters {
    /// Waits behind those that wait already until another send of so many bytes may be asked, or none any more.
    ///
    /// Cancel safe, in that nothing is asked; the place among those that wait is lost.
    pub(in crate::bridge) async fn room(&self, bytes: usize) -> RoomTurn<'_> {
        let permit = self.turns.acquire().await;
        let turn = RoomTurn {
            permit: Some(permit.expect("nobody closes it")),
            changed: &self.changed,
        };
        self.until(|table| match self.look_for_room(table, bytes) {
            Ok(()) | Err(NotAsked::Link(_) | NotAsked::Turn) => true,
            Err(NotAsked::Window | NotAsked::Bytes) => false,
        })
        .await;
        turn
    }

    /// Whether anybody waits for room.
    pub(super) fn is_waited_for(&self) -> bool {
        self.turns.available_permits() == 0 && !planted!(Bug::WhoFitsGoesFirst)
    }
}
