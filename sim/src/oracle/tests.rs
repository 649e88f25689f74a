//! Hand-made histories: bad ones that must be rejected, by the right invariant and with a story that names
//! times; and good ones that must be accepted, above all those that look bad at first sight.

mod acks;
mod budgets;
mod builder;
mod compensations;
mod durable;
mod earlier;
mod inbox;
mod keys;
mod leases;
mod line;
mod liveness;
mod lost;
mod once;
mod order;
mod real;
mod shares;
mod strangers;
mod suspects;
mod waits;
