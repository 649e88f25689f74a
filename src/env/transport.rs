//! Connections as the library sees them: connect, bind, accept, and a stream of bytes.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use tokio::io::{AsyncRead, AsyncWrite};

use super::BoxFuture;

/// A byte stream in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

/// An owned [`Stream`].
pub type BoxStream = Box<dyn Stream>;

/// Where all of the library's connections come from.
pub trait Transport: Send + Sync + 'static {
    /// Connects to `address`. May wait for as long as the network pleases: give it a deadline.
    /// Cancel safe.
    fn connect<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<BoxStream>>;

    /// Starts to listen on `address`. Port 0 picks a free one; see [`Listener::local_address`].
    fn bind<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Listener>>>;
}

/// An address that is bound and takes connections.
pub trait Listener: Send + Sync + 'static {
    /// The next connection and a name for its far side, for logs. Cancel safe.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, String)>>;

    /// Where it listens, with the port that was chosen.
    fn local_address(&self) -> Address;
}

/// Where to connect or listen: `host:port` or `unix:/path`.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// A host name or IP address, and a port.
    Tcp {
        /// Host name, IPv4 address, or IPv6 address without brackets.
        host: String,
        /// Port; 0 only for listening.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// An address from a host and a port.
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self::Tcp {
            host: host.into(),
            port,
        }
    }

    /// Whether only this machine can reach it: a loopback address, `localhost`, or a Unix socket. What another name
    /// leads to is not asked.
    pub fn is_of_this_machine(&self) -> bool {
        let Self::Tcp { host, .. } = self else {
            return true;
        };
        match host.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => host.eq_ignore_ascii_case("localhost"),
        }
    }
}

/// Text that is no [`Address`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an address: {why} (write `host:port`, `[ipv6]:port` or `unix:/path`)")]
pub struct AddressError {
    text: String,
    why: &'static str,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = |why| AddressError {
            text: text.to_owned(),
            why,
        };
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(wrong("the path is empty"));
            }
            return Ok(Self::Unix(path.into()));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("no port"))?;
        let port = port
            .parse()
            .map_err(|_| wrong("the port is not a number below 65536"))?;
        let bare = match host.strip_prefix('[') {
            Some(rest) => rest
                .strip_suffix(']')
                .ok_or_else(|| wrong("no closing bracket"))?,
            None if host.contains(':') => return Err(wrong("an IPv6 address needs brackets")),
            None => host,
        };
        if bare.is_empty() || bare.contains(char::is_whitespace) || bare.contains('/') {
            return Err(wrong("the host is empty or malformed"));
        }
        Ok(Self::tcp(bare, port))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> String {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_print_as_they_parse() {
        for text in [
            "127.0.0.1:7420",
            "[::1]:0",
            "bridge.example:1",
            "unix:/run/lb.sock",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        for (text, why) in [
            ("7420", "no port"),
            (":7420", "the host is empty or malformed"),
            ("host:70000", "the port is not a number below 65536"),
            ("::1:80", "an IPv6 address needs brackets"),
            ("[::1:80", "no closing bracket"),
            ("unix:", "the path is empty"),
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.to_string().contains(why), "{text}: {error}");
        }
    }
}
