//! Frames of a byte stream: they come out as they went in, and the same bytes give the same frames
//! and the same end however they are cut.
#![no_main]

mod choices;

use bytes::BytesMut;
use choices::Choices;
use leasebridge::wire::v1::{self, frame::Kind};
use leasebridge::wire::{FrameDecoder, LENGTH_BYTES, encode_frame};
use libfuzzer_sys::fuzz_target;

/// Bytes of the longest frame: above all that are made here, and small enough that noise announces
/// lengths on both sides of it.
const FRAME_BYTES_MAX: u32 = 1 << 10;

/// Well-formed frames in front of the noise.
const FRAMES_MAX: usize = 6;

/// Sizes of pieces, gone round.
const CUTS_MAX: usize = 8;

fuzz_target!(|data: &[u8]| {
    let mut choices = Choices::new(data);
    let cuts: Vec<usize> = (0..choices.below(CUTS_MAX) + 1)
        .map(|_| usize::from(choices.byte()) + 1)
        .collect();
    let kinds: Vec<Kind> = (0..choices.below(FRAMES_MAX + 1))
        .map(|_| kind(&mut choices))
        .collect();
    let mut bytes = BytesMut::new();
    for kind in &kinds {
        encode(kind, &mut bytes);
    }
    let noise = choices.take(usize::MAX);
    bytes.extend_from_slice(noise);

    let whole = decode(&bytes, &[bytes.len().max(1)]);
    assert!(whole.0.starts_with(&kinds), "{kinds:?} became {whole:?}");
    if noise.is_empty() {
        assert_eq!(whole, (kinds, None));
    }
    assert_eq!(decode(&bytes, &cuts), whole, "cut as {cuts:?}");
    let mut again = BytesMut::new();
    for kind in &whole.0 {
        encode(kind, &mut again);
    }
    assert_eq!(decode(&again, &cuts), (whole.0, None));
});

fn encode(kind: &Kind, bytes: &mut BytesMut) {
    let kind = Some(kind.clone());
    encode_frame(&v1::Frame { kind }, bytes);
}

/// The frames of `bytes`, pushed in pieces the sizes of which go round `cuts`, and how they end.
fn decode(bytes: &[u8], cuts: &[usize]) -> (Vec<Kind>, Option<String>) {
    let mut decoder = FrameDecoder::new(FRAME_BYTES_MAX);
    let mut kinds = Vec::new();
    let mut rest = bytes;
    for cut in cuts.iter().cycle() {
        let (piece, after) = rest.split_at((*cut).min(rest.len()));
        decoder.push(piece);
        rest = after;
        loop {
            assert!(decoder.buffered() <= bytes.len() - rest.len());
            match decoder.take() {
                Ok(Some(kind)) => kinds.push(kind),
                Ok(None) => break,
                Err(error) => return (kinds, Some(error.to_string())),
            }
        }
        let buffered_max = LENGTH_BYTES + FRAME_BYTES_MAX as usize;
        assert!(decoder.buffered() < buffered_max, "a whole frame was kept");
        if rest.is_empty() {
            break;
        }
    }
    (kinds, decoder.finish().err().map(|error| error.to_string()))
}

fn kind(choices: &mut Choices<'_>) -> Kind {
    match choices.byte() % 4 {
        0 => Kind::Heartbeat(v1::Heartbeat {
            sequence: u64::from(choices.edgy()) << 32 | u64::from(choices.edgy()),
            received_bytes: u64::from(choices.edgy()),
        }),
        1 => Kind::Hello(v1::Hello {
            version: choices.edgy(),
            software: text(choices),
            route: text(choices),
            frame_bytes_max: choices.edgy(),
            credentials: body(choices),
            tells_received: choices.byte() % 2 == 1,
            ..Default::default()
        }),
        2 => Kind::Command(v1::Command {
            delivery: Some(delivery(choices)),
            send: choices.edgy(),
            route: text(choices),
            headers: (0..choices.below(3))
                .map(|_| v1::Header {
                    name: text(choices),
                    value: text(choices),
                })
                .collect(),
            body: body(choices),
            key: text(choices),
            ..Default::default()
        }),
        _ => Kind::Reply(v1::Reply {
            delivery: Some(delivery(choices)),
            send: choices.edgy(),
            outcome: Some(v1::reply::Outcome::Done(v1::Done {
                result: body(choices),
            })),
        }),
    }
}

fn delivery(choices: &mut Choices<'_>) -> v1::DeliveryId {
    v1::DeliveryId {
        task: Some(v1::TaskId {
            origin: u64::from(choices.edgy()),
            seq: u64::from(choices.edgy()),
        }),
        epoch: choices.edgy(),
    }
}

fn text(choices: &mut Choices<'_>) -> String {
    let len = usize::from(choices.byte() % 16);
    String::from_utf8_lossy(choices.take(len)).into_owned()
}

fn body(choices: &mut Choices<'_>) -> bytes::Bytes {
    let len = usize::from(choices.byte());
    choices.take(len).to_vec().into()
}
