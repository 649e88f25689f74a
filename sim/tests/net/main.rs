//! Each fault at the seams: shown to bite, and to end.

mod hosts;
mod links;
mod peers;
mod streams;
mod world;
