//! The transport seam over turmoil's simulated network.
//!
//! Works only inside a turmoil host, on an IPv4 network. Streams are wrapped in [`SimStream`], the
//! place for what turmoil's network can't do: resets, stalls, cuts at a byte.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::task::{Context, Poll};

use leasebridge::env::{Address, BoxFuture, BoxStream, Listener, Transport};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

/// turmoil's network.
#[derive(Clone, Copy, Debug, Default)]
pub struct SimTransport;

impl Transport for SimTransport {
    /// A dropped attempt whose answer never came keeps its port until the host is restarted, as
    /// turmoil's network has it.
    fn connect<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<BoxStream>> {
        Box::pin(async move {
            let (host, port) = tcp(address)?;
            let inner = TcpStream::connect((host, port)).await?;
            Ok(Box::new(SimStream { inner }) as BoxStream)
        })
    }

    fn bind<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let (host, port) = tcp(address)?;
            // turmoil's hosts have one interface: any name but the loopback's means all of it.
            let ip = match host.parse() {
                Ok(IpAddr::V4(ip)) if ip.is_loopback() => ip,
                Ok(IpAddr::V6(_)) => return Err(refused("IPv6 is not simulated")),
                _ if host == "localhost" => Ipv4Addr::LOCALHOST,
                _ => Ipv4Addr::UNSPECIFIED,
            };
            let inner = TcpListener::bind((ip, port)).await?;
            let local = Address::tcp(host, inner.local_addr()?.port());
            Ok(Box::new(SimListener { inner, local }) as Box<dyn Listener>)
        })
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
}

impl Listener for SimListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, String)>> {
        Box::pin(async move {
            let (inner, peer) = self.inner.accept().await?;
            let name = turmoil::reverse_lookup(peer.ip()).unwrap_or_else(|| peer.ip().to_string());
            let stream = Box::new(SimStream { inner }) as BoxStream;
            Ok((stream, format!("{name}:{}", peer.port())))
        })
    }

    fn local_address(&self) -> Address {
        self.local.clone()
    }
}

/// One end of a simulated connection.
#[derive(Debug)]
pub struct SimStream {
    inner: TcpStream,
}

impl AsyncRead for SimStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
