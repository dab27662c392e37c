//! The pure core of a site: what versions of a tree exist, which of them a user sees, and what has
//! to be done about the difference. No I/O, clock, thread or randomness of its own.
//!
//! The model is that of `appliance/SYNC.md`: sites publish [`version::Version`]s of paths, each
//! names what its author had seen ([`version::Context`]), and what a user sees is a function of
//! the set of versions that no other one covers ([`version::VersionSet`]).

#![forbid(unsafe_code)]

pub mod calendar;
#[cfg(test)]
mod cases;
mod cbor;
pub mod chunk;
pub mod folder;
pub mod job;
pub mod limits;
pub mod message;
pub mod reconcile;
pub mod record;
pub mod seal;
pub mod shares;
pub mod swarm;
pub mod version;
