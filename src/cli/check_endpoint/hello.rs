//! What is exchanged first, and what keeps a link alive.

use std::time::Duration;

use leasebridge::wire::v1::{self, frame::Kind};
use leasebridge::wire::{EndpointHello, HELLO_BYTES_MAX};
use prost::Message;

use super::peer::{Heard, Peer};
use super::probe::{Checked, Finding, Probe, ProbeLink, broken, not_judged};

/// A number that no field of `Hello` has.
const UNKNOWN_FIELD: u32 = 1_000;

pub(super) async fn answers(probe: &Probe) -> Checked {
    let mut peer = probe.open(Kind::Hello(probe.hello())).await?;
    match probe.hear(&mut peer).await {
        Heard::Frame(kind @ Kind::Hello(_)) => match EndpointHello::from_kind(kind) {
            Ok(_) => Ok(()),
            Err(error) => broken(error.to_string()),
        },
        other => broken(format!("{} came for a hello", other.words())),
    }
}

pub(super) async fn leaves_out(probe: &Probe) -> Checked {
    let ProbeLink { raw, .. } = probe.link().await?;
    if !raw.route.is_empty() {
        return broken("its hello sets `route`");
    }
    match raw.credentials.is_empty() {
        true => Ok(()),
        false => broken("its hello sets `credentials`"),
    }
}

pub(super) async fn keeps_its_inbox(probe: &Probe) -> Checked {
    let mut ids = Vec::new();
    let own = &probe.target;
    for target in [own, own].into_iter().chain(&probe.other) {
        ids.push(probe.link_at(target).await?.hello.inbox_id);
    }
    match ids.windows(2).all(|two| two[0] == two[1]) {
        true => Ok(()),
        false => broken("two links, two inbox ids: its memory seems to be lost each time"),
    }
}

pub(super) async fn refuses_other_versions(probe: &Probe) -> Checked {
    let hello = v1::Hello {
        version: 99,
        ..probe.hello()
    };
    refused(probe, hello, "version 99").await
}

pub(super) async fn refuses_bad_hellos(probe: &Probe) -> Checked {
    let no_route = v1::Hello {
        route: String::new(),
        ..probe.hello()
    };
    refused(probe, no_route, "an empty route").await?;
    let no_beat = v1::Hello {
        heartbeat_ms: 0,
        ..probe.hello()
    };
    refused(probe, no_beat, "a heartbeat of 0 ms").await
}

/// A hello that must be answered with `Close`, or at least with no hello.
async fn refused(probe: &Probe, hello: v1::Hello, what: &str) -> Checked {
    // Over gRPC the refusal may be the answer to the call itself.
    let Ok(mut peer) = probe.open(Kind::Hello(hello)).await else {
        return Ok(());
    };
    match probe.word(&mut peer).await {
        Heard::Frame(Kind::Close(_)) | Heard::End(_) => Ok(()),
        other => broken(format!("{} came for a hello with {what}", other.words())),
    }
}

pub(super) async fn ignores_unknown_fields(probe: &Probe) -> Checked {
    let mut peer = probe.silent_socket().await?;
    let mut hello = probe.hello().encode_to_vec();
    prost::encoding::encode_key(UNKNOWN_FIELD, prost::encoding::WireType::Varint, &mut hello);
    prost::encoding::encode_varint(7, &mut hello);
    let mut frame = Vec::new();
    prost::encoding::encode_key(1, prost::encoding::WireType::LengthDelimited, &mut frame);
    prost::encoding::encode_varint(hello.len() as u64, &mut frame);
    frame.extend(hello);
    send_frame_bytes(&mut peer, &frame).await;
    match probe.word(&mut peer).await {
        Heard::Frame(Kind::Hello(_)) => Ok(()),
        other => broken(format!(
            "{} came for a hello with a field that is not known",
            other.words()
        )),
    }
}

/// Sends bytes behind their length.
pub(super) async fn send_frame_bytes(peer: &mut Peer, frame: &[u8]) {
    let len = u32::try_from(frame.len()).expect("frames of checks are small");
    peer.send_bytes(&len.to_be_bytes()).await;
    peer.send_bytes(frame).await;
}

pub(super) async fn wants_hello_first(probe: &Probe) -> Checked {
    let beat = v1::Heartbeat {
        sequence: 1,
        received_bytes: 0,
    };
    let Ok(peer) = probe.open(Kind::Heartbeat(beat)).await else {
        return Ok(());
    };
    probe.ends(peer).await
}

pub(super) async fn bounds_the_first_frame(probe: &Probe) -> Checked {
    let mut peer = probe.silent_socket().await?;
    // A length alone: whoever reads on would wait for the rest.
    peer.send_bytes(&(HELLO_BYTES_MAX + 1).to_be_bytes()).await;
    probe.ends(peer).await
}

pub(super) async fn wants_its_secret(probe: &Probe) -> Checked {
    if probe.secret.is_empty() {
        let hello = v1::Hello {
            credentials: "whatever".into(),
            ..probe.hello()
        };
        let mut peer = probe.open(Kind::Hello(hello)).await?;
        return match probe.word(&mut peer).await {
            Heard::Frame(Kind::Hello(_)) => Ok(()),
            other => broken(format!(
                "it wants no secret, and says {} to one",
                other.words()
            )),
        };
    }
    let mut wrong = probe.secret.to_vec();
    wrong[0] ^= 1;
    let hello = v1::Hello {
        credentials: wrong.into(),
        ..probe.hello()
    };
    refused(probe, hello, "a wrong secret").await
}

pub(super) async fn acknowledges(probe: &Probe) -> Checked {
    let mut link = probe.link().await?;
    for sequence in [1, 2, 3] {
        let beat = v1::Heartbeat {
            sequence,
            received_bytes: 0,
        };
        link.peer.send(Kind::Heartbeat(beat)).await;
    }
    for sequence in [1, 2, 3] {
        let ack = next_ack(probe, &mut link).await?;
        if ack.sequence != sequence {
            return broken(format!(
                "heartbeat {sequence} was acknowledged as {}",
                ack.sequence
            ));
        }
    }
    Ok(())
}

async fn next_ack(probe: &Probe, link: &mut ProbeLink) -> Result<v1::HeartbeatAck, Finding> {
    match probe.ack(&mut link.peer).await {
        Ok(ack) => Ok(ack),
        Err(other) => broken(format!("{other} came where `heartbeat_ack` was due")),
    }
}

pub(super) async fn counts_what_it_receives(probe: &Probe) -> Checked {
    let mut link = probe.link().await?;
    let sent_before = link.peer.sent_bytes();
    let beat = v1::Heartbeat {
        sequence: 1,
        received_bytes: 0,
    };
    link.peer.send(Kind::Heartbeat(beat)).await;
    let told = next_ack(probe, &mut link).await?.received_bytes;
    if !link.hello.tells_received {
        return match told {
            0 => Ok(()),
            _ => broken(format!("it doesn't tell what it receives, and says {told}")),
        };
    }
    let (Some(before), Some(sent)) = (sent_before, link.peer.sent_bytes()) else {
        return match told {
            0 => broken("it acknowledges a heartbeat and says that nothing was received"),
            _ => Ok(()),
        };
    };
    match (before..=sent).contains(&told) {
        true => Ok(()),
        false => broken(format!(
            "it says {told} bytes, {before} before the heartbeat and {sent} with it"
        )),
    }
}

pub(super) async fn beats(probe: &Probe) -> Checked {
    let mut link = probe.link().await?;
    let interval = link.hello.heartbeat;
    if interval + Duration::from_secs(1) > probe.patience {
        return not_judged(format!(
            "it beats every {} ms: give it more --patience",
            interval.as_millis()
        ));
    }
    match probe.hear(&mut link.peer).await {
        Heard::Frame(Kind::Heartbeat(_)) => Ok(()),
        other => broken(format!(
            "{} came on a quiet link, though it announced a heartbeat every {} ms",
            other.words(),
            interval.as_millis()
        )),
    }
}
