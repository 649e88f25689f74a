//! The framed socket protocol and the generated messages.

/// Messages and services generated from `proto/leasebridge/v1`.
#[expect(
    missing_docs,
    clippy::all,
    reason = "generated from proto/, where each is described"
)]
pub mod v1 {
    tonic::include_proto!("leasebridge.v1");
}
