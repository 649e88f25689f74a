//! The framed socket protocol and the generated messages.
