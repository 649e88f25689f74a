//! TCP and Unix sockets through tokio.

use std::io;
use std::os::unix::fs::FileTypeExt;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::env::{Address, BoxFuture, BoxStream, Listener, Transport};

/// The system's TCP and Unix sockets, by way of tokio.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioTransport;

impl Transport for TokioTransport {
    fn connect<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<BoxStream>> {
        Box::pin(async move {
            Ok(match address {
                Address::Tcp { host, port } => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await?;
                    // Frames are coalesced above: waiting for more here only adds latency.
                    stream.set_nodelay(true)?;
                    Box::new(stream) as BoxStream
                }
                Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
            })
        })
    }

    fn bind<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            Ok(match address {
                Address::Tcp { host, port } => {
                    let inner = TcpListener::bind((host.as_str(), *port)).await?;
                    let port = inner.local_addr()?.port();
                    let local = Address::tcp(host.clone(), port);
                    Box::new(Tcp { inner, local }) as Box<dyn Listener>
                }
                Address::Unix(path) => {
                    remove_dead_socket(path).await?;
                    let inner = UnixListener::bind(path)?;
                    Box::new(Unix {
                        inner,
                        local: address.clone(),
                    })
                }
            })
        })
    }
}

/// A process that was killed leaves its socket file behind; one that still answers is left alone.
async fn remove_dead_socket(path: &std::path::Path) -> io::Result<()> {
    let is_socket = std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket && UnixStream::connect(path).await.is_err() {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

struct Tcp {
    inner: TcpListener,
    local: Address,
}

impl Listener for Tcp {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, String)>> {
        Box::pin(async move {
            let (stream, peer) = self.inner.accept().await?;
            stream.set_nodelay(true)?;
            Ok((Box::new(stream) as BoxStream, peer.to_string()))
        })
    }

    fn local_address(&self) -> Address {
        self.local.clone()
    }
}

struct Unix {
    inner: UnixListener,
    local: Address,
}

impl Listener for Unix {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, String)>> {
        Box::pin(async move {
            let (stream, _) = self.inner.accept().await?;
            Ok((Box::new(stream) as BoxStream, self.local.to_string()))
        })
    }

    fn local_address(&self) -> Address {
        self.local.clone()
    }
}
