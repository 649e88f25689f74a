//! The command line's grammar.

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use super::{
    bench, check_endpoint, clock, demo, enqueue, exit, explain, journal, poison, receiver, route,
    run, status, watch,
};

/// A durable lease queue that delivers commands over sockets and gRPC and never loses one.
///
/// In three terminals, without any configuration:
///
///   leasebridge receiver
///   leasebridge run
///   seq 1 100000 | leasebridge enqueue
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment, after_help = exit::EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    /// Configuration file (TOML); without one the defaults hold
    #[arg(
        long,
        short,
        global = true,
        value_name = "FILE",
        env = "LEASEBRIDGE_CONFIG",
        hide_env_values = true,
        value_parser = OsStringValueParser::new().map(PathBuf::from),
        help_heading = "Everywhere"
    )]
    pub(crate) config: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) log: LogArgs,

    #[command(subcommand)]
    pub(crate) command: CliCommand,
}

impl Cli {
    /// An environment variable that is set to nothing is not set.
    pub(crate) fn without_empty(mut self) -> Self {
        self.config = self.config.filter(|file| !file.as_os_str().is_empty());
        if self.log.log_filter.is_empty() {
            self.log.log_filter = LOG_DEFAULT.to_owned();
        }
        self
    }
}

/// What is logged unless something else is asked for.
pub(crate) const LOG_DEFAULT: &str = "info";

/// How to log.
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// What to log to stderr: a level (error, warn, info, debug, trace) or a filter such as
    /// `info,leasebridge=debug`
    #[arg(
        long = "log",
        global = true,
        value_name = "LEVEL",
        env = "RUST_LOG",
        hide_env_values = true,
        help_heading = "Everywhere",
        default_value = LOG_DEFAULT
    )]
    pub(crate) log_filter: String,

    /// How to log it
    #[arg(
        long = "log-format",
        global = true,
        value_name = "FORMAT",
        help_heading = "Everywhere",
        value_enum,
        default_value_t
    )]
    pub(crate) log_format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people; coloured on a terminal unless NO_COLOR is set
    #[default]
    Human,
    /// One JSON object a line
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum CliCommand {
    Demo(demo::DemoArgs),
    Run(run::RunArgs),
    Receiver(receiver::ReceiverArgs),
    Enqueue(enqueue::EnqueueArgs),
    Status(status::StatusArgs),
    Explain(explain::ExplainArgs),
    Poison(poison::PoisonArgs),
    Route(route::RouteArgs),
    Watch(watch::WatchArgs),
    Clock(clock::ClockArgs),
    Journal(journal::JournalArgs),
    Bench(bench::BenchArgs),
    CheckEndpoint(check_endpoint::CheckEndpointArgs),
    /// Check the configuration and print what it comes to, without starting anything
    CheckConfig,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_subcommand_is_understood_with_its_options_and_the_global_ones() {
        for line in [
            "demo --commands 500 --seed 3 --keep --json",
            "run --history run.jsonl",
            "receiver --history e.jsonl --history-host east",
            "receiver --out executed.tsv --socket 127.0.0.1:1 --grpc unix:/run/x.sock",
            "enqueue commands.txt --format lines --route lamps --deadline 10m --resume --source s --batch 1 \
             --window 1 --patience 5s --json -q --bridge [::1]:1 --history p.jsonl",
            "status --json --watch 2s",
            "status --watch",
            "explain --key 42 --json",
            "poison list --route lamps --limit 3 --json",
            "poison show 42-00000000c0ffee00",
            "poison requeue 42-00000000c0ffee00 43-00000000c0ffee00",
            "poison purge --all --route lamps --yes",
            "route pause lamps",
            "route resume lamps",
            "route move lamps new-lamps",
            "watch --route lamps --json",
            "journal verify",
            "journal inspect folder",
            "journal dump folder",
            "journal repair folder --yes",
            "journal salvage folder --to other",
            "check-config",
            "check-endpoint 127.0.0.1:1 --grpc 127.0.0.1:2 --route lamps --body x --secret s --patience 2s --json",
            "check-endpoint --grpc unix:/run/x.sock",
        ] {
            let words = format!("leasebridge {line} --log debug --log-format json -c file.toml");
            let cli = Cli::try_parse_from(words.split_whitespace());
            let cli = cli.unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(cli.log.log_format, LogFormat::Json, "{line}");
        }
        for line in [
            "poison purge",
            "poison requeue --route lamps",
            "demo --commands 0",
            "enqueue --window 0",
            "enqueue --patience 5",
            "enqueue --history-host east",
            "receiver --out x --print",
            "status --bridge nowhere",
            "check-endpoint",
        ] {
            let words = format!("leasebridge {line}");
            assert!(
                Cli::try_parse_from(words.split_whitespace()).is_err(),
                "{line}"
            );
        }
    }

    #[test]
    fn the_help_is_readable() {
        let mut cli = Cli::command().term_width(100);
        cli.build();
        insta::assert_snapshot!("help", cli.render_long_help());
        for name in [
            "run",
            "receiver",
            "enqueue",
            "status",
            "explain",
            "poison",
            "watch",
            "journal",
            "demo",
            "check-endpoint",
        ] {
            let subcommand = cli.find_subcommand_mut(name).expect("it is one of ours");
            let shown = subcommand.clone().term_width(100).render_long_help();
            insta::assert_snapshot!(format!("help-{name}"), shown);
        }
    }
}
