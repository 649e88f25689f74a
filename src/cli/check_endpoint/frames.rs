//! Frames that no bridge may send, and the end of a link.

use leasebridge::wire::v1::{self, frame::Kind};

use super::hello::send_frame_bytes;
use super::peer::{Heard, Peer};
use super::probe::{Answer, Checked, Probe, ProbeLink, broken};

/// Sends a violation over a link of its own.
async fn violates(probe: &Probe, kind: Kind) -> Checked {
    let ProbeLink { mut peer, .. } = probe.link().await?;
    peer.send(kind).await;
    probe.ends(peer).await
}

pub(super) async fn one_hello(probe: &Probe) -> Checked {
    let ProbeLink { mut peer, .. } = probe.link().await?;
    peer.send(Kind::Hello(probe.hello())).await;
    probe.ends(peer).await
}

pub(super) async fn no_empty_frame(probe: &Probe) -> Checked {
    let ProbeLink { mut peer, .. } = probe.link().await?;
    peer.send_bytes(&[0; 4]).await;
    probe.ends(peer).await
}

pub(super) async fn no_long_frame(probe: &Probe) -> Checked {
    let ProbeLink {
        mut peer, hello, ..
    } = probe.link().await?;
    let Some(over) = hello.frame_bytes_max.checked_add(1) else {
        return Ok(());
    };
    peer.send_bytes(&over.to_be_bytes()).await;
    probe.ends(peer).await
}

pub(super) async fn no_unknown_kind(probe: &Probe) -> Checked {
    let ProbeLink { mut peer, .. } = probe.link().await?;
    match matches!(peer, Peer::Grpc { .. }) {
        true => peer.send_frame(v1::Frame { kind: None }).await,
        // Field 100, a varint.
        false => send_frame_bytes(&mut peer, &[0xa0, 0x06, 0x01]).await,
    }
    probe.ends(peer).await
}

pub(super) async fn no_endpoints_frame(probe: &Probe) -> Checked {
    let of = probe.fresh();
    let working = v1::Working {
        delivery: Some(probe.delivery(of)),
        send: of.send,
        received_bytes: 0,
    };
    violates(probe, Kind::Working(working)).await
}

pub(super) async fn no_bad_id(probe: &Probe) -> Checked {
    let of = probe.fresh();
    let mut nameless = probe.command(of);
    nameless.delivery = None;
    violates(probe, Kind::Command(nameless)).await?;
    violates(probe, Kind::Command(probe.command(of.in_epoch(0)))).await?;
    violates(probe, Kind::Command(probe.command(of.again(65)))).await
}

pub(super) async fn no_empty_range(probe: &Probe) -> Checked {
    violates(probe, probe.settled(5, 4)).await
}

pub(super) async fn others_live_on(probe: &Probe) -> Checked {
    let mut healthy = probe.link().await?;
    let _has_a_rule_of_its_own = violates(probe, probe.settled(5, 4)).await;
    let beat = v1::Heartbeat {
        sequence: 1,
        received_bytes: 0,
    };
    healthy.peer.send(Kind::Heartbeat(beat)).await;
    match probe.ack(&mut healthy.peer).await {
        Ok(_) => Ok(()),
        Err(other) => broken(format!("{other} came on another link")),
    }
}

pub(super) async fn no_half_links(probe: &Probe) -> Checked {
    let ProbeLink { mut peer, .. } = probe.link().await?;
    peer.end().await;
    probe.ends(peer).await
}

pub(super) async fn ends_with_ok(probe: &Probe) -> Checked {
    let ProbeLink { mut peer, .. } = probe.link().await?;
    peer.send(probe.settled(5, 4)).await;
    loop {
        match probe.word(&mut peer).await {
            Heard::End(None) => return Ok(()),
            Heard::Frame(Kind::Close(_)) => {}
            other => {
                return broken(format!(
                    "{} came where the status OK was due",
                    other.words()
                ));
            }
        }
    }
}

pub(super) async fn answers_behind_drain(probe: &Probe) -> Checked {
    let mut link = probe.link().await?;
    let of = probe.fresh();
    link.peer.send(Kind::Command(probe.command(of))).await;
    let reason = "nothing more is sent".to_owned();
    link.peer.send(Kind::Drain(v1::Drain { reason })).await;
    match probe.answer(&mut link, of).await? {
        Answer::Outcome(_) => Ok(()),
        Answer::RolledBack => broken("a send that nobody rolled back is said to be"),
    }
}
