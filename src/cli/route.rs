//! `leasebridge route`: pause, resume and empty a route of a running bridge.

use clap::{Args, Subcommand};
use leasebridge::wire::v1;

use super::client::{BridgeArgs, Operator};
use super::exit::{CommandResult, Exit};
use super::{Context, out, words};

/// Pause, resume or move the tasks of a route of the running bridge
///
/// Examples:
///   leasebridge route pause lamps
///   leasebridge route resume lamps
///   leasebridge route move lamps new-lamps --dry-run
///   leasebridge route move lamps new-lamps --poison
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct RouteArgs {
    #[command(subcommand)]
    action: RouteAction,
}

#[derive(Debug, Subcommand)]
enum RouteAction {
    /// Lease nothing more from a route; enqueues go on, what is in flight is finished. Survives a restart
    Pause(OneArgs),
    /// Lease again
    Resume(OneArgs),
    /// Move the waiting tasks of one route to another; those in poison, or whose outcome is in doubt, stay
    Move(MoveArgs),
}

#[derive(Debug, Args)]
struct OneArgs {
    /// The route
    route: String,
    #[command(flatten)]
    bridge: BridgeArgs,
}

#[derive(Debug, Args)]
struct MoveArgs {
    /// The route to empty
    from: String,
    /// The route that gets its tasks
    to: String,
    /// Move what is in poison too; it stays in poison, and a requeue sends it to the new route's endpoint
    #[arg(long)]
    poison: bool,
    /// Move nothing, say what would be moved
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    bridge: BridgeArgs,
}

/// Does what was asked for.
pub(crate) async fn run(args: RouteArgs, context: Context) -> CommandResult {
    let text = match args.action {
        RouteAction::Pause(args) => {
            let operator = Operator::new(&args.bridge, &context);
            let mut admin = operator.admin.clone();
            let route = args.route.clone();
            let reply = operator
                .ask(admin.pause_route(v1::RouteRequest { route }))
                .await?;
            paused(&args.route, &reply)
        }
        RouteAction::Resume(args) => {
            let operator = Operator::new(&args.bridge, &context);
            let mut admin = operator.admin.clone();
            let route = args.route.clone();
            let reply = operator
                .ask(admin.resume_route(v1::RouteRequest { route }))
                .await?;
            paused(&args.route, &reply)
        }
        RouteAction::Move(args) => {
            let operator = Operator::new(&args.bridge, &context);
            let mut admin = operator.admin.clone();
            let request = v1::MoveRouteRequest {
                from: args.from.clone(),
                to: args.to.clone(),
                with_poison: args.poison,
                dry_run: args.dry_run,
            };
            let reply = operator.ask(admin.move_route(request)).await?;
            moved(&args, &reply)
        }
    };
    out::print(&text)?;
    Ok(Exit::Done)
}

fn paused(route: &str, reply: &v1::RouteReply) -> String {
    let state = if reply.paused { "paused" } else { "open" };
    format!("route {} is {state}", words::safe(route))
}

fn moved(args: &MoveArgs, reply: &v1::MoveRouteReply) -> String {
    let mut text = format!(
        "{} {} tasks from {} to {}",
        if args.dry_run { "would move" } else { "moved" },
        words::number(reply.moved),
        words::safe(&args.from),
        words::safe(&args.to)
    );
    if reply.kept_in_doubt > 0 {
        text.push_str(&format!(
            "\n{} stay: they were sent and their outcome is in doubt, another endpoint could execute \
             them twice",
            words::number(reply.kept_in_doubt)
        ));
    }
    if reply.kept_leased > 0 {
        text.push_str(&format!(
            "\n{} stay: they are in flight; move again when they are settled",
            words::number(reply.kept_leased)
        ));
    }
    if reply.kept_poison > 0 {
        text.push_str(&format!(
            "\n{} stay: they are in poison; `--poison` moves them too",
            words::number(reply.kept_poison)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_is_said_with_the_reason() {
        let reply = v1::MoveRouteReply {
            moved: 1_200,
            kept_in_doubt: 2,
            kept_leased: 1,
            kept_poison: 7,
        };
        let args = MoveArgs {
            from: "lamps".into(),
            to: "new-lamps".into(),
            poison: false,
            dry_run: false,
            bridge: BridgeArgs::default(),
        };
        insta::assert_snapshot!(moved(&args, &reply));
    }
}
