//! The lease state machine, pure.
