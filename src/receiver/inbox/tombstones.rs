//! Whose tombstones there are: each link may leave so many, and takes them along when it goes.

use std::collections::{BTreeMap, BTreeSet};

use super::{LinkId, less, more};
use crate::core::{Origin, Seq};

/// The entries of an inbox that are nothing but tombstones, by the links that left them.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    by_link: BTreeMap<LinkId, BTreeSet<(Origin, Seq)>>,
    /// Entries, however many links left each.
    entries: usize,
}

impl Tombstones {
    /// How many entries are nothing else.
    pub(super) fn len(&self) -> usize {
        self.entries
    }

    /// How many a link has left.
    pub(super) fn of(&self, link: LinkId) -> usize {
        self.by_link.get(&link).map_or(0, BTreeSet::len)
    }

    /// An entry has become one, or one more link has left a mark in it.
    pub(super) fn add(&mut self, key: (Origin, Seq), links: &mut Vec<LinkId>, link: LinkId) {
        if links.is_empty() {
            more(&mut self.entries, 1);
        }
        if self.by_link.entry(link).or_default().insert(key) {
            links.push(link);
        }
    }

    /// An entry is none any more.
    pub(super) fn remove(&mut self, key: (Origin, Seq), links: &mut Vec<LinkId>) {
        if links.is_empty() {
            return;
        }
        less(&mut self.entries, 1);
        for link in links.drain(..) {
            if let Some(keys) = self.by_link.get_mut(&link) {
                keys.remove(&key);
                if keys.is_empty() {
                    self.by_link.remove(&link);
                }
            }
        }
    }

    /// A link is gone. Returns the entries in which it left a mark; see to their other links.
    pub(super) fn take(&mut self, link: LinkId) -> BTreeSet<(Origin, Seq)> {
        self.by_link.remove(&link).unwrap_or_default()
    }

    /// The last link that had left a mark in an entry is gone.
    pub(super) fn ended(&mut self) {
        less(&mut self.entries, 1);
    }
}
