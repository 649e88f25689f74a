//! A connection to one of a name's addresses: "happy eyeballs", [RFC 8305](https://www.rfc-editor.org/rfc/rfc8305),
//! section 5. Attempts are staggered, so that a dead address costs a quarter of a second and not a deadline.
//!
//! The address that was good last comes first: behind one name may stand several endpoints, each with an inbox of its
//! own, and whoever flips between them has the same command executed twice.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::sleep;

use super::resolve::resolve;

/// How long an attempt is alone, as the RFC recommends.
const STAGGER: Duration = Duration::from_millis(250);

/// How long a look-up may take before the last good address is tried without it.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(1);

/// Addresses of one name that are tried. A name with more is one of a crowd anyway.
const ADDRESSES_MAX: usize = 16;

/// Names whose last good address is remembered. More than a bridge has endpoints.
const GOOD_MAX: usize = 16_384;

/// Where each name was reached last.
static GOOD: LazyLock<Mutex<BTreeMap<(String, u16), IpAddr>>> = LazyLock::new(Mutex::default);

/// Connects to `host`. Waits as long as the network pleases; cancel safe.
pub(super) async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let last = last_good(host, port);
    let found = match last {
        None => resolve(host).await?,
        Some(good) => tokio::select! {
            biased;
            found = resolve(host) => found?,
            // Its name server doesn't answer, which is no reason to leave an endpoint alone.
            () = sleep(LOOKUP_PATIENCE) => vec![good],
        },
    };
    let addresses = in_order(found, last)
        .into_iter()
        .map(|address| SocketAddr::new(address, port))
        .collect();
    let stream = first_of(addresses).await?;
    remember(host, port, stream.peer_addr()?.ip());
    Ok(stream)
}

/// The last good address first, then the families in turn, beginning with that of the system's first choice.
fn in_order(found: Vec<IpAddr>, last: Option<IpAddr>) -> Vec<IpAddr> {
    let mut order: Vec<_> = last
        .into_iter()
        .filter(|last| found.contains(last))
        .collect();
    let first_is_v6 = found.first().is_some_and(IpAddr::is_ipv6);
    let (one, other): (Vec<IpAddr>, Vec<IpAddr>) = found
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    loop {
        let pair = (one.next(), other.next());
        if pair == (None, None) {
            break;
        }
        for address in [pair.0, pair.1].into_iter().flatten() {
            if !order.contains(&address) {
                order.push(address);
            }
        }
    }
    order.truncate(ADDRESSES_MAX);
    order
}

type Attempt = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// Starts an attempt after the other, the next one when the last has failed or its time alone is over; the first
/// connection wins, and the others are dropped.
async fn first_of(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut left = addresses.into_iter();
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut failure = None;
    let mut start_next = true;
    loop {
        if start_next {
            match left.next() {
                Some(address) => attempts.push(Box::pin(TcpStream::connect(address))),
                None if attempts.is_empty() => {
                    let none = || io::Error::new(io::ErrorKind::NotFound, "no address");
                    return Err(failure.unwrap_or_else(none));
                }
                None => {}
            }
        }
        let is_last = left.len() == 0;
        let ended = poll_fn(|context| {
            for at in 0..attempts.len() {
                if let Poll::Ready(ended) = attempts[at].as_mut().poll(context) {
                    drop(attempts.swap_remove(at));
                    return Poll::Ready(ended);
                }
            }
            Poll::Pending
        });
        tokio::select! {
            biased;
            ended = ended => match ended {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    // The first failure is that of the most likely address.
                    failure.get_or_insert(error);
                    start_next = true;
                }
            },
            () = sleep(STAGGER), if !is_last => start_next = true,
        }
    }
}

fn last_good(host: &str, port: u16) -> Option<IpAddr> {
    let good = GOOD.lock().unwrap_or_else(PoisonError::into_inner);
    good.get(&(host.to_owned(), port)).copied()
}

fn remember(host: &str, port: u16, address: IpAddr) {
    // What is no name has no other address.
    if host.parse::<IpAddr>().is_ok() {
        return;
    }
    let mut good = GOOD.lock().unwrap_or_else(PoisonError::into_inner);
    let name = (host.to_owned(), port);
    if good.len() < GOOD_MAX || good.contains_key(&name) {
        good.insert(name, address);
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_last_good_address_comes_first_and_the_families_take_turns() {
        let found = vec![ip("::1"), ip("::2"), ip("127.0.0.1"), ip("127.0.0.2")];
        assert_eq!(
            in_order(found.clone(), None),
            [ip("::1"), ip("127.0.0.1"), ip("::2"), ip("127.0.0.2")]
        );
        assert_eq!(
            in_order(found.clone(), Some(ip("127.0.0.2")))[..2],
            [ip("127.0.0.2"), ip("::1")]
        );
        // An endpoint that has moved is not looked for where it was.
        assert_eq!(in_order(found, Some(ip("9.9.9.9"))).len(), 4);
    }

    /// A listener that answers no SYN any more: its queue is full. Returns what fills it.
    async fn silent() -> (SocketAddr, Vec<TcpStream>, TcpListener) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut filling = Vec::new();
        while let Ok(stream) =
            tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
        {
            filling.push(stream.unwrap());
        }
        (address, filling, listener)
    }

    #[tokio::test]
    async fn a_dead_address_keeps_nobody_from_the_one_behind_it() {
        let (dead, _filling, _listener) = silent().await;
        let live = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = live.local_addr().unwrap();
        let stream = first_of(vec![dead, address]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
    }

    #[tokio::test]
    async fn the_next_address_follows_a_refusal_at_once_and_the_first_refusal_is_told() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refusing = gone.local_addr().unwrap();
        drop(gone);
        let live = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = live.local_addr().unwrap();
        let stream = first_of(vec![refusing, address]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        let refused = first_of(vec![refusing, refusing]).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(
            first_of(Vec::new()).await.unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }

    #[tokio::test]
    async fn a_name_is_connected_to_and_remembered() {
        let live = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = live.local_addr().unwrap().port();
        connect("localhost", port).await.unwrap();
        assert_eq!(last_good("localhost", port), Some(ip("127.0.0.1")));
    }
}
