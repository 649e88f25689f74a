//! The `leasebridge-sim` binary: see `leasebridge-sim --help`.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it starts processes, watches real time and writes files for people; what it simulates does none of that"
)]

mod child;
mod cli;
mod explore;
mod failure;
mod meta;
mod pool;
mod stop;

use std::process::ExitCode;

/// Runs are made of small things that live shortly, on one thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if !cfg!(tokio_unstable) {
        return cli::refuse_to_start(
            "built without `--cfg tokio_unstable`, so `select!` can't be seeded and no run would repeat itself.\n\
             An RUSTFLAGS of your own replaces the flags in .cargo/config.toml: unset it, or add the flag to it, and build \
             again.",
        );
    }
    if std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == child::CHILD)
    {
        return child::main();
    }
    cli::main()
}
