//! SafeTaskQueue: core, journal and waiting callers.
