//! The full-stack world: a few seeds of each kind of trouble, and what must hold after it.

mod deaths;
mod inbox;
mod network;
mod same_again;
mod slow;
mod support;
