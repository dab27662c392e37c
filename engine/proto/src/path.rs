//! One lane of one path as its two ends see it.
//!
//! No I/O and no keys: packets are numbers here, already or not yet authenticated.

pub mod ages;
pub mod back;
pub mod carrier;
pub mod hole;
pub mod ledger;
pub mod loss;
pub mod memory;
pub mod migrate;
pub mod mtu;
pub mod proof;
pub mod replay;
pub mod rtt;

/// Of what was least lately, two slices of this length are remembered: 30 to 60 s (`ages`, `back`).
const SLICE: core::time::Duration = core::time::Duration::from_secs(30);
