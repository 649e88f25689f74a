//! `leasebridge check-endpoint`: tries an endpoint rule by rule, as a bridge would and as none should.
//!
//! [`rules`] lists what is tried, in the words of `docs/protocol.md`; [`hello`], [`frames`] and [`commands`] try it over
//! links of their own ([`peer`]), so that what one rule breaks leaves the others alone; [`report`] says what came of it.
//! Every wait has a deadline: a rule whose answer stays out is broken or not judged, and the next one follows.

mod commands;
mod frames;
mod hello;
mod peer;
mod probe;
mod report;
mod rules;
#[cfg(test)]
mod tests;

use std::time::Duration;

use clap::Args;
use leasebridge::config::Span;
use leasebridge::env::Address;

use super::exit::{CommandFailure, CommandResult, Exit};
use super::terminal::Terminal;
use super::{Context, out};
use peer::Target;
use probe::{Probe, ProbeOptions};
use report::Report;

/// How long each answer is waited for, unless asked otherwise: two heartbeats of the usual interval.
const PATIENCE_DEFAULT: &str = "11s";

/// Try an endpoint rule by rule and say which rules of the protocol it keeps
///
/// It needs no preparation: it sends some forty commands over each transport to the route, all with the
/// same body and without headers, under task ids that no queue has. So use a route and a body that do no
/// harm when they are executed. An endpoint that rejects or refuses them is tried all the same; what only
/// an executed command shows is then not judged. It also breaks the protocol on purpose, each time on a
/// connection of its own. In the end it says that all its tasks are settled, so that nothing of it stays
/// in the inbox.
///
/// The rules are those of docs/protocol.md. Exit code 0: none is broken; 1: some are; 69: nobody answers.
///
/// Examples:
///   leasebridge check-endpoint 127.0.0.1:7420
///   leasebridge check-endpoint 127.0.0.1:7420 --grpc 127.0.0.1:7421 --route lamps
///   LEASEBRIDGE_SECRET=xyzzy leasebridge check-endpoint unix:/run/lamps.sock --json
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct CheckEndpointArgs {
    /// Where its socket listens: `host:port` or `unix:/path`
    #[arg(value_name = "ADDRESS", required_unless_present = "grpc")]
    socket: Option<Address>,

    /// Try it over gRPC as well, or, without ADDRESS, over gRPC alone
    #[arg(long, value_name = "ADDRESS")]
    grpc: Option<Address>,

    /// The route that the links and the commands are for
    #[arg(long, default_value = "default")]
    route: String,

    /// The body of the commands
    #[arg(long, default_value = "leasebridge check-endpoint")]
    body: String,

    /// The secret that the endpoint wants
    #[arg(
        long,
        env = "LEASEBRIDGE_SECRET",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    secret: String,

    /// How long to wait for each answer
    #[arg(long, value_name = "DURATION", default_value = PATIENCE_DEFAULT)]
    patience: Span,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Tries every rule over every transport that was asked for.
pub(crate) async fn run(args: CheckEndpointArgs, context: Context) -> CommandResult {
    let patience = args.patience.get();
    if patience < Duration::from_secs(1) {
        return Err(CommandFailure::usage(
            "--patience must be a second at least",
        ));
    }
    let sockets = args.socket.into_iter().map(Target::Socket);
    let targets: Vec<Target> = sockets.chain(args.grpc.map(Target::Grpc)).collect();
    let mut report = Report::default();
    let mut before = None;
    for target in targets {
        let probe = Probe::new(ProbeOptions {
            env: context.env.clone(),
            target,
            other: before.clone(),
            route: args.route.clone(),
            body: args.body.clone().into(),
            secret: args.secret.clone().into(),
            patience,
        });
        if let Err(error) = probe.reach().await {
            let message = format!("{error}; is the endpoint running there?");
            return Err(CommandFailure::new(Exit::Unreachable, message));
        }
        rules::try_all(&probe, &mut report).await;
        before = Some(probe.target.clone());
    }
    match args.json {
        true => out::print_json(&report.json())?,
        false => out::print(&report.text(&Terminal::stdout()))?,
    }
    Ok(report.exit())
}
