//! Bytes that are no protocol, thrown at every port while commands flow: nobody else suffers.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::Duration;

use crate::harness::chance::Chance;
use crate::harness::executed::Counter;
use crate::harness::feed::Feed;
use crate::harness::house::House;
use crate::harness::until;

/// What is thrown at each port, and how often.
const ROUNDS: u32 = 15;

/// How long an answer to garbage is listened to.
const LISTEN: Duration = Duration::from_millis(50);

/// Throws `bytes` at `port`. Whether they are taken is the other side's business.
fn throw(port: u16, bytes: &[u8], then: Then) -> Option<TcpStream> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("somebody listens");
    let _ = stream.write_all(bytes);
    match then {
        Then::Leave => None,
        Then::Linger => Some(stream),
        Then::Finish => {
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.set_read_timeout(Some(LISTEN));
            let mut answer = [0; 1_024];
            while matches!(stream.read(&mut answer), Ok(count) if count > 0) {}
            None
        }
    }
}

/// What happens to the connection afterwards.
#[derive(Clone, Copy)]
enum Then {
    /// It is closed at once, with a reset if anything is unread.
    Leave,
    /// It stays open and says nothing more.
    Linger,
    /// Its writing half ends, and what is answered is read.
    Finish,
}

#[test]
fn garbage_on_every_port_hurts_nobody() {
    let house = House::new();
    let mut receiver = house.receiver();
    let mut bridge = house.ready_bridge();
    let mut enqueue = house.enqueue_pipe(&["--batch", "64"]);
    let feed = Feed::start(enqueue.stdin(), house.path("executed.tsv"));
    let mut counter = Counter::new(house.path("executed.tsv"));
    let mut chance = Chance::of("garbage");
    let mut lingering = Vec::new();
    for _ in 0..ROUNDS {
        let noise = chance.bytes(4_096);
        let oversized = [&u32::MAX.to_be_bytes()[..], &noise].concat();
        let promised = [&1_000_u32.to_be_bytes()[..], b"ten bytes."].concat();
        let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &noise[..]].concat();
        for bytes in [
            &noise[..],
            &oversized,
            &promised,
            &[0; 64],
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            &preface,
            b"",
        ] {
            for port in [house.socket, house.grpc, house.listen] {
                let then = [Then::Leave, Then::Linger, Then::Finish];
                let then = then[chance.below(3) as usize];
                lingering.extend(throw(port, bytes, then));
            }
        }
        let before = counter.count();
        until("commands flow", || counter.count() > before);
        // Those that linger are few enough for the receiver's limit on connections.
        if lingering.len() > 60 {
            lingering.drain(..30);
        }
    }
    let last = feed.stop();
    let account = enqueue.end().with(0).json();
    assert_eq!(account["accepted"], last, "{account}");
    house.until_idle();
    house.executed().assert_each_number_once(last);
    let route = house.route();
    for total in [
        "in_doubt_total",
        "rejected_total",
        "refused_total",
        "poison",
    ] {
        assert_eq!(route[total], 0, "{route}");
    }
    assert_eq!(route["socket"]["connected"], true, "{route}");
    assert!(receiver.runs() && bridge.runs());
}
