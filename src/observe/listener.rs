//! A listener at one moment: its connections, and what they cost.

use serde::Serialize;

/// A listener at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ListenerStatus {
    /// Connections there are.
    pub connections: u64,
    /// Connections there may be.
    pub connections_max: u64,
    /// Bytes of requests that are not accepted yet, and of answers that nobody has read.
    pub request_bytes: u64,
    /// As many as those may be.
    pub request_bytes_max: u64,
    /// Connections accepted since the start.
    #[serde(rename = "accepted_total")]
    pub accepted: u64,
    /// Connections turned away because there were as many as may be.
    #[serde(rename = "refused_total")]
    pub refused: u64,
    /// Connections closed because they did nothing, or made room for others.
    #[serde(rename = "given_up_total")]
    pub given_up: u64,
    /// Requests and answers that were too slow, or made room for others.
    #[serde(rename = "requests_given_up_total")]
    pub requests_given_up: u64,
}
