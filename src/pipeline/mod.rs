//! Per-command context: timeout, retry, compensation, taps, ticker.
