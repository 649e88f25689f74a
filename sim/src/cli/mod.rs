//! The command line: one file per subcommand, and what they share.
//!
//! Results go to stdout, progress and complaints to stderr. [`exit`] lists the exit codes.

mod args;
mod bench;
mod chaos;
mod check;
pub(crate) mod exit;
mod explore;
mod explored;
mod files;
mod list;
mod meta;
pub(crate) mod out;
mod part;
pub(crate) mod planted;
mod regress;
pub(crate) mod run;
mod shrink;
mod story;
pub(crate) mod table;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use args::{Cli, CliCommand};
use exit::{CommandResult, USAGE};

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to be told if the terminal is gone.
            error.print().unwrap_or_default();
            let asked = matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            );
            return ExitCode::from(if asked { 0 } else { USAGE });
        }
    };
    match start(cli) {
        Ok(class) => ExitCode::from(class.exit_code()),
        Err(failure) => {
            out::complain(&failure.to_string());
            ExitCode::from(exit::code_of(&failure))
        }
    }
}

/// Says why nothing can be run at all.
pub(crate) fn refuse_to_start(why: &str) -> ExitCode {
    out::complain(&format!("error: {why}"));
    ExitCode::from(USAGE)
}

fn start(cli: Cli) -> CommandResult {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let scenarios = cli.scenarios;
    runtime.block_on(async {
        match cli.command {
            CliCommand::List => list::run(scenarios),
            CliCommand::Run(args) => run::scenario(args, scenarios).await,
            CliCommand::Replay(args) => run::replay(args).await,
            CliCommand::Explore(args) => explore::run(args, scenarios).await,
            CliCommand::Shrink(args) => shrink::run(args).await,
            CliCommand::Meta(args) => meta::run(args, scenarios).await,
            CliCommand::Check(args) => check::run(&args),
            CliCommand::Planted(args) => planted::run(args, scenarios).await,
            CliCommand::Bench(args) => bench::run(args).await,
            CliCommand::Chaos(args) => chaos::run(args).await,
            CliCommand::Regress(args) => regress::run(args, scenarios).await,
        }
    })
}
