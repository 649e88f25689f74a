//! The transport seam of one host over turmoil's simulated network.
//!
//! Works only inside a turmoil host, on an IPv4 network.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::task::Poll;

use leasebridge::env::{Address, BoxFuture, BoxStream, Listener, Transport};
use turmoil::net::{TcpListener, TcpStream};

use super::Network;
use super::admission::Admission;
use super::conn::{Conn, ConnId, Side};
use super::stream::SimStream;
use crate::gate::HostGate;
use crate::plan::HostName;

/// A host's connections.
#[derive(Clone, Debug)]
pub struct SimTransport {
    host: HostName,
    network: Network,
    gate: HostGate,
}

impl SimTransport {
    /// The transport of `host`, whose clock and disk share `gate`.
    pub fn new(host: HostName, network: Network, gate: HostGate) -> Self {
        Self {
            host,
            network,
            gate,
        }
    }

    /// One end of a connection of this host.
    fn stream(&self, inner: TcpStream, id: ConnId, side: Side, conn: Conn) -> SimStream {
        let (network, gate) = (self.network.clone(), self.gate.clone());
        SimStream::new(inner, network, gate, id, side, conn)
    }

    /// Waits until the attempt may go on to turmoil's network.
    async fn admitted(&self, to: &HostName, port: u16) -> io::Result<()> {
        self.gate.opened().await;
        let mut first = true;
        let admission = poll_fn(|cx| {
            let mut books = self.network.books();
            let admission = books.admit(&self.host, to, port, std::mem::take(&mut first));
            if admission == Admission::Wait {
                books.wait_for_change(cx.waker());
                return Poll::Pending;
            }
            Poll::Ready(admission)
        });
        match admission.await {
            Admission::Go => Ok(()),
            Admission::Refused => Err(io::ErrorKind::ConnectionRefused.into()),
            Admission::Unreachable => Err(io::ErrorKind::HostUnreachable.into()),
            Admission::Wait | Admission::Never => std::future::pending().await,
        }
    }
}

impl Transport for SimTransport {
    /// turmoil keeps the port of an attempt that is dropped half-way, so the attempt itself runs in a task of
    /// its own: one that nobody waits for any more is closed in order once it has succeeded.
    fn connect<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<BoxStream>> {
        Box::pin(async move {
            let (host, port) = tcp(address)?;
            let to = HostName::from(host);
            self.admitted(&to, port).await?;
            let attempt = ConnectAttempt {
                network: self.network.clone(),
                to: to.clone(),
                port,
            };
            let target = (host.to_owned(), port);
            let connecting = tokio::spawn(async move {
                let stream = TcpStream::connect(target).await;
                drop(attempt);
                stream
            });
            let inner = connecting.await.map_err(io::Error::other)??;
            let id = ConnId {
                client: inner.local_addr()?,
                server: inner.peer_addr()?,
            };
            let conn = Conn::new(self.host.clone(), to, port);
            let stream = self.stream(inner, id, Side::Client, conn);
            Ok(Box::new(stream) as BoxStream)
        })
    }

    fn bind<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let (host, port) = tcp(address)?;
            self.gate.opened().await;
            // turmoil's hosts have one interface: any name but the loopback's means all of it.
            let ip = match host.parse() {
                Ok(IpAddr::V4(ip)) if ip.is_loopback() => ip,
                Ok(IpAddr::V6(_)) => return Err(refused("IPv6 is not simulated")),
                _ if host == "localhost" => Ipv4Addr::LOCALHOST,
                _ => Ipv4Addr::UNSPECIFIED,
            };
            let inner = TcpListener::bind((ip, port)).await?;
            let port = inner.local_addr()?.port();
            let mut books = self.network.books();
            let entry = books.hosts.entry(self.host.clone()).or_default();
            entry.listening.insert(port, 0);
            books.wake_connecting();
            Ok(Box::new(SimListener {
                inner,
                local: Address::tcp(host, port),
                port,
                transport: self.clone(),
            }) as Box<dyn Listener>)
        })
    }
}

/// A connect that was let through.
struct ConnectAttempt {
    network: Network,
    to: HostName,
    port: u16,
}

impl Drop for ConnectAttempt {
    fn drop(&mut self) {
        self.network.books().connected(&self.to, self.port);
    }
}

fn tcp(address: &Address) -> io::Result<(&str, u16)> {
    match address {
        Address::Tcp { host, port } => Ok((host, *port)),
        Address::Unix(_) => Err(refused("Unix sockets are not simulated")),
    }
}

fn refused(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, why)
}

struct SimListener {
    inner: TcpListener,
    local: Address,
    port: u16,
    transport: SimTransport,
}

impl SimListener {
    fn accepted(&self, inner: TcpStream, peer: SocketAddr) -> io::Result<(BoxStream, String)> {
        let name = turmoil::reverse_lookup(peer.ip()).unwrap_or_else(|| peer.ip().to_string());
        let id = ConnId {
            client: peer,
            server: inner.local_addr()?,
        };
        let client = HostName::from(name.as_str());
        let conn = Conn::new(client, self.transport.host.clone(), self.port);
        let stream = self.transport.stream(inner, id, Side::Server, conn);
        Ok((
            Box::new(stream) as BoxStream,
            format!("{name}:{}", peer.port()),
        ))
    }
}

impl Listener for SimListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, String)>> {
        Box::pin(async move {
            self.transport.gate.opened().await;
            let (inner, peer) = self.inner.accept().await?;
            self.accepted(inner, peer)
        })
    }

    fn local_address(&self) -> Address {
        self.local.clone()
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let mut books = self.transport.network.books();
        if let Some(host) = books.hosts.get_mut(&self.transport.host) {
            host.listening.remove(&self.port);
        }
    }
}
