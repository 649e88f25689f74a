//! The endpoint side as a library.
