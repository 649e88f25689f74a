//! What a queue can hold: anything that becomes bytes and comes back.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes that are no value of the queue's type.
#[derive(Debug, thiserror::Error)]
#[error("the stored bytes are not a valid {type_name}: {reason}")]
pub struct PayloadError {
    /// The Rust type that was expected.
    pub type_name: &'static str,
    /// What the decoder said.
    pub reason: String,
}

impl PayloadError {
    fn new<T>(reason: impl std::fmt::Display) -> Self {
        Self {
            type_name: std::any::type_name::<T>(),
            reason: reason.to_string(),
        }
    }
}

/// A type that a queue can hold.
///
/// Implemented for every prost message, and for every serde type wrapped in [`Json`].
pub trait Payload: Sized + Send + 'static {
    /// Appends the value's bytes to `out`.
    fn encode_to(&self, out: &mut Vec<u8>);

    /// The value back from its bytes.
    ///
    /// # Errors
    /// [`PayloadError`] when the bytes are not such a value.
    fn decode_from(bytes: Bytes) -> Result<Self, PayloadError>;

    /// How many bytes [`Payload::encode_to`] will append, about; saves growing a buffer.
    fn size_hint(&self) -> usize {
        0
    }

    /// The bytes that a key stands for beside its route: a second enqueue with the same key must agree in
    /// them, else it is a conflict. `None` means all encoded bytes.
    fn identity(&self) -> Option<Bytes> {
        None
    }
}

impl<M: prost::Message + Default + 'static> Payload for M {
    fn encode_to(&self, out: &mut Vec<u8>) {
        self.encode(out).expect("a vector always has room");
    }

    fn size_hint(&self) -> usize {
        self.encoded_len()
    }

    fn decode_from(bytes: Bytes) -> Result<Self, PayloadError> {
        M::decode(bytes).map_err(PayloadError::new::<M>)
    }
}

/// A serde type, stored as JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Json<T>(pub T);

impl<T: Serialize + DeserializeOwned + Send + 'static> Payload for Json<T> {
    /// # Panics
    /// When `T` refuses to be serialised as JSON, say a map whose keys are no strings.
    fn encode_to(&self, out: &mut Vec<u8>) {
        serde_json::to_writer(out, &self.0).expect("the type can be written as JSON");
    }

    fn decode_from(bytes: Bytes) -> Result<Self, PayloadError> {
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(PayloadError::new::<T>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: Payload>(value: &T) -> T {
        let mut bytes = Vec::new();
        value.encode_to(&mut bytes);
        T::decode_from(bytes.into()).unwrap()
    }

    #[test]
    fn prost_messages_and_serde_types_come_back() {
        let header = crate::wire::v1::Header {
            name: "a".into(),
            value: "b".into(),
        };
        assert_eq!(round_trip(&header), header);
        assert_eq!(round_trip(&String::from("text")), "text");
        let json = Json(vec![(1_u8, "x".to_owned())]);
        assert_eq!(round_trip(&json), json);
    }

    #[test]
    fn other_bytes_are_refused_with_the_types_name() {
        let error = Json::<u32>::decode_from(Bytes::from_static(b"{")).unwrap_err();
        assert!(error.to_string().contains("u32"), "{error}");
    }
}
