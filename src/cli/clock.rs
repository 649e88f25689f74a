//! `leasebridge clock`: says that the clock of a running bridge is right.

use clap::{Args, Subcommand};
use leasebridge::wire::v1;

use super::client::{BridgeArgs, Operator};
use super::exit::{CommandResult, Exit};
use super::{Context, out};

/// Say that the clock of the running bridge is right
///
/// A bridge whose clock moved further while it was away than `clock_jump_max` (90 days) doesn't believe it: commands with
/// deadlines wait, until the clock agrees with the log again, or until somebody says that it is right. Look first:
///
///   date
///   leasebridge clock accept
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ClockArgs {
    #[command(subcommand)]
    action: ClockAction,
}

#[derive(Debug, Subcommand)]
enum ClockAction {
    /// The clock is right: time goes on from there. Deadlines that lie behind it have passed
    Accept(AcceptArgs),
}

#[derive(Debug, Args)]
struct AcceptArgs {
    #[command(flatten)]
    bridge: BridgeArgs,
}

/// Does what was asked for.
pub(crate) async fn run(args: ClockArgs, context: Context) -> CommandResult {
    let ClockAction::Accept(args) = args.action;
    let operator = Operator::new(&args.bridge, &context);
    let mut admin = operator.admin.clone();
    let request = v1::AcceptClockRequest {};
    let reply = operator.ask(admin.accept_clock(request)).await?;
    out::print(match reply.was_doubted {
        true => "the clock is believed from now on",
        false => "the clock was not in doubt",
    })?;
    Ok(Exit::Done)
}
