//! What an operator does when opening was refused because the log is damaged: `journal repair`.
//!
//! Only where the plan damages what had been synced; without such a fault a refusal is a finding, and the
//! machine stays down.

use std::path::Path;

use leasebridge::core::event::Base;
use leasebridge::core::{Event, QueueState};
use leasebridge::journal::Fold;
use leasebridge::queue::log::files::tools;

use super::host::{DIR, Host};
use super::world::World;
use crate::history::What;
use crate::plan::{DiskFault, FaultKind};

/// A log may be damaged in more than one place; each needs a cut of its own.
const CUTS_MAX: u32 = 32;

/// Cuts the log where it is damaged, and says what that took. False if it was left as it is.
pub(super) async fn repair(world: &World, host: &Host) -> bool {
    if !is_damaged_by_plan(world, host) {
        return false;
    }
    for _ in 0..CUTS_MAX {
        let mut fold = Check::default();
        let repaired = tools::repair(&host.disk, Path::new(DIR), &mut fold).await;
        let text = match &repaired {
            Ok(None) => {
                host.marks.repaired();
                return true;
            }
            Ok(Some(repair)) => format!(
                "the log was repaired: {}; {} records and {} places lost, about tasks {:?}",
                repair.damage,
                repair.lost.records,
                repair.lost.unreadable,
                repair
                    .lost
                    .tasks
                    .keys()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
            ),
            Err(error) => format!("the log was not repaired: {error}"),
        };
        world.record(&host.name, What::Note { text });
        if repaired.is_err() {
            return false;
        }
    }
    false
}

fn is_damaged_by_plan(world: &World, host: &Host) -> bool {
    world.plan.faults.iter().any(|fault| match &fault.kind {
        FaultKind::Disk {
            host: at, fault, ..
        } => {
            *at == host.name
                && matches!(
                    fault,
                    DiskFault::BitFlip
                        | DiskFault::MisdirectedWrite
                        | DiskFault::LostEntry
                        | DiskFault::SyncLies
                        | DiskFault::MarkHurt { .. }
                )
        }
        _ => false,
    })
}

/// Checks events as an opening does: each must be possible after those before it.
#[derive(Default)]
struct Check {
    state: Option<QueueState>,
}

impl Fold for Check {
    fn base(&mut self, base: Base) -> Result<(), String> {
        match &self.state {
            None => self.state = Some(QueueState::from_base(base)),
            Some(state) if state.base() == base => {}
            Some(_) => return Err("a base that differs from what stands before it".to_owned()),
        }
        Ok(())
    }

    fn event(&mut self, event: Event) -> Result<(), String> {
        let state = self
            .state
            .as_mut()
            .ok_or("an event before the first base")?;
        state
            .replay(&event)
            .map_err(|impossible| impossible.to_string())
    }
}
