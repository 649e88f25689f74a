//! Bodies kept in memory, so that a short backlog is never read back from the log.

use bytes::Bytes;
use slab::Slab;

use crate::observe::CacheStatus;

/// Bodies by the slot of their task, up to a budget of bytes. Bodies that come when the budget is used
/// up are not kept: the oldest tasks are leased first, so those already here will be asked for sooner.
#[derive(Debug)]
pub(super) struct BodyCache {
    bodies: Vec<Option<CachedBody>>,
    /// The pages that these bodies stand in.
    pages: Slab<PageUse>,
    /// Bytes of the pages.
    bytes: usize,
    bytes_max: usize,
    hits: u64,
    misses: u64,
}

/// A body, and the page that it keeps in memory.
#[derive(Debug)]
struct CachedBody {
    body: Bytes,
    page: u32,
}

/// How many bodies keep a page in memory, and how much that is.
#[derive(Debug)]
struct PageUse {
    bodies: usize,
    bytes: usize,
}

/// Memory that bodies share: it is kept whole as long as one of them is.
#[derive(Debug)]
pub(crate) struct Page {
    bytes: usize,
    /// Its place among the pages of the cache, once a body of it is there.
    at: Option<u32>,
}

impl Page {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { bytes, at: None }
    }
}

impl BodyCache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bodies: Vec::new(),
            pages: Slab::new(),
            bytes: 0,
            bytes_max,
            hits: 0,
            misses: 0,
        }
    }

    pub(super) fn status(&self) -> CacheStatus {
        CacheStatus {
            bytes: self.bytes as u64,
            bytes_max: self.bytes_max as u64,
            hits: self.hits,
            misses: self.misses,
        }
    }

    /// Keeps a body that stands in `page`, if there is room for the page. The bodies of a page are put one after the
    /// other, before any is taken.
    pub(super) fn put(&mut self, slot: usize, body: Bytes, page: &mut Page) {
        self.drop_at(slot);
        let Some(at) = page.at.or_else(|| self.begin(page.bytes)) else {
            return;
        };
        page.at = Some(at);
        self.pages[at as usize].bodies += 1;
        if slot >= self.bodies.len() {
            self.bodies.resize_with(slot + 1, || None);
        }
        self.bodies[slot] = Some(CachedBody { body, page: at });
    }

    fn begin(&mut self, bytes: usize) -> Option<u32> {
        if self.bytes + bytes > self.bytes_max {
            return None;
        }
        self.bytes += bytes;
        let page = self.pages.insert(PageUse { bodies: 0, bytes });
        Some(u32::try_from(page).expect("fewer pages than tasks"))
    }

    /// The body for a lease; counted, whether it is here or not.
    pub(super) fn lease(&mut self, slot: usize) -> Option<Bytes> {
        let body = self.take(slot);
        match &body {
            Some(_) => self.hits += 1,
            None => self.misses += 1,
        }
        body
    }

    fn take(&mut self, slot: usize) -> Option<Bytes> {
        let CachedBody { body, page } = self.bodies.get_mut(slot)?.take()?;
        let used = &mut self.pages[page as usize];
        used.bodies -= 1;
        if used.bodies == 0 {
            self.bytes -= used.bytes;
            self.pages.remove(page as usize);
        }
        Some(body)
    }

    /// The body, left where it is; for a look from outside.
    pub(super) fn peek(&self, slot: usize) -> Option<Bytes> {
        let kept = self.bodies.get(slot)?.as_ref()?;
        Some(kept.body.clone())
    }

    /// Forgets the body of a task that has left.
    pub(super) fn drop_at(&mut self, slot: usize) {
        drop(self.take(slot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(page: &Bytes, at: usize) -> Bytes {
        page.slice(at..=at)
    }

    #[test]
    fn a_page_counts_whole_for_as_long_as_one_of_its_bodies_is_kept() {
        let mut cache = BodyCache::new(10);
        let bytes = Bytes::from_static(b"abcdefgh");
        let mut page = Page::new(bytes.len());
        cache.put(0, body(&bytes, 0), &mut page);
        cache.put(7, body(&bytes, 1), &mut page);
        cache.put(2, Bytes::from_static(b"xyz"), &mut Page::new(3));
        assert_eq!(cache.take(2), None, "3 bytes beside 8 are over the budget");
        assert_eq!(cache.take(0).as_deref(), Some(&b"a"[..]));
        cache.put(2, Bytes::from_static(b"xyz"), &mut Page::new(3));
        assert_eq!(cache.take(2), None, "one byte of the page is still kept");
        assert_eq!(cache.peek(7).as_deref(), Some(&b"b"[..]));
        cache.drop_at(7);
        cache.put(2, Bytes::from_static(b"xyz"), &mut Page::new(3));
        assert_eq!(cache.take(2).as_deref(), Some(&b"xyz"[..]));
        assert_eq!((cache.bytes, cache.pages.len()), (0, 0));
    }

    #[test]
    fn a_body_takes_the_place_of_what_its_slot_held_before() {
        let mut cache = BodyCache::new(4);
        for text in ["ab", "cd", "ef"] {
            cache.put(1, text.into(), &mut Page::new(2));
        }
        assert_eq!((cache.bytes, cache.take(1)), (2, Some("ef".into())));
        assert_eq!((cache.bytes, cache.take(1)), (0, None));
    }
}
