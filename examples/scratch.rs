#![allow(warnings)]
#[path = "../src/cli/bench/mod.rs"]
mod bench;
#[tokio::main]
async fn main() {
    bench::scratch(std::path::Path::new("/work/bench"))
        .await
        .unwrap();
}
