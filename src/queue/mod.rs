//! SafeTaskQueue: core, journal and waiting callers.

pub mod storage;
