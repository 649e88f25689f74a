//! The simulator's binary as people and CI systems use it.
#![expect(
    clippy::disallowed_methods,
    reason = "the real binary reads and writes real files"
)]

mod explore;
mod runs;
mod usage;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What a run of the binary came to.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs the binary in the folder of the workspace.
fn sim(args: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasebridge-sim"));
    command.args(args).current_dir(root());
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the binary was built");
    Said {
        code: status.code(),
        out: String::from_utf8(stdout).expect("it writes UTF-8"),
        err: String::from_utf8(stderr).expect("it writes UTF-8"),
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("it is a member")
        .to_owned()
}

/// Every scenario of the project.
fn scenarios() -> Vec<String> {
    let entries = root()
        .join("scenarios")
        .read_dir()
        .expect("there are scenarios");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .map(|path| {
            path.file_stem()
                .expect("it has a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort_unstable();
    names
}

/// A scenario that is there for as long as anything is.
const SOME: &str = "happy_path";
