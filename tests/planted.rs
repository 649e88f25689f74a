//! Deliberate defects (`leasebridge::planted`) must be nowhere in a normal build.
#![cfg(all(feature = "cli", not(leasebridge_planted)))]
#![expect(
    clippy::disallowed_methods,
    reason = "it reads the sources and the binary as they lie on the disk"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The catalogue's text: its names are nowhere else in the sources.
const CATALOGUE: &str = include_str!("../src/planted.rs");

/// The variants and names of the catalogue, from lines like `Variant = "name" in "module":`.
fn catalogue() -> Vec<(&'static str, &'static str)> {
    let entry = |line: &'static str| {
        let (variant, rest) = line.trim().split_once(" = \"")?;
        let (name, rest) = rest.split_once("\" in \"")?;
        rest.ends_with("\":").then_some((variant, name))
    };
    CATALOGUE.lines().filter_map(entry).collect()
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("the sources are there") {
        let path = entry.expect("a listed file").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_defect_is_planted_and_every_planted_one_is_in_the_catalogue() {
    let mut files = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    sources(&root, &mut files);
    let mut planted = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a source is text");
        for (at, _) in text.match_indices("planted!(Bug::") {
            let rest = &text[at + "planted!(Bug::".len()..];
            planted.extend(rest.split_once(')').map(|(variant, _)| variant.to_owned()));
        }
    }
    let known = catalogue();
    assert!(known.len() >= 26, "{} defects were found", known.len());
    let known: BTreeSet<String> = known.iter().map(|(variant, _)| (*variant).into()).collect();
    assert_eq!(planted, known);
}

#[test]
fn a_normal_binary_holds_no_trace_of_them() {
    let binary = std::fs::read(env!("CARGO_BIN_EXE_leasebridge")).expect("it was just built");
    let binary = String::from_utf8_lossy(&binary);
    let contains = |text: &str| binary.contains(text);
    // Shows that names in the binary are found at all.
    assert!(contains("torn_tail_cut") || contains("a segment can't be compacted"));
    for (_, name) in catalogue() {
        assert!(!contains(name), "`{name}` is in a normal build");
    }
}
