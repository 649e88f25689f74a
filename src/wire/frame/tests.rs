use proptest::prelude::*;

use super::*;
use v1::frame::Kind;

const LIMIT: u32 = 2_000;

fn frame_of(kind: Kind) -> v1::Frame {
    v1::Frame { kind: Some(kind) }
}

fn any_kind() -> impl Strategy<Value = Kind> {
    let delivery = (any::<u64>(), any::<u64>(), any::<u32>()).prop_map(|(origin, seq, epoch)| {
        v1::DeliveryId {
            task: Some(v1::TaskId { origin, seq }),
            epoch,
        }
    });
    let body = proptest::collection::vec(any::<u8>(), 0..600);
    prop_oneof![
        any::<u64>().prop_map(|sequence| Kind::Heartbeat(v1::Heartbeat {
            sequence,
            received_bytes: sequence / 2,
        })),
        (delivery.clone(), body.clone()).prop_map(|(delivery, result)| Kind::Reply(v1::Reply {
            delivery: Some(delivery),
            send: 1,
            outcome: Some(v1::reply::Outcome::Done(v1::Done {
                result: result.into()
            })),
        })),
        (delivery, body, ".{0,9}").prop_map(|(delivery, body, key)| Kind::Command(v1::Command {
            delivery: Some(delivery),
            send: 2,
            route: "orders".into(),
            body: body.into(),
            key,
            ..Default::default()
        })),
    ]
}

/// Feeds `bytes` in pieces, the sizes of which go round `cuts`, and takes frames after each piece.
fn decode_in_pieces(bytes: &[u8], cuts: &[usize]) -> (Vec<Kind>, Option<&'static str>) {
    let mut decoder = FrameDecoder::new(LIMIT);
    let mut kinds = Vec::new();
    let mut rest = bytes;
    for cut in cuts.iter().cycle() {
        loop {
            match decoder.take() {
                Ok(Some(kind)) => kinds.push(kind),
                Ok(None) => break,
                Err(error) => return (kinds, Some(error.label())),
            }
        }
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*cut).clamp(1, rest.len()));
        decoder.push(piece);
        rest = after;
    }
    let end = decoder.finish().err().map(|error| error.label());
    (kinds, end)
}

proptest! {
    #[test]
    fn frames_come_out_as_they_went_in_however_the_bytes_are_cut(
        kinds in proptest::collection::vec(any_kind(), 0..12),
        cuts in proptest::collection::vec(1_usize..700, 1..8),
    ) {
        let mut bytes = BytesMut::new();
        for kind in &kinds {
            encode_frame(&frame_of(kind.clone()), &mut bytes);
        }
        prop_assert_eq!(decode_in_pieces(&bytes, &cuts), (kinds, None));
    }

    #[test]
    fn arbitrary_bytes_give_the_same_answer_however_they_are_cut(
        good in any_kind(),
        noise in proptest::collection::vec(any::<u8>(), 0..300),
        short_length in any::<bool>(),
        cuts in proptest::collection::vec(1_usize..50, 1..8),
    ) {
        let mut bytes = BytesMut::new();
        encode_frame(&frame_of(good), &mut bytes);
        if short_length {
            // A plausible length, so that the noise reaches the message decoder too.
            bytes.put_u32(u32::try_from(noise.len() / 2).unwrap());
        }
        bytes.extend_from_slice(&noise);
        let whole = decode_in_pieces(&bytes, &[bytes.len()]);
        prop_assert_eq!(decode_in_pieces(&bytes, &cuts), whole);
    }
}

fn heartbeat() -> v1::Frame {
    frame_of(Kind::Heartbeat(v1::Heartbeat {
        sequence: 7,
        received_bytes: 0,
    }))
}

#[tokio::test]
async fn a_clean_end_is_told_from_a_cut_one() {
    let mut bytes = BytesMut::new();
    encode_frame(&heartbeat(), &mut bytes);
    let mut reader = FrameReader::new(&bytes[..], LIMIT);
    assert!(reader.next().await.unwrap().is_some());
    assert!(reader.next().await.unwrap().is_none());
    for cut in 1..bytes.len() {
        let mut reader = FrameReader::new(&bytes[..cut], LIMIT);
        match reader.next().await {
            Err(FrameError::Truncated { buffered }) => assert_eq!(buffered, cut),
            other => panic!("cut at {cut}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn broken_frames_are_refused_by_name() {
    for (bytes, label) in [
        (&[0, 0, 0, 0][..], "zero_length"),
        (&[0xff, 0xff, 0xff, 0xff], "too_long"),
        (&[0, 0, 7, 0xd1], "too_long"),
        // Field 15, a varint: a kind this version doesn't know.
        (&[0, 0, 0, 2, 0x78, 1], "unknown_kind"),
        (&[0, 0, 0, 1, 0xff], "undecodable"),
    ] {
        let error = FrameReader::new(bytes, LIMIT).next().await.unwrap_err();
        assert_eq!(error.label(), label, "{error}");
        assert!(error.is_violation());
    }
}

#[tokio::test]
async fn a_large_announced_length_allocates_nothing_before_its_bytes_arrive() {
    let limit = 64 << 20;
    let mut bytes = (60_u32 << 20).to_be_bytes().to_vec();
    bytes.extend_from_slice(&[1; 100]);
    let mut reader = FrameReader::new(&bytes[..], limit);
    reader.next().await.unwrap_err();
    assert!(reader.decoder.buffer.capacity() <= 2 * READ_BYTES);
}

#[tokio::test]
async fn a_cancelled_next_loses_nothing() {
    use futures_util::FutureExt;
    use tokio::io::AsyncWriteExt;

    let mut bytes = BytesMut::new();
    encode_frame(&heartbeat(), &mut bytes);
    let (mut far, near) = tokio::io::duplex(64);
    let mut reader = FrameReader::new(near, LIMIT);
    for byte in &bytes {
        assert!(reader.next().now_or_never().is_none());
        far.write_all(&[*byte]).await.unwrap();
    }
    let kind = reader.next().await.unwrap().unwrap();
    assert_eq!(frame_of(kind), heartbeat());
}
