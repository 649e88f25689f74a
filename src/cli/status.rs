//! `leasebridge status`: depth, rates, links and journal of a running bridge.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use leasebridge::wire::v1;
use serde_json::{Value, json};

use super::client::{BridgeArgs, Operator};
use super::exit::{Exit, Outcome};
use super::signals::Signals;
use super::table::{Column, render};
use super::{Context, out, words};

/// Moves the cursor home and clears what is below: a screen that is repainted without flicker.
const REPAINT: &str = "\u{1b}[H\u{1b}[J";

/// Longest error text in a table.
const ERROR_CHARS_MAX: usize = 60;

/// Show depth, rates, links and journal of the running bridge
///
/// Examples:
///   leasebridge status
///   leasebridge status --watch 2s
///   leasebridge status --json | jq '.routes[].ready'
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    bridge: BridgeArgs,

    /// Print JSON; with --watch one object a line
    #[arg(long)]
    json: bool,

    /// Go on, every second or as often as given (`500ms`, `5s`), until interrupted
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, default_missing_value = "1s")]
    watch: Option<leasebridge::config::Span>,
}

/// Prints the status, once or again and again.
pub(crate) async fn run(args: StatusArgs, context: Context) -> Outcome {
    let operator = Operator::new(&args.bridge, &context);
    let Some(interval) = args.watch else {
        show(&operator, args.json, "").await?;
        return Ok(Exit::Done);
    };
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
            shown = show(&operator, args.json, repaint) => shown?,
        }
        tokio::select! {
            biased;
            _ = signals.next() => return Ok(Exit::Done),
            () = context.env.clock.sleep(interval.get()) => {}
        }
    }
}

async fn show(operator: &Operator, as_json: bool, before: &str) -> Result<(), super::Failure> {
    let mut admin = operator.admin.clone();
    let status = operator.ask(admin.status(v1::StatusRequest {})).await?;
    if as_json {
        out::print_json(&to_json(&status))
    } else {
        out::print(&format!("{before}{}", to_text(&status)))
    }
}

/// Under the table: after a restart more is done than was enqueued since.
const TOTALS_SINCE: &str = "(ENQUEUED, DONE, REJECTED and IN DOUBT count since this start)";

fn to_text(status: &v1::StatusReply) -> String {
    let mut parts = vec![format!(
        "leasebridge {}, up {}{}",
        words::safe(&status.version),
        words::age(Duration::from_millis(status.uptime_ms)),
        if status.draining { ", draining" } else { "" },
    )];
    parts.push(format!(
        "{}\n{TOTALS_SINCE}",
        routes(&status.routes).trim_end()
    ));
    let links = links(&status.routes);
    if !links.is_empty() {
        parts.push(links);
    }
    if let Some(journal) = &status.journal {
        parts.push(journal_line(journal));
    }
    parts.push(format!(
        "poison store: {}",
        words::safe(&status.poison_queue_name)
    ));
    parts.join("\n\n")
}

fn routes(routes: &[v1::RouteStatus]) -> String {
    use Column::{Number, Text};
    let columns = [
        Text("ROUTE"),
        Text("STATE"),
        Number("READY"),
        Number("DELAYED"),
        Number("LEASED"),
        Number("POISON"),
        Number("OLDEST"),
        Number("IN/S"),
        Number("DONE/S"),
        Number("ENQUEUED"),
        Number("DONE"),
        Number("REJECTED"),
        Number("IN DOUBT"),
    ];
    let rows = routes.iter().map(|route| {
        let oldest = if route.ready == 0 {
            "-".into()
        } else {
            words::age(Duration::from_millis(route.oldest_ready_ms))
        };
        vec![
            words::safe(&route.route),
            route_state(route),
            words::number(route.ready),
            words::number(route.delayed),
            words::number(route.leased),
            words::number(route.poison),
            oldest,
            words::rate(route.enqueued_per_second),
            words::rate(route.done_per_second),
            words::number(route.enqueued_total),
            words::number(route.done_total),
            words::number(route.rejected_total),
            words::number(route.in_doubt_total),
        ]
    });
    render(&columns, rows.collect())
}

/// One word on how the route fares.
fn route_state(route: &v1::RouteStatus) -> String {
    match (route.paused, route.breaker.as_str()) {
        (true, _) => "paused".into(),
        (false, "closed" | "") => "active".into(),
        (false, "open") => "resting".into(),
        (false, other) => words::safe(other),
    }
}

fn links(routes: &[v1::RouteStatus]) -> String {
    use Column::{Number, Text};
    let columns = [
        Text("ROUTE"),
        Text("LINK"),
        Text("ADDRESS"),
        Text("STATE"),
        Text("BREAKER"),
        Number("IN FLIGHT"),
        Number("SENT"),
        Text("LAST ERROR"),
    ];
    let mut rows = Vec::new();
    for route in routes {
        let of_route = [
            ("socket", &route.socket, route.sent_socket_total),
            ("grpc", &route.grpc, route.sent_grpc_total),
        ];
        for (name, link, sent) in of_route {
            let Some(link) = link else { continue };
            rows.push(vec![
                words::safe(&route.route),
                name.into(),
                words::safe(&link.address),
                if link.connected { "up" } else { "down" }.into(),
                words::safe(&link.breaker),
                words::number(link.in_flight),
                words::number(sent),
                short(&link.last_error),
            ]);
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    render(&columns, rows)
}

fn short(error: &str) -> String {
    let clean = words::safe(error);
    if clean.chars().count() <= ERROR_CHARS_MAX {
        return clean;
    }
    let kept: String = clean.chars().take(ERROR_CHARS_MAX - 1).collect();
    format!("{kept}…")
}

fn journal_line(journal: &v1::JournalStatus) -> String {
    format!(
        "journal: {}, {} in {} segments of at most {}, {} live{}\n         {} records, {} syncs",
        words::safe(&journal.folder),
        words::bytes(journal.log_bytes),
        words::number(journal.segments),
        words::bytes(journal.log_bytes_max),
        words::bytes(journal.live_bytes),
        if journal.full {
            "; FULL: enqueues are refused until tasks are done or purged"
        } else {
            ""
        },
        words::number(journal.records_total),
        words::number(journal.syncs_total),
    )
}

fn to_json(status: &v1::StatusReply) -> Value {
    let link = |link: &Option<v1::LinkStatus>| {
        link.as_ref().map(|link| {
            json!({
                "address": link.address,
                "connected": link.connected,
                "breaker": link.breaker,
                "in_flight": link.in_flight,
                "last_error": link.last_error,
            })
        })
    };
    let routes: Vec<_> = status
        .routes
        .iter()
        .map(|route| {
            json!({
                "route": route.route,
                "ready": route.ready,
                "delayed": route.delayed,
                "leased": route.leased,
                "poison": route.poison,
                "oldest_ready_ms": route.oldest_ready_ms,
                "enqueued_total": route.enqueued_total,
                "done_total": route.done_total,
                "rejected_total": route.rejected_total,
                "in_doubt_total": route.in_doubt_total,
                "refused_total": route.refused_total,
                "unavailable_total": route.unavailable_total,
                "not_sent_total": route.not_sent_total,
                "sent_socket_total": route.sent_socket_total,
                "sent_grpc_total": route.sent_grpc_total,
                "enqueued_per_second": route.enqueued_per_second,
                "done_per_second": route.done_per_second,
                "paused": route.paused,
                "breaker": route.breaker,
                "socket": link(&route.socket),
                "grpc": link(&route.grpc),
            })
        })
        .collect();
    let journal = status.journal.as_ref().map(|journal| {
        json!({
            "folder": journal.folder,
            "segments": journal.segments,
            "log_bytes": journal.log_bytes,
            "live_bytes": journal.live_bytes,
            "log_bytes_max": journal.log_bytes_max,
            "syncs_total": journal.syncs_total,
            "records_total": journal.records_total,
            "full": journal.full,
        })
    });
    json!({
        "version": status.version,
        "uptime_ms": status.uptime_ms,
        "draining": status.draining,
        "poison_queue_name": status.poison_queue_name,
        "routes": routes,
        "journal": journal,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> v1::StatusReply {
        v1::StatusReply {
            version: "0.1.0".into(),
            uptime_ms: 3_780_000,
            draining: true,
            poison_queue_name: "poison".into(),
            routes: vec![
                v1::RouteStatus {
                    route: "default".into(),
                    ready: 1_234_567,
                    delayed: 3,
                    leased: 256,
                    poison: 1,
                    oldest_ready_ms: 61_000,
                    enqueued_total: 2_000_000,
                    done_total: 765_173,
                    enqueued_per_second: 50_123.4,
                    done_per_second: 9.44,
                    breaker: "closed".into(),
                    sent_socket_total: 765_433,
                    socket: Some(v1::LinkStatus {
                        address: "127.0.0.1:7420".into(),
                        connected: true,
                        breaker: "closed".into(),
                        in_flight: 256,
                        last_error: String::new(),
                    }),
                    grpc: Some(v1::LinkStatus {
                        address: "127.0.0.1:7421".into(),
                        connected: false,
                        breaker: "open".into(),
                        in_flight: 0,
                        last_error: "connection refused\nwhile it spoke at length of other things \
                                     that nobody has to see in a table"
                            .into(),
                    }),
                    ..Default::default()
                },
                v1::RouteStatus {
                    route: "lamps".into(),
                    paused: true,
                    breaker: "open".into(),
                    ..Default::default()
                },
            ],
            journal: Some(v1::JournalStatus {
                folder: "./leasebridge-data".into(),
                segments: 12,
                log_bytes: 192 << 20,
                live_bytes: 150 << 20,
                log_bytes_max: 4 << 30,
                syncs_total: 4_321,
                records_total: 3_000_000,
                full: true,
            }),
        }
    }

    #[test]
    fn the_table_is_readable() {
        insta::assert_snapshot!(to_text(&example()));
    }

    #[test]
    fn the_json_says_the_same() {
        let pretty = serde_json::to_string_pretty(&to_json(&example())).unwrap();
        insta::assert_snapshot!(pretty);
    }
}
