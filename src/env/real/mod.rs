//! The real world behind the seams.
//!
//! The only place in the library where clocks, sockets, threads and files are touched directly.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the seam's real side; everything else goes through it"
)]

mod clock;
mod connect;
mod disk;
mod entropy;
mod reserve;
mod resolve;
mod transport;

pub use clock::TokioClock;
pub use disk::StdDisk;
pub use entropy::SystemEntropy;
pub use transport::TokioTransport;
