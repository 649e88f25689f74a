//! How many files and connections this process may have open, and what that leaves for those who connect.

use leasebridge::node::NodeOptions;
use rustix::process::{Resource, getrlimit, setrlimit};

/// As many as are of any use: more only makes what the system keeps for each process larger.
const WANTED: u64 = 65_536;

/// What is open beside connections, links and segments: the log's other files, the runtime's own, a history.
const FILES: u64 = 32;

/// The links of a route: the socket and gRPC, and another while one ends.
const PER_ROUTE: u64 = 3;

/// However little there is, an operator finds a place.
const CONNECTIONS_MIN: u64 = 8;

/// Raises the limit as far as the system allows it without being asked, and says what it is now; zero if there is none.
pub(crate) fn raise() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    let soft = limit.current.unwrap_or(u64::MAX);
    let wanted = soft.max(hard.min(WANTED));
    if wanted > soft {
        limit.current = Some(wanted);
        // Then it stays as it is.
        let _refused = setrlimit(Resource::Nofile, limit);
    }
    getrlimit(Resource::Nofile).current.unwrap_or_default()
}

/// What a bridge may have open beside its connections: its links, and a log of `log_bytes` in such segments.
pub(crate) fn of_bridge(options: &NodeOptions) -> u64 {
    let queue = &options.queue;
    let segments = queue.log_bytes_max / u64::from(queue.segment_bytes.max(1));
    let links = (options.bridge.routes.len() as u64).saturating_mul(PER_ROUTE);
    links.saturating_add(segments)
}

/// How many connections a listener may have, of `wanted`, if one of `listeners` in a process that has `others` open
/// beside them.
pub(crate) fn connections(
    open_files_max: u64,
    others: u64,
    listeners: u64,
    wanted: usize,
) -> usize {
    if open_files_max == 0 {
        return wanted;
    }
    let left = open_files_max.saturating_sub(FILES).saturating_sub(others);
    let each = (left / listeners).max(CONNECTIONS_MIN);
    wanted.min(usize::try_from(each).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_the_log_and_the_links() {
        assert_eq!(connections(65_536, 100, 1, 1_024), 1_024);
        assert_eq!(connections(1_024, 30, 1, 1_024), 1_024 - 32 - 30);
        assert_eq!(connections(1_024, 0, 2, 1_024), (1_024 - 32) / 2);
        assert_eq!(connections(64, 10, 1, 1_024), 64 - 32 - 10);
        assert_eq!(connections(64, 30, 1, 1_024), 8);
        assert_eq!(connections(0, 10, 1, 1_024), 1_024);
    }
}
