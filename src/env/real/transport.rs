//! TCP and Unix sockets through tokio.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::connect::connect;
use crate::env::{Address, BoxFuture, BoxStream, Listener, Transport};

/// The system's TCP and Unix sockets, by way of tokio.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioTransport;

impl Transport for TokioTransport {
    fn connect<'a>(&'a self, address: &'a Address) -> BoxFuture<'a, io::Result<BoxStream>> {
        Box::pin(async move {
            Ok(match address {
                Address::Tcp { host, port } => {
                    let stream = connect(host, *port).await?;
                    // Frames are coalesced above: waiting for more here only adds latency.
                    stream.set_nodelay(true)?;
                    keep_little_unsent(&stream)?;
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
                        _file: SocketFile::of(path),
                    })
                }
            })
        })
    }
}

/// What the kernel takes of a connection before it has sent it. What it took can't be overtaken or taken back, and
/// counts as having left where the peer doesn't tell what it has received: two seconds' worth at 64 kbit/s. What is on
/// its way to the peer isn't limited by it, so that a long way is filled as before.
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 16 << 10;

#[cfg(target_os = "linux")]
fn keep_little_unsent(stream: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)
}

/// Elsewhere the kernel takes as much as it likes.
#[cfg(not(target_os = "linux"))]
fn keep_little_unsent(_: &TcpStream) -> io::Result<()> {
    Ok(())
}

/// A process that was killed leaves its socket file behind. Only where nobody listens any more it is removed: a
/// listener that is merely too busy, or somebody else's, refuses otherwise.
async fn remove_dead_socket(path: &Path) -> io::Result<()> {
    let is_socket =
        std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        _ => Ok(()),
    }
}

/// The file of a socket that listens; removed with it, unless another has taken its place.
struct SocketFile {
    path: PathBuf,
    /// Device and inode, if they could be found out.
    made: Option<(u64, u64)>,
}

impl SocketFile {
    fn of(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            made: Self::identity(path),
        }
    }

    fn identity(path: &Path) -> Option<(u64, u64)> {
        let found = std::fs::symlink_metadata(path).ok()?;
        Some((found.dev(), found.ino()))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.made.is_some() && Self::identity(&self.path) == self.made {
            // The next one who binds it removes it as well.
            std::fs::remove_file(&self.path).unwrap_or_default();
        }
    }
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
            keep_little_unsent(&stream)?;
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
    _file: SocketFile,
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
