//! The messages and services in `src/wire/generated` are what `proto/` comes to: nobody who builds the library needs a
//! compiler of protocol buffers, and nobody can change one and forget the other.
//!
//! After a change of a `.proto` file: `LEASEBRIDGE_GENERATE=1 cargo test --test generated`, and commit what it wrote.

#![expect(
    clippy::disallowed_methods,
    reason = "a test of the sources reads them as they are"
)]

use std::path::Path;

#[test]
fn the_generated_code_is_what_the_proto_files_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = ["link.proto", "ingest.proto", "admin.proto"]
        .map(|name| root.join("proto/leasebridge/v1").join(name));
    let descriptors = protox::compile(files, [root.join("proto")]).expect("the files are valid");
    let out = tempfile::tempdir().expect("a folder");
    tonic_prost_build::configure()
        .bytes(".")
        // Connections are made over our own transport: the generated clients need no other.
        .build_transport(false)
        .out_dir(out.path())
        .compile_fds(descriptors)
        .expect("the messages can be written as Rust");
    let name = "leasebridge.v1.rs";
    let made = std::fs::read_to_string(out.path().join(name)).expect("one file a package");
    let kept = root.join("src/wire/generated").join(name);
    if std::env::var_os("LEASEBRIDGE_GENERATE").is_some_and(|set| set == "1") {
        std::fs::write(&kept, &made).expect("the source is writable");
    }
    let kept = std::fs::read_to_string(kept).expect("it is checked in");
    let differs = made
        .lines()
        .zip(kept.lines())
        .position(|(made, kept)| made != kept);
    assert!(
        made == kept,
        "proto/ and src/wire/generated differ (first in line {}); LEASEBRIDGE_GENERATE=1 cargo test --test generated \
         writes it anew",
        differs.map_or(made.lines().count().min(kept.lines().count()), |line| line) + 1
    );
}
