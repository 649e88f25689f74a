//! What an encoded message would become, told before it is decoded.
//!
//! An element of a list may take two bytes on the wire and a hundred and fifty in memory. So the lists of a message are
//! counted first, by its tags alone, and a message with too many elements is refused before anything is made of it.

/// A list of a message, and the lists inside its elements. What stands in a message that is no list is reached through
/// a list as well: on the wire the two look the same.
pub(crate) struct ListShape {
    /// The field's number.
    field: u64,
    /// What its elements are called, for people.
    name: &'static str,
    /// Elements in the whole message, whatever lists they are divided over.
    items_max: usize,
    /// What an element without content takes in memory.
    item_bytes: usize,
    inner: &'static [ListShape],
}

/// A message with more elements than anything honest has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{items} {name} in one message, at most {items_max} are allowed")]
pub(crate) struct TooManyItems {
    /// What there are too many of.
    name: &'static str,
    /// How many there are.
    items: usize,
    /// How many are allowed.
    items_max: usize,
}

/// Headers of all commands of one message: thirty-two for each of the largest batch.
const HEADERS_MAX: usize = 1 << 18;

/// Ranges of one `Settled`: 64 times what the bridge puts in a frame, and no frame of the usual size has room for more.
const RANGES_MAX: usize = 1 << 16;

const HEADERS: ListShape = ListShape {
    field: 3,
    name: "headers",
    items_max: HEADERS_MAX,
    item_bytes: size_of::<super::v1::Header>(),
    inner: &[],
};

/// One command of a producer.
#[cfg(feature = "server")]
pub(crate) const ENQUEUE: &[ListShape] = &[HEADERS];

/// A batch of them.
#[cfg(feature = "server")]
pub(crate) const ENQUEUE_BATCH: &[ListShape] = &[ListShape {
    field: 1,
    name: "commands",
    items_max: super::limits::BATCH_COMMANDS_MAX,
    item_bytes: size_of::<super::v1::EnqueueRequest>(),
    inner: ENQUEUE,
}];

/// Tasks that an operator names.
#[cfg(feature = "server")]
pub(crate) const SELECTION: &[ListShape] = &[ListShape {
    field: 1,
    name: "tasks",
    items_max: super::limits::SELECTION_MAX,
    item_bytes: size_of::<super::v1::TaskId>(),
    inner: &[],
}];

/// A frame: of a command the headers, of *settled* the ranges. Others have no lists.
pub(crate) const FRAME: &[ListShape] = &[
    ListShape {
        field: 2,
        name: "commands",
        items_max: 1,
        item_bytes: 0,
        inner: &[ListShape {
            field: 4,
            ..HEADERS
        }],
    },
    ListShape {
        field: 9,
        name: "settlements",
        items_max: 1,
        item_bytes: 0,
        inner: &[ListShape {
            field: 1,
            name: "ranges",
            items_max: RANGES_MAX,
            item_bytes: size_of::<super::v1::SettledRange>(),
            inner: &[],
        }],
    },
];

/// What the elements of an encoded message take in memory beside their content, in bytes. Bytes that are no message end
/// the count: decoding them ends there, too.
///
/// # Errors
/// [`TooManyItems`] names a list that is too long.
pub(crate) fn weigh(message: &[u8], lists: &'static [ListShape]) -> Result<usize, TooManyItems> {
    let mut counts = Counts::default();
    count(message, lists, &mut counts);
    for (shape, items) in &counts.0 {
        if *items > shape.items_max {
            return Err(TooManyItems {
                name: shape.name,
                items: *items,
                items_max: shape.items_max,
            });
        }
    }
    let bytes = counts
        .0
        .iter()
        .map(|(shape, items)| items.saturating_mul(shape.item_bytes));
    Ok(bytes.fold(0, usize::saturating_add))
}

/// How many elements there are, list by list. No message has more than a few.
#[derive(Default)]
struct Counts(Vec<(&'static ListShape, usize)>);

impl Counts {
    fn one_more(&mut self, shape: &'static ListShape) {
        let known = self.0.iter_mut();
        match known.rev().find(|(known, _)| std::ptr::eq(*known, shape)) {
            Some((_, items)) => *items = items.saturating_add(1),
            None => self.0.push((shape, 1)),
        }
    }
}

fn count(mut message: &[u8], lists: &'static [ListShape], counts: &mut Counts) -> Option<()> {
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let bytes = match tag & 7 {
            0 => {
                varint(&mut message)?;
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(&mut message)?).ok()?,
            5 => 4,
            // Groups were never used.
            _ => return None,
        };
        let (content, rest) = message.split_at_checked(bytes)?;
        message = rest;
        let shape = lists.iter().find(|shape| shape.field == tag >> 3);
        if let Some(shape) = shape
            && tag & 7 == 2
        {
            counts.one_more(shape);
            if !shape.inner.is_empty() {
                count(content, shape.inner, counts)?;
            }
        }
    }
    Some(())
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(all(test, feature = "server"))]
mod tests {
    use prost::Message;

    use super::*;
    use crate::wire::v1;

    fn command(headers: usize) -> v1::EnqueueRequest {
        v1::EnqueueRequest {
            route: "r".into(),
            body: vec![0xff; 300].into(),
            headers: vec![v1::Header::default(); headers],
            key: "k".into(),
            deadline_unix_ms: u64::MAX,
        }
    }

    #[test]
    fn the_elements_of_a_batch_are_counted_before_it_is_decoded() {
        let commands: Vec<_> = (0..100).map(command).collect();
        let batch = v1::EnqueueBatchRequest { commands }.encode_to_vec();
        let headers = (0..100).sum::<usize>() * size_of::<v1::Header>();
        let expected = 100 * size_of::<v1::EnqueueRequest>() + headers;
        assert_eq!(weigh(&batch, ENQUEUE_BATCH), Ok(expected));
        let bare: usize = 9 * size_of::<v1::Header>();
        assert_eq!(weigh(&command(9).encode_to_vec(), ENQUEUE), Ok(bare));
    }

    /// What a hostile tester sent: nine million empty commands in eighteen megabytes.
    #[test]
    fn nine_million_empty_commands_are_refused_by_their_number() {
        let batch = [0x0a, 0x00].repeat(9_000_000);
        let refused = weigh(&batch, ENQUEUE_BATCH).unwrap_err().to_string();
        assert!(refused.starts_with("9000000 commands"), "{refused}");
        let headers = [0x1a, 0x00].repeat(HEADERS_MAX + 1);
        assert!(weigh(&headers, ENQUEUE).is_err());
        let tasks = [0x0a, 0x00].repeat(100_001);
        assert!(weigh(&tasks, SELECTION).is_err());
    }

    #[test]
    fn a_frame_can_bring_neither_many_headers_nor_many_ranges() {
        let frame = |kind| v1::Frame { kind: Some(kind) }.encode_to_vec();
        let settled = |count| {
            frame(v1::frame::Kind::Settled(v1::Settled {
                ranges: vec![v1::SettledRange::default(); count],
            }))
        };
        assert!(weigh(&settled(RANGES_MAX), FRAME).is_ok());
        assert!(weigh(&settled(RANGES_MAX + 1), FRAME).is_err());
        // Decoded, the second would be merged into the first.
        let twice = [settled(1), settled(1)].concat();
        assert!(weigh(&twice, FRAME).is_err());
        let command = |count| {
            frame(v1::frame::Kind::Command(v1::Command {
                headers: vec![v1::Header::default(); count],
                ..Default::default()
            }))
        };
        assert!(weigh(&command(128), FRAME).is_ok());
        assert!(weigh(&command(HEADERS_MAX + 1), FRAME).is_err());
    }

    #[test]
    fn bytes_that_are_no_message_end_the_count() {
        for noise in [
            &[0xff; 40][..],
            &[0x0a],
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f],
            &[0x0b, 0x00],
            &[0x09, 1, 2, 3],
        ] {
            assert!(weigh(noise, ENQUEUE_BATCH).is_ok());
        }
    }
}
