//! The `leasebridge` binary: see `leasebridge --help`.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
