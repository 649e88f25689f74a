//! What travels arrives whole, and JSON says it: shown with a snapshot in which no number is there twice.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::core::event::TransportKind;
use crate::observe::{
    BreakerState, BridgeRouteStatus, Distribution, InboxStatus, JournalStatus, LinkState,
    LinkStatus, ListenerStatus, Rates, ReceiverStatus, RouteShare,
};

/// Numbers that are all different.
struct DistinctNumbers(Cell<u64>);

impl DistinctNumbers {
    fn next(&self) -> u64 {
        // In steps, so that what is counted in a bucket and what its bounds are are never the same by chance.
        self.0.set(self.0.get() + 10);
        self.0.get() + 1_000_003
    }

    fn small(&self) -> u32 {
        u32::try_from(self.next()).unwrap()
    }

    fn text(&self) -> String {
        format!("text {}", self.next())
    }

    fn times(&self) -> Distribution {
        let buckets = [4, 1_536, u64::MAX].map(|below_us| Bucket {
            below_us,
            count: self.next(),
        });
        Distribution::from_buckets(buckets, self.next())
    }
}

/// No `..` here: a number that is added to the model is added here, or this doesn't compile.
fn full(numbers: &DistinctNumbers) -> Snapshot {
    let n = || numbers.next();
    Snapshot {
        taken: Moment {
            unix_ms: n(),
            mono_ms: n(),
        },
        process: ProcessStatus {
            version: numbers.text(),
            uptime_ms: n(),
            draining: true,
            open_files_max: n(),
        },
        listener: Some(ListenerStatus {
            connections: n(),
            connections_max: n(),
            request_bytes: n(),
            request_bytes_max: n(),
            accepted: n(),
            refused: n(),
            given_up: n(),
            requests_given_up: n(),
        }),
        queue: Some(QueueStatus {
            poison_queue_name: numbers.text(),
            counts: lane_counts(numbers),
            totals: lane_totals(numbers),
            keys: n(),
            clock_doubted: true,
            clock_waiting: n(),
            cache: CacheStatus {
                bytes: n(),
                bytes_max: n(),
                hits: n(),
                misses: n(),
            },
            feed: FeedStatus {
                events: n(),
                listeners: n(),
                waiting: n(),
            },
            backpressure: BackpressureStatus {
                active: true,
                transitions: n(),
            },
            commit_wait: numbers.times(),
            journal: JournalStatus {
                folder: numbers.text(),
                segments: numbers.small(),
                segments_in_use: numbers.small(),
                log_bytes: n(),
                log_bytes_max: n(),
                live_bytes: n(),
                key_bytes: n(),
                pending_bytes: n(),
                syncs: n(),
                records: n(),
                written_bytes: n(),
                full: true,
            },
            routes: ["a", "b", "unserved"]
                .map(|name| lane(numbers, name))
                .into(),
        }),
        bridge: Some(BridgeStatus {
            routes: ["a", "b"].map(|name| delivery(numbers, name)).into(),
        }),
        receiver: Some(receiver(numbers)),
    }
}

fn lane_counts(numbers: &DistinctNumbers) -> LaneCounts {
    LaneCounts {
        ready: numbers.next(),
        delayed: numbers.next(),
        leased: numbers.next(),
        poison: numbers.next(),
    }
}

fn lane_totals(numbers: &DistinctNumbers) -> LaneTotals {
    let n = || numbers.next();
    LaneTotals {
        enqueued: n(),
        granted: n(),
        done: n(),
        rejected: n(),
        refused: n(),
        unavailable: n(),
        in_doubt: n(),
        not_sent: n(),
        released: n(),
        poisoned: n(),
        requeued: n(),
    }
}

fn lane(numbers: &DistinctNumbers, name: &str) -> RouteStatus {
    RouteStatus {
        route: name.into(),
        counts: lane_counts(numbers),
        totals: lane_totals(numbers),
        oldest_ready: Some(Duration::from_millis(numbers.next())),
        rates: Rates {
            enqueued: numbers.next() as f64,
            done: numbers.next() as f64,
        },
        paused: true,
        live_bytes: numbers.next(),
        share: RouteShare {
            tasks_guaranteed: numbers.next(),
            tasks_max: numbers.next(),
            poison_guaranteed: numbers.next(),
            poison_max: numbers.next(),
            bytes_guaranteed: numbers.next(),
            bytes_max: numbers.next(),
        },
        lease_to_settle: numbers.times(),
    }
}

fn delivery(numbers: &DistinctNumbers, name: &str) -> BridgeRouteStatus {
    let n = || numbers.next();
    BridgeRouteStatus {
        name: name.into(),
        open: true,
        in_flight: n(),
        breaker: BreakerState::Open {
            for_ms: n(),
            probe_in_ms: n(),
        },
        breaker_opened: n(),
        links: vec![
            link(
                numbers,
                TransportKind::Socket,
                LinkState::Up { for_ms: n() },
            ),
            link(
                numbers,
                TransportKind::Grpc,
                LinkState::Waiting { again_in_ms: n() },
            ),
        ],
        counts: RouteCounts {
            done: n(),
            rejected: n(),
            refused: n(),
            unavailable: n(),
            in_doubt: n(),
            not_sent: n(),
            released: n(),
            held: n(),
            lost: n(),
            settle_failures: n(),
            fallbacks_in_doubt: n(),
            fallbacks_not_sent: n(),
            compensation_failures: n(),
            announced: n(),
            panicked: n(),
        },
        compensations_abandoned: n(),
        last_error: Some(numbers.text()),
    }
}

fn link(numbers: &DistinctNumbers, transport: TransportKind, state: LinkState) -> LinkStatus {
    let n = || numbers.next();
    LinkStatus {
        transport,
        address: numbers.text(),
        state,
        software: Some(numbers.text()),
        inbox_id: Some(numbers.text()),
        in_flight: n(),
        breaker: BreakerState::Closed {
            unanswered: numbers.small(),
        },
        breaker_opened: n(),
        last_error: Some(numbers.text()),
        counts: LinkCounts {
            connects: n(),
            connect_failures: n(),
            sends: n(),
            replies: n(),
            late_replies: n(),
            unknown_replies: n(),
            violations: n(),
            heartbeat_deaths: n(),
            rollbacks: n(),
            rollbacks_unanswered: n(),
        },
        first_sign_of_life: numbers.times(),
    }
}

fn receiver(numbers: &DistinctNumbers) -> ReceiverStatus {
    let n = || numbers.next();
    ReceiverStatus {
        inbox_id: numbers.text(),
        links: n(),
        running: n(),
        ready: n(),
        unanswered: n(),
        uncommitted: n(),
        inbox: InboxStatus {
            tasks: n(),
            result_bytes: n(),
            settled_ranges: n(),
        },
        stats: ReceiverStats {
            connections: n(),
            connections_refused: n(),
            connections_given_up: n(),
            wrong_secrets: n(),
            links: n(),
            links_dead: n(),
            links_panicked: n(),
            commands: n(),
            executed: n(),
            not_executed: n(),
            panics: n(),
            joined: n(),
            duplicates: n(),
            stale: n(),
            settled: n(),
            unavailable: n(),
            too_large: n(),
            rolled_back: n(),
            rollbacks: n(),
            rollbacks_unanswered: n(),
            settlements_ignored: n(),
            answers_undelivered: n(),
            results_dropped: n(),
        },
        bad_frames: BTreeMap::from([("version".into(), n()), ("truncated".into(), n())]),
        handler_time: numbers.times(),
        commit_time: numbers.times(),
    }
}

/// Every number that was drawn for it so far.
fn drawn(numbers: &DistinctNumbers) -> BTreeSet<u64> {
    (1..=numbers.0.get() / 10)
        .map(|step| step * 10 + 1_000_003)
        .collect()
}

/// Every number in `value`, those at the end of texts included.
fn found(value: &serde_json::Value, into: &mut BTreeSet<u64>) {
    use serde_json::Value;
    match value {
        Value::Number(number) => {
            let whole = number
                .as_u64()
                .or_else(|| number.as_f64().map(|rate| rate as u64));
            into.extend(whole);
        }
        Value::String(text) => {
            into.extend(
                text.strip_prefix("text ")
                    .map(|number| number.parse::<u64>().unwrap()),
            );
        }
        Value::Array(values) => values.iter().for_each(|value| found(value, into)),
        Value::Object(map) => map.values().for_each(|value| found(value, into)),
        Value::Null | Value::Bool(_) => {}
    }
}

#[test]
fn what_travels_arrives_whole() {
    let snapshot = full(&DistinctNumbers(Cell::new(0)));
    let reply = v1::StatusReply::from(&snapshot);
    let bytes = prost::Message::encode_to_vec(&reply);
    let reply: v1::StatusReply = prost::Message::decode(&bytes[..]).unwrap();
    assert_eq!(Snapshot::from(reply), snapshot);
}

#[test]
fn json_says_every_number_of_the_model() {
    let numbers = DistinctNumbers(Cell::new(0));
    let json = full(&numbers).to_json();
    let mut said = BTreeSet::new();
    found(&json, &mut said);
    let unsaid: Vec<_> = drawn(&numbers).difference(&said).copied().collect();
    assert_eq!(
        unsaid,
        [] as [u64; 0],
        "of {} numbers",
        drawn(&numbers).len()
    );
}

/// Every name in `value`, once, with dots between; lists by their first element.
fn names(value: &serde_json::Value, path: &str, into: &mut Vec<String>) {
    use serde_json::Value;
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                names(value, &format!("{path}.{name}"), into);
            }
        }
        Value::Array(values) => {
            for value in values.iter().take(1) {
                names(value, &format!("{path}[]"), into);
            }
        }
        _ => into.push(path.to_owned()),
    }
}

#[test]
fn the_names_in_json_are_these() {
    let mut all = Vec::new();
    names(
        &full(&DistinctNumbers(Cell::new(0))).to_json(),
        "",
        &mut all,
    );
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn an_older_bridge_is_read_as_far_as_it_tells() {
    let link = v1::LinkStatus {
        address: "a:1".into(),
        connected: true,
        breaker: "open".into(),
        in_flight: 3,
        ..Default::default()
    };
    let reply = v1::StatusReply {
        poison_queue_name: "poison".into(),
        routes: vec![
            v1::RouteStatus {
                route: "a".into(),
                ready: 2,
                done_total: 9,
                breaker: "probing".into(),
                socket: Some(link),
                sent_socket_total: 7,
                ..Default::default()
            },
            v1::RouteStatus {
                route: "held".into(),
                ..Default::default()
            },
        ],
        journal: Some(v1::JournalStatus::default()),
        ..Default::default()
    };
    let snapshot = Snapshot::from(reply);
    let queue = snapshot.queue.as_ref().unwrap();
    assert_eq!(queue.routes[0].counts.ready, 2);
    let delivery = snapshot.delivery("a").unwrap();
    assert_eq!(delivery.breaker, BreakerState::Probing { for_ms: 0 });
    let link = delivery.link(TransportKind::Socket).unwrap();
    assert_eq!(link.state, LinkState::Up { for_ms: 0 });
    assert_eq!((link.in_flight, link.counts.sends), (3, 7));
    assert_eq!(link.breaker.as_str(), "open");
    assert_eq!(snapshot.delivery("held"), None);
    assert_eq!(snapshot.receiver, None);
}
