//! The first message of each side, checked and typed.
//!
//! A bridge says [`BridgeHello`] first; the endpoint answers with [`EndpointHello`]. Everything later
//! on the link rests on what was agreed here: version, limits, inbox and heartbeat.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use super::frame::kind_name;
use super::limits::{
    BODY_BYTES_MAX, CREDENTIALS_BYTES_MAX, FRAME_OVERHEAD_BYTES, HEARTBEAT_MAX, HEARTBEAT_MIN,
    PROTOCOL_VERSION, ROUTE_BYTES_MAX, SOFTWARE_BYTES_MAX,
};
use super::v1;

/// Names the memory of an inbox: a new one means that memory was lost.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InboxId(pub [u8; 16]);

/// What a bridge says first.
#[derive(Clone, PartialEq, Eq)]
pub struct BridgeHello {
    /// Software and version, for logs.
    pub software: String,
    /// The route this link serves.
    pub route: String,
    /// The largest frame the bridge accepts, in bytes.
    pub frame_bytes_max: u32,
    /// The largest body the bridge sends, in bytes.
    pub body_bytes_max: u32,
    /// A shared secret; empty if the endpoint wants none.
    pub credentials: Bytes,
    /// How often the bridge sends a heartbeat.
    pub heartbeat: Duration,
    /// It tells how many bytes it has received, if the endpoint does, too.
    pub tells_received: bool,
}

/// What an endpoint answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointHello {
    /// Software and version, for logs.
    pub software: String,
    /// The largest frame the endpoint accepts, in bytes.
    pub frame_bytes_max: u32,
    /// The largest command body the endpoint accepts, in bytes.
    pub body_bytes_max: u32,
    /// How many unanswered commands the endpoint accepts on this link, at least 1.
    pub in_flight_max: u32,
    /// The memory of its inbox.
    pub inbox_id: InboxId,
    /// How often the endpoint sends a heartbeat.
    pub heartbeat: Duration,
    /// It tells how many bytes it has received, if the bridge does, too.
    pub tells_received: bool,
}

/// A first message that no link can be built on. Definite: nothing else was exchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// Something else came first.
    #[error("the first frame was `{got}` instead of `hello`")]
    NotHello {
        /// The kind that came.
        got: &'static str,
    },
    /// The peer speaks another version.
    #[error("the peer speaks protocol version {theirs}, here it is {PROTOCOL_VERSION}")]
    Version {
        /// The peer's version.
        theirs: u32,
    },
    /// A field that must not be empty or zero is.
    #[error("hello without `{field}`")]
    Missing {
        /// The field's name in the protocol.
        field: &'static str,
    },
    /// A field is longer or larger than allowed.
    #[error("`{field}` is {value}, the most is {max}")]
    TooLarge {
        /// The field's name in the protocol.
        field: &'static str,
        /// What came: bytes for text, the number for numbers.
        value: u64,
        /// The most that is allowed.
        max: u64,
    },
    /// The frame limit leaves no room for the body limit.
    #[error(
        "`frame_bytes_max` {frame} leaves no room for `body_bytes_max` {body} and its {FRAME_OVERHEAD_BYTES} bytes around it"
    )]
    FrameLimit {
        /// The announced frame limit in bytes.
        frame: u32,
        /// The announced body limit in bytes.
        body: u32,
    },
    /// The heartbeat interval is outside what keeps a link alive.
    #[error("`heartbeat_ms` {ms} is outside {}..={}", HEARTBEAT_MIN.as_millis(), HEARTBEAT_MAX.as_millis())]
    Heartbeat {
        /// The announced interval in milliseconds.
        ms: u32,
    },
    /// The inbox id is not 16 bytes.
    #[error("`inbox_id` has {bytes} bytes instead of 16")]
    InboxId {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The bridge does not know the endpoint's secret.
    #[error("wrong credentials")]
    Credentials,
}

impl HelloError {
    /// One word for metrics and counters.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NotHello { .. } => "not_hello",
            Self::Version { .. } => "version",
            Self::Credentials => "credentials",
            _ => "hello",
        }
    }
}

impl BridgeHello {
    /// The frame that says it.
    pub fn to_kind(&self) -> v1::frame::Kind {
        v1::frame::Kind::Hello(v1::Hello {
            version: PROTOCOL_VERSION,
            software: self.software.clone(),
            route: self.route.clone(),
            frame_bytes_max: self.frame_bytes_max,
            body_bytes_max: self.body_bytes_max,
            credentials: self.credentials.clone(),
            heartbeat_ms: millis(self.heartbeat),
            tells_received: self.tells_received,
            ..Default::default()
        })
    }

    /// Reads a link's first frame as an endpoint does. Credentials are for the caller to compare,
    /// see [`BridgeHello::knows`].
    ///
    /// # Errors
    /// [`HelloError`]: close the link with it as the reason.
    pub fn from_kind(kind: v1::frame::Kind) -> Result<Self, HelloError> {
        let hello = common(kind)?;
        require("route", !hello.route.is_empty())?;
        at_most("route", hello.route.len(), ROUTE_BYTES_MAX)?;
        at_most(
            "credentials",
            hello.credentials.len(),
            CREDENTIALS_BYTES_MAX,
        )?;
        Ok(Self {
            software: hello.software,
            route: hello.route,
            frame_bytes_max: hello.frame_bytes_max,
            body_bytes_max: hello.body_bytes_max,
            credentials: hello.credentials,
            heartbeat: Duration::from_millis(hello.heartbeat_ms.into()),
            tells_received: hello.tells_received,
        })
    }

    /// Checks the bridge's secret against the endpoint's, in a time that doesn't depend on where
    /// they differ.
    ///
    /// # Errors
    /// [`HelloError::Credentials`].
    pub fn knows(&self, secret: &[u8]) -> Result<(), HelloError> {
        let differences = self
            .credentials
            .iter()
            .zip(secret)
            .fold(0_u8, |all, (a, b)| all | (a ^ b));
        if self.credentials.len() == secret.len() && differences == 0 {
            Ok(())
        } else {
            Err(HelloError::Credentials)
        }
    }
}

impl EndpointHello {
    /// The frame that says it.
    pub fn to_kind(&self) -> v1::frame::Kind {
        v1::frame::Kind::Hello(v1::Hello {
            version: PROTOCOL_VERSION,
            software: self.software.clone(),
            frame_bytes_max: self.frame_bytes_max,
            body_bytes_max: self.body_bytes_max,
            in_flight_max: self.in_flight_max,
            inbox_id: Bytes::copy_from_slice(&self.inbox_id.0),
            heartbeat_ms: millis(self.heartbeat),
            tells_received: self.tells_received,
            ..Default::default()
        })
    }

    /// Reads a link's first frame as a bridge does.
    ///
    /// # Errors
    /// [`HelloError`]: close the link with it as the reason.
    pub fn from_kind(kind: v1::frame::Kind) -> Result<Self, HelloError> {
        let hello = common(kind)?;
        require("in_flight_max", hello.in_flight_max > 0)?;
        let inbox_id =
            <[u8; 16]>::try_from(&hello.inbox_id[..]).map_err(|_| HelloError::InboxId {
                bytes: hello.inbox_id.len(),
            })?;
        Ok(Self {
            software: hello.software,
            frame_bytes_max: hello.frame_bytes_max,
            body_bytes_max: hello.body_bytes_max,
            in_flight_max: hello.in_flight_max,
            inbox_id: InboxId(inbox_id),
            heartbeat: Duration::from_millis(hello.heartbeat_ms.into()),
            tells_received: hello.tells_received,
        })
    }
}

/// What both sides' first messages have in common.
fn common(kind: v1::frame::Kind) -> Result<v1::Hello, HelloError> {
    let hello = match kind {
        v1::frame::Kind::Hello(hello) => hello,
        other => {
            return Err(HelloError::NotHello {
                got: kind_name(&other),
            });
        }
    };
    // The version comes first: another one may give the other fields another meaning.
    if hello.version != PROTOCOL_VERSION {
        return Err(HelloError::Version {
            theirs: hello.version,
        });
    }
    at_most("software", hello.software.len(), SOFTWARE_BYTES_MAX)?;
    require("body_bytes_max", hello.body_bytes_max > 0)?;
    at_most(
        "body_bytes_max",
        hello.body_bytes_max as usize,
        BODY_BYTES_MAX as usize,
    )?;
    if hello.frame_bytes_max.saturating_sub(FRAME_OVERHEAD_BYTES) < hello.body_bytes_max {
        return Err(HelloError::FrameLimit {
            frame: hello.frame_bytes_max,
            body: hello.body_bytes_max,
        });
    }
    let heartbeat = Duration::from_millis(hello.heartbeat_ms.into());
    if !(HEARTBEAT_MIN..=HEARTBEAT_MAX).contains(&heartbeat) {
        return Err(HelloError::Heartbeat {
            ms: hello.heartbeat_ms,
        });
    }
    Ok(hello)
}

fn require(field: &'static str, present: bool) -> Result<(), HelloError> {
    if present {
        Ok(())
    } else {
        Err(HelloError::Missing { field })
    }
}

fn at_most(field: &'static str, value: usize, max: usize) -> Result<(), HelloError> {
    if value <= max {
        Ok(())
    } else {
        Err(HelloError::TooLarge {
            field,
            value: value as u64,
            max: max as u64,
        })
    }
}

fn millis(interval: Duration) -> u32 {
    u32::try_from(interval.as_millis()).unwrap_or(u32::MAX)
}

impl fmt::Display for InboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for InboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InboxId({self})")
    }
}

impl fmt::Debug for BridgeHello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The secret stays out of logs.
        f.debug_struct("BridgeHello")
            .field("software", &self.software)
            .field("route", &self.route)
            .field("frame_bytes_max", &self.frame_bytes_max)
            .field("body_bytes_max", &self.body_bytes_max)
            .field("heartbeat", &self.heartbeat)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::{BODY_BYTES_DEFAULT, HEARTBEAT_DEFAULT, frame_bytes_for};
    use super::*;
    use v1::frame::Kind;

    fn bridge() -> BridgeHello {
        BridgeHello {
            software: "bridge/1".into(),
            route: "orders".into(),
            frame_bytes_max: frame_bytes_for(BODY_BYTES_DEFAULT),
            body_bytes_max: BODY_BYTES_DEFAULT,
            credentials: Bytes::from_static(b"secret"),
            heartbeat: HEARTBEAT_DEFAULT,
            tells_received: true,
        }
    }

    fn endpoint() -> EndpointHello {
        EndpointHello {
            software: "endpoint/1".into(),
            frame_bytes_max: frame_bytes_for(BODY_BYTES_DEFAULT),
            body_bytes_max: BODY_BYTES_DEFAULT,
            in_flight_max: 1,
            inbox_id: InboxId([7; 16]),
            heartbeat: HEARTBEAT_DEFAULT,
            tells_received: true,
        }
    }

    fn changed(kind: Kind, change: impl FnOnce(&mut v1::Hello)) -> Kind {
        let Kind::Hello(mut hello) = kind else {
            panic!("not a hello")
        };
        change(&mut hello);
        Kind::Hello(hello)
    }

    #[test]
    fn both_read_back_as_they_were_said() {
        assert_eq!(BridgeHello::from_kind(bridge().to_kind()), Ok(bridge()));
        assert_eq!(
            EndpointHello::from_kind(endpoint().to_kind()),
            Ok(endpoint())
        );
    }

    #[test]
    fn a_broken_hello_of_a_bridge_is_refused_by_name() {
        let from = |change: fn(&mut v1::Hello)| {
            BridgeHello::from_kind(changed(bridge().to_kind(), change))
                .unwrap_err()
                .to_string()
        };
        assert!(from(|h| h.version = 2).contains("version 2"));
        assert!(from(|h| h.route.clear()).contains("`route`"));
        assert!(from(|h| h.route = "r".repeat(257)).contains("`route` is 257"));
        assert!(from(|h| h.software = "s".repeat(257)).contains("`software`"));
        assert!(from(|h| h.credentials = vec![0; 4097].into()).contains("`credentials`"));
        assert!(from(|h| h.body_bytes_max = 0).contains("`body_bytes_max`"));
        assert!(from(|h| h.body_bytes_max = (16 << 20) + 1).contains("the most is 16777216"));
        assert!(from(|h| h.frame_bytes_max = h.body_bytes_max).contains("`frame_bytes_max`"));
        assert!(from(|h| h.heartbeat_ms = 0).contains("`heartbeat_ms` 0"));
        assert!(from(|h| h.heartbeat_ms = 60_001).contains("`heartbeat_ms` 60001"));
        let first = Kind::Heartbeat(v1::Heartbeat::default());
        assert_eq!(
            BridgeHello::from_kind(first),
            Err(HelloError::NotHello { got: "heartbeat" })
        );
    }

    #[test]
    fn what_is_not_ones_own_to_set_is_ignored() {
        let odd = changed(bridge().to_kind(), |h| {
            (h.in_flight_max, h.inbox_id) = (7, vec![1; 3].into());
        });
        assert_eq!(BridgeHello::from_kind(odd), Ok(bridge()));
        let odd = changed(endpoint().to_kind(), |h| {
            (h.route, h.credentials) = ("r".repeat(300), vec![1; 5_000].into());
        });
        assert_eq!(EndpointHello::from_kind(odd), Ok(endpoint()));
    }

    #[test]
    fn a_broken_hello_of_an_endpoint_is_refused_by_name() {
        let none = changed(endpoint().to_kind(), |h| h.in_flight_max = 0);
        assert_eq!(
            EndpointHello::from_kind(none),
            Err(HelloError::Missing {
                field: "in_flight_max"
            })
        );
        let short = changed(endpoint().to_kind(), |h| h.inbox_id = vec![1; 15].into());
        assert_eq!(
            EndpointHello::from_kind(short),
            Err(HelloError::InboxId { bytes: 15 })
        );
    }

    #[test]
    fn only_the_whole_secret_opens_and_it_is_not_printed() {
        assert_eq!(bridge().knows(b"secret"), Ok(()));
        for wrong in [&b"secreT"[..], b"secre", b"secret1", b""] {
            assert_eq!(bridge().knows(wrong), Err(HelloError::Credentials));
        }
        assert!(!format!("{:?}", bridge()).contains("secret"));
    }
}
