//! Compiles the messages with protox, so that nobody needs protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["link.proto", "ingest.proto", "admin.proto"]
        .map(|name| format!("proto/leasebridge/v1/{name}"));
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure()
        .bytes(".")
        .compile_fds(descriptors)?;
    println!("cargo::rerun-if-changed=proto");
    Ok(())
}
