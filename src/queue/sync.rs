//! The primitives of the pieces that loom checks: std's, or loom's under `cfg(leasebridge_loom)`.
//!
//! A cfg of our own, because tokio reads `cfg(loom)` too and would swap out its whole runtime.

#[cfg(not(leasebridge_loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};

#[cfg(leasebridge_loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};

/// Locks; a panic elsewhere while the lock was held is not made worse by a second one here.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
