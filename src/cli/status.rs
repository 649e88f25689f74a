//! `leasebridge status`: depth, rates, links and journal of a running bridge.

use std::cmp::Reverse;
use std::io::IsTerminal;
use std::time::Duration;

use clap::{Args, ValueEnum};
use leasebridge::observe::{
    BreakerState, BridgeRouteStatus, Distribution, LinkState, LinkStatus, ListenerStatus,
    QueueStatus, RouteStatus, Snapshot,
};
use leasebridge::wire::v1;

use super::client::{BridgeArgs, Operator};
use super::exit::{CommandResult, Exit};
use super::signals::Signals;
use super::table::{Column, Room, render_for};
use super::terminal::{Terminal, Weight};
use super::{CommandFailure, Context, out, words};

/// Moves the cursor home and clears what is below: a screen that is repainted without flicker.
const REPAINT: &str = "\u{1b}[H\u{1b}[J";

/// Show depth, rates, links and journal of the running bridge
///
/// Examples:
///   leasebridge status
///   leasebridge status --watch 2s --sort poison
///   leasebridge status --route lamps
///   leasebridge status --json | jq '.routes[].ready'
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    bridge: BridgeArgs,

    /// Only this route
    #[arg(long, value_name = "ROUTE")]
    route: Option<String>,

    /// The order of the routes; the largest number comes first
    #[arg(long, value_enum, value_name = "BY", default_value_t)]
    sort: Order,

    /// Print JSON; with --watch one object a line
    #[arg(long)]
    json: bool,

    /// Go on, every second or as often as given (`500ms`, `5s`), until interrupted; also while the bridge is away
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, default_missing_value = "1s")]
    watch: Option<leasebridge::config::Span>,
}

/// What the routes are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Order {
    /// Their names
    #[default]
    Route,
    /// Tasks that are ready
    Ready,
    /// Tasks that wait for a time
    Delayed,
    /// Tasks that are leased
    Leased,
    /// Tasks in poison
    Poison,
    /// The time for which the oldest has been ready
    Oldest,
}

impl Order {
    fn sort(self, routes: &mut [RouteStatus]) {
        let oldest = |route: &RouteStatus| route.oldest_ready.unwrap_or_default().as_millis();
        let key = |route: &RouteStatus| match self {
            Self::Route => 0,
            Self::Ready => route.counts.ready.into(),
            Self::Delayed => route.counts.delayed.into(),
            Self::Leased => route.counts.leased.into(),
            Self::Poison => route.counts.poison.into(),
            Self::Oldest => oldest(route),
        };
        routes.sort_by_cached_key(|route| (Reverse(key(route)), route.route.clone()));
    }
}

/// Prints the status, once or again and again.
pub(crate) async fn run(args: StatusArgs, context: Context) -> CommandResult {
    let operator = Operator::new(&args.bridge, &context);
    let Some(interval) = args.watch else {
        show(&operator, &args, "").await?;
        return Ok(Exit::Done);
    };
    let mut is_away = false;
    let repaint = if std::io::stdout().is_terminal() && !args.json {
        REPAINT
    } else {
        ""
    };
    let mut signals = Signals::catch()?;
    loop {
        tokio::select! {
            biased;
            _ = signals.next() => return Ok(Exit::Done),
            shown = show(&operator, &args, repaint) => match shown {
                Ok(()) => is_away = false,
                // It is restarted, or will be: whoever watches wants to see it come back.
                Err(away) if away.exit == Exit::Unreachable => {
                    if !std::mem::replace(&mut is_away, true) {
                        out::complain(&format!("{away}; trying again"));
                    }
                }
                Err(failure) => return Err(failure),
            },
        }
        tokio::select! {
            biased;
            _ = signals.next() => return Ok(Exit::Done),
            () = context.env.clock.sleep(interval.get()) => {}
        }
    }
}

async fn show(operator: &Operator, args: &StatusArgs, before: &str) -> Result<(), CommandFailure> {
    let mut admin = operator.admin.clone();
    let status = operator.ask(admin.status(v1::StatusRequest {})).await?;
    let mut snapshot = Snapshot::from(status);
    if let Some(route) = &args.route {
        only(route, &mut snapshot)?;
    }
    if let Some(queue) = &mut snapshot.queue {
        args.sort.sort(&mut queue.routes);
    }
    if args.json {
        return out::print_json(&snapshot.to_json());
    }
    let text = to_text(&snapshot, &Terminal::stdout());
    out::print(&format!("{before}{text}"))
}

/// Leaves one route.
fn only(route: &str, snapshot: &mut Snapshot) -> Result<(), CommandFailure> {
    if let Some(queue) = &mut snapshot.queue {
        queue.routes.retain(|known| known.route == route);
        if queue.routes.is_empty() {
            let unknown = format!("the bridge has no route `{}`", words::safe(route));
            return Err(CommandFailure::new(Exit::NotFound, unknown));
        }
    }
    if let Some(bridge) = &mut snapshot.bridge {
        bridge.routes.retain(|known| known.name == route);
    }
    Ok(())
}

/// Under the table: after a restart more is done than was enqueued since.
const TOTALS_SINCE: &str =
    "(since this start; TOOK is the median time from a lease to its settlement)";

/// Under the table of links.
const FIRST_SIGN: &str =
    "(SIGN is the median time from a send to the endpoint's first word about it)";

fn to_text(snapshot: &Snapshot, terminal: &Terminal) -> String {
    let process = &snapshot.process;
    let mut parts = vec![format!(
        "leasebridge {}, up {}{}",
        words::safe(&process.version),
        words::age(Duration::from_millis(process.uptime_ms)),
        if process.draining { ", draining" } else { "" },
    )];
    let Some(queue) = &snapshot.queue else {
        return parts.remove(0);
    };
    if queue.clock_doubted {
        let text = format!(
            "the clock is in doubt: it moved too far while the bridge was away. {} commands with deadlines wait until it agrees \
             again, or until `leasebridge clock accept`",
            words::number(queue.clock_waiting)
        );
        parts.push(terminal.painted(&text, Weight::Wrong));
    }
    parts.push(depths(snapshot, &queue.routes, terminal));
    parts.push(format!(
        "{}\n{TOTALS_SINCE}",
        totals(&queue.routes, terminal)
    ));
    let bridge = snapshot.bridge.iter().flat_map(|bridge| &bridge.routes);
    let bridge: Vec<_> = bridge.collect();
    if bridge.iter().any(|route| !route.links.is_empty()) {
        parts.push(format!("{}\n{FIRST_SIGN}", links(&bridge, terminal)));
    }
    let errors = errors(&bridge, terminal);
    if !errors.is_empty() {
        parts.push(errors);
    }
    parts.push(journal(queue, terminal));
    let listener = snapshot.listener.as_ref();
    parts.extend(listener.map(|listener| connections(snapshot, listener)));
    parts.push(format!(
        "poison store: {}",
        words::safe(&queue.poison_queue_name)
    ));
    parts.join("\n\n")
}

fn connections(snapshot: &Snapshot, listener: &ListenerStatus) -> String {
    let mut text = format!(
        "connections: {} of {}",
        words::number(listener.connections),
        words::number(listener.connections_max)
    );
    let files = snapshot.process.open_files_max;
    if files > 0 {
        text.push_str(&format!("; open files: at most {}", words::number(files)));
    }
    text
}

fn depths(snapshot: &Snapshot, routes: &[RouteStatus], terminal: &Terminal) -> String {
    use Column::{Number, Text};
    let columns = [
        Text("ROUTE"),
        Text("STATE"),
        Number("READY"),
        Number("DELAYED"),
        Number("LEASED"),
        Number("POISON"),
        Number("FULL"),
        Number("OLDEST"),
        Number("IN/S"),
        Number("DONE/S"),
    ];
    let rows = routes.iter().map(|route| {
        let oldest = route.oldest_ready.filter(|_| route.counts.ready > 0);
        let (state, weight) = state(route, snapshot.delivery(&route.route));
        let cells = vec![
            words::safe(&route.route),
            state.into(),
            words::number(route.counts.ready),
            words::number(route.counts.delayed),
            words::number(route.counts.leased),
            words::number(route.counts.poison),
            full(route),
            oldest.map_or_else(|| "-".into(), words::age),
            words::rate(route.rates.enqueued),
            words::rate(route.rates.done),
        ];
        (weight, cells)
    });
    let room = Room {
        squeezed: &["ROUTE"],
        dropped: &["IN/S", "DELAYED", "FULL", "DONE/S", "LEASED"],
    };
    render_for(terminal, &columns, rows.collect(), room)
}

/// How much of what it may hold at most a route holds, of that of which it is the most: pending tasks, tasks in poison,
/// or bytes of the log.
fn full(route: &RouteStatus) -> String {
    let (counts, share) = (route.counts, route.share);
    let held = [
        (counts.pending(), share.tasks_max),
        (counts.poison, share.poison_max),
        (route.live_bytes, share.bytes_max),
    ];
    let percent = |(held, max): (u64, u64)| (max > 0).then(|| held.saturating_mul(100) / max);
    match held.into_iter().filter_map(percent).max() {
        None => "-".into(),
        Some(percent) => format!("{percent} %"),
    }
}

/// One word or two on how the route fares.
fn state(route: &RouteStatus, delivery: Option<&BridgeRouteStatus>) -> (&'static str, Weight) {
    let in_poison = match route.counts.poison {
        0 => Weight::Plain,
        _ => Weight::Odd,
    };
    let Some(delivery) = delivery.filter(|_| !route.paused) else {
        return match route.paused {
            true => ("paused", Weight::Odd),
            false => ("active", in_poison),
        };
    };
    let is_up = |link: &LinkStatus| matches!(link.state, LinkState::Up { .. });
    let is_down = !delivery.links.is_empty() && !delivery.links.iter().any(is_up);
    match delivery.breaker {
        BreakerState::Open { .. } => ("resting", Weight::Wrong),
        _ if is_down => ("no link", Weight::Wrong),
        BreakerState::Probing { .. } => ("probing", Weight::Odd),
        BreakerState::Closed { .. } => ("active", in_poison),
    }
}

fn totals(routes: &[RouteStatus], terminal: &Terminal) -> String {
    use Column::{Number, Text};
    let columns = [
        Text("ROUTE"),
        Number("ENQUEUED"),
        Number("DONE"),
        Number("REJECTED"),
        Number("REFUSED"),
        Number("IN DOUBT"),
        Number("NOT SENT"),
        Number("TOOK"),
        Number("99 %"),
    ];
    let rows = routes.iter().map(|route| {
        let cells = vec![
            words::safe(&route.route),
            words::number(route.totals.enqueued),
            words::number(route.totals.done),
            words::number(route.totals.rejected),
            words::number(route.totals.refused),
            words::number(route.totals.in_doubt),
            words::number(route.totals.not_sent),
            within(&route.lease_to_settle, 0.5),
            within(&route.lease_to_settle, 0.99),
        ];
        (Weight::Plain, cells)
    });
    let room = Room {
        squeezed: &["ROUTE"],
        dropped: &["99 %", "NOT SENT", "TOOK", "REFUSED", "REJECTED"],
    };
    render_for(terminal, &columns, rows.collect(), room)
}

fn links(routes: &[&BridgeRouteStatus], terminal: &Terminal) -> String {
    use Column::{Number, Text};
    let columns = [
        Text("ROUTE"),
        Text("LINK"),
        Text("ADDRESS"),
        Text("STATE"),
        Text("BREAKER"),
        Number("FLYING"),
        Number("SENT"),
        Number("SIGN"),
        Number("99 %"),
    ];
    let rows = routes.iter().flat_map(|route| {
        route.links.iter().map(|link| {
            let weight = match (link.state, link.breaker) {
                (LinkState::Up { .. }, BreakerState::Closed { .. }) => Weight::Plain,
                (LinkState::Up { .. } | LinkState::Draining, _) => Weight::Odd,
                _ => Weight::Wrong,
            };
            let cells = vec![
                words::safe(&route.name),
                link.transport.as_str().into(),
                words::safe(&link.address),
                link.state.as_str().into(),
                link.breaker.as_str().into(),
                words::number(link.in_flight),
                words::number(link.counts.sends),
                within(&link.first_sign_of_life, 0.5),
                within(&link.first_sign_of_life, 0.99),
            ];
            (weight, cells)
        })
    });
    let room = Room {
        squeezed: &["ROUTE", "ADDRESS"],
        dropped: &["99 %", "SENT", "SIGN", "BREAKER"],
    };
    render_for(terminal, &columns, rows.collect(), room)
}

/// What last went wrong, a line each: it would break every table.
fn errors(routes: &[&BridgeRouteStatus], terminal: &Terminal) -> String {
    let mut lines = Vec::new();
    for route in routes {
        let of_links = route
            .links
            .iter()
            .map(|link| (link.transport.as_str(), &link.last_error));
        let all = of_links.chain([("delivery", &route.last_error)]);
        for (what, error) in all {
            if let Some(error) = error {
                let line = format!("last error of {} {what}: {error}", route.name);
                lines.push(terminal.fitted(&words::safe(&line)));
            }
        }
    }
    lines.join("\n")
}

/// The time within which a part of what is recorded lies; `-` while nothing is.
fn within(times: &Distribution, part: f64) -> String {
    times
        .quantile(part)
        .map_or_else(|| "-".into(), words::precise)
}

fn journal(queue: &QueueStatus, terminal: &Terminal) -> String {
    let journal = &queue.journal;
    let mut lines = vec![
        format!("journal: {}", words::safe(&journal.folder)),
        format!(
            "{} in {} segments, at most {}; {} live, {} for keys",
            words::bytes(journal.log_bytes),
            words::number(journal.segments.into()),
            words::bytes(journal.log_bytes_max),
            words::bytes(journal.live_bytes),
            words::bytes(journal.key_bytes),
        ),
        format!(
            "{} records, {} syncs, {} written",
            words::number(journal.records),
            words::number(journal.syncs),
            words::bytes(journal.written_bytes),
        ),
        format!(
            "commits: half durable within {}, 99 of 100 within {}",
            within(&queue.commit_wait, 0.5),
            within(&queue.commit_wait, 0.99),
        ),
    ];
    if journal.full {
        let full = "FULL: enqueues are refused until tasks are done or purged";
        lines.push(terminal.painted(full, Weight::Wrong));
    }
    lines.join("\n         ")
}

#[cfg(test)]
mod tests {
    use leasebridge::core::event::TransportKind;
    use leasebridge::core::{LaneCounts, LaneTotals};
    use leasebridge::observe::{
        BridgeStatus, JournalStatus, LinkCounts, ProcessStatus, Rates, RouteCounts,
    };

    use super::*;

    fn times(of: &[(u64, u64)]) -> Distribution {
        let mut times = Distribution::default();
        for (us, count) in of {
            for _ in 0..*count {
                times.record(Duration::from_micros(*us));
            }
        }
        times
    }

    fn link(transport: TransportKind, state: LinkState) -> LinkStatus {
        let port = match transport {
            TransportKind::Socket => 7420,
            TransportKind::Grpc => 7421,
        };
        LinkStatus {
            transport,
            address: format!("127.0.0.1:{port}"),
            state,
            software: None,
            inbox_id: None,
            in_flight: 0,
            breaker: BreakerState::default(),
            breaker_opened: 0,
            last_error: None,
            counts: LinkCounts::default(),
            first_sign_of_life: Distribution::default(),
        }
    }

    fn deliveries() -> Vec<BridgeRouteStatus> {
        let socket = LinkStatus {
            software: Some("leasebridge 0.1.0".into()),
            inbox_id: Some("0123456789abcdef0123456789abcdef".into()),
            in_flight: 256,
            counts: LinkCounts {
                connects: 1,
                sends: 765_433,
                replies: 765_170,
                ..LinkCounts::default()
            },
            first_sign_of_life: times(&[(900, 70), (2_900, 28), (40_000, 2)]),
            ..link(TransportKind::Socket, LinkState::Up { for_ms: 3_779_000 })
        };
        let grpc = LinkStatus {
            breaker: BreakerState::Open {
                for_ms: 61_000,
                probe_in_ms: 8_000,
            },
            breaker_opened: 1,
            last_error: Some(
                "connection refused\nwhile it spoke at length of other things that nobody has to \
                 see in a table"
                    .into(),
            ),
            ..link(TransportKind::Grpc, LinkState::Waiting { again_in_ms: 900 })
        };
        let default = BridgeRouteStatus {
            name: "default".into(),
            open: true,
            in_flight: 256,
            links: vec![socket, grpc],
            counts: RouteCounts {
                done: 765_170,
                ..RouteCounts::default()
            },
            ..BridgeRouteStatus::default()
        };
        let lamps = BridgeRouteStatus {
            name: "lamps".into(),
            breaker: BreakerState::Probing { for_ms: 4_000 },
            last_error: Some("no sign of life over socket within 3s".into()),
            ..BridgeRouteStatus::default()
        };
        vec![default, lamps]
    }

    fn example() -> Snapshot {
        let default = RouteStatus {
            route: "default".into(),
            counts: LaneCounts {
                ready: 1_234_567,
                delayed: 3,
                leased: 256,
                poison: 1,
            },
            totals: LaneTotals {
                enqueued: 2_000_000,
                done: 765_173,
                ..LaneTotals::default()
            },
            oldest_ready: Some(Duration::from_secs(61)),
            rates: Rates {
                enqueued: 50_123.4,
                done: 9.44,
            },
            lease_to_settle: times(&[(2_000, 97), (60_000, 3)]),
            ..RouteStatus::default()
        };
        let lamps = RouteStatus {
            route: "lamps".into(),
            ..RouteStatus::default()
        };
        let queue = QueueStatus {
            poison_queue_name: "poison".into(),
            journal: JournalStatus {
                folder: "./leasebridge-data".into(),
                segments: 12,
                segments_in_use: 7,
                log_bytes: 192 << 20,
                log_bytes_max: 4 << 30,
                live_bytes: 150 << 20,
                key_bytes: 9 << 20,
                pending_bytes: 0,
                syncs: 4_321,
                records: 3_000_000,
                written_bytes: 400 << 20,
                full: true,
            },
            commit_wait: times(&[(180, 60), (700, 39), (9_000, 1)]),
            routes: vec![default, lamps],
            ..QueueStatus::default()
        };
        Snapshot {
            process: ProcessStatus {
                version: "0.1.0".into(),
                uptime_ms: 3_780_000,
                draining: true,
                open_files_max: 65_536,
            },
            listener: Some(ListenerStatus {
                connections: 3,
                connections_max: 1_024,
                ..ListenerStatus::default()
            }),
            queue: Some(queue),
            bridge: Some(BridgeStatus {
                routes: deliveries(),
            }),
            ..Snapshot::default()
        }
    }

    #[test]
    fn the_text_is_readable_and_fits_a_terminal() {
        let terminal = Terminal {
            width: Some(80),
            has_colours: false,
        };
        let text = to_text(&example(), &terminal);
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(80), "{widest:?}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_narrow_terminal_gets_what_matters_in_colours() {
        let terminal = Terminal {
            width: Some(60),
            has_colours: true,
        };
        let mut snapshot = example();
        let routes = &mut snapshot.bridge.as_mut().unwrap().routes;
        routes[1].links = vec![link(TransportKind::Socket, LinkState::Connecting)];
        Order::Poison.sort(&mut snapshot.queue.as_mut().unwrap().routes);
        insta::assert_snapshot!(to_text(&snapshot, &terminal).replace('\u{1b}', "ESC"));
    }

    #[test]
    fn the_order_is_the_one_asked_for_and_names_break_ties() {
        let names = |order: Order| {
            let mut routes = example().queue.unwrap().routes;
            routes.reverse();
            order.sort(&mut routes);
            let names = routes.into_iter().map(|route| route.route);
            names.collect::<Vec<_>>()
        };
        for order in Order::value_variants() {
            assert_eq!(names(*order), ["default", "lamps"], "{order:?}");
        }
        let mut routes = example().queue.unwrap().routes;
        routes[1].counts.poison = 5;
        Order::Poison.sort(&mut routes);
        assert_eq!(routes[0].route, "lamps");
    }

    #[test]
    fn one_route_is_left_or_it_is_not_known() {
        let mut snapshot = example();
        only("lamps", &mut snapshot).unwrap();
        let text = to_text(&snapshot, &Terminal::default());
        assert!(!text.contains("default"), "{text}");
        let unknown = only("laps", &mut snapshot).unwrap_err();
        assert_eq!(unknown.exit, Exit::NotFound);
    }

    #[test]
    fn a_route_is_as_well_as_its_worst_part() {
        let mut route = RouteStatus::default();
        let mut deliveries = deliveries();
        assert_eq!(state(&route, None).0, "active");
        assert_eq!(
            state(&route, Some(&deliveries[0])),
            ("active", Weight::Plain)
        );
        assert_eq!(state(&route, Some(&deliveries[1])).0, "probing");
        deliveries[0].links.remove(0);
        assert_eq!(
            state(&route, Some(&deliveries[0])),
            ("no link", Weight::Wrong)
        );
        route.paused = true;
        assert_eq!(state(&route, Some(&deliveries[1])).0, "paused");
    }

    #[test]
    fn the_json_says_the_same() {
        let pretty = serde_json::to_string_pretty(&example().to_json()).unwrap();
        insta::assert_snapshot!(pretty);
    }
}
