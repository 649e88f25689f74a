//! The command line: one file per subcommand, and what they share.
//!
//! Arguments and configuration are checked before anything is started. Results go to stdout, logs and
//! complaints to stderr. [`exit`] lists the exit codes.

mod args;
mod bench;
mod check_config;
mod check_endpoint;
mod client;
mod clock;
mod config;
mod demo;
mod descriptors;
mod enqueue;
mod exit;
mod explain;
mod history;
mod journal;
mod log;
mod out;
mod poison;
mod receiver;
mod route;
mod run;
mod signals;
mod status;
mod table;
mod terminal;
mod watch;
mod words;

use std::process::ExitCode;

use clap::Parser;
use leasebridge::config::Config;
use leasebridge::env::Env;

use args::{Cli, CliCommand};
use exit::{CommandFailure, CommandResult};

/// What every subcommand gets.
pub(crate) struct Context {
    /// The system's clock, sockets, files and randomness.
    pub(crate) env: Env,
    /// The checked configuration.
    pub(crate) config: Config,
    /// Files and connections that the process may have open; zero if there is no limit.
    pub(crate) open_files_max: u64,
}

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse().without_empty();
    // The demo breaks things on purpose, the benchmark wants the terminal for its figures: what the
    // library says would bury both.
    let is_quiet = matches!(cli.command, CliCommand::Demo(_) | CliCommand::Bench(_));
    let logging = log::start(&cli.log, is_quiet);
    let (_log, ended) = match logging {
        Ok(log) => (Some(log), start(cli)),
        Err(failure) => (None, Err(failure)),
    };
    let exit = ended.unwrap_or_else(|failure| {
        if !failure.message.is_empty() {
            log::last_word(&format!("error: {failure}"));
        }
        failure.exit
    });
    exit.into()
}

/// Checks everything that can be checked, then runs the subcommand.
fn start(cli: Cli) -> CommandResult {
    let config = config::load(cli.config.as_deref())?;
    let open_files_max = descriptors::raise();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            CommandFailure::failed(format!("the runtime can't be started: {error}"))
        })?;
    let ended = runtime.block_on(async {
        let context = Context {
            env: Env::real(),
            config,
            open_files_max,
        };
        dispatch(cli.command, cli.config, context).await
    });
    // A thread may still be blocked in a read of stdin: nobody waits for it.
    runtime.shutdown_background();
    ended
}

async fn dispatch(
    command: CliCommand,
    config_file: Option<std::path::PathBuf>,
    context: Context,
) -> CommandResult {
    match command {
        CliCommand::Demo(args) => demo::run(args, context).await,
        CliCommand::Run(args) => run::run(args, context).await,
        CliCommand::Receiver(args) => receiver::run(args, context).await,
        CliCommand::Enqueue(args) => enqueue::run(args, context).await,
        CliCommand::Status(args) => status::run(args, context).await,
        CliCommand::Explain(args) => explain::run(args, context).await,
        CliCommand::Poison(args) => poison::run(args, context).await,
        CliCommand::Route(args) => route::run(args, context).await,
        CliCommand::Watch(args) => watch::run(args, context).await,
        CliCommand::Clock(args) => clock::run(args, context).await,
        CliCommand::Journal(args) => journal::run(args, context).await,
        CliCommand::Bench(args) => bench::run(args).await,
        CliCommand::CheckEndpoint(args) => check_endpoint::run(args, context).await,
        CliCommand::CheckConfig => check_config::run(config_file.as_deref(), &context.config),
    }
}
