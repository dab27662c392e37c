//! The body of the transfer engine: sockets, disks, workers, keys, and the driver that joins
//! them to the pure core (`farhaul-proto`).
//!
//! It decides nothing about rates, repair or placement; it does not parse command lines or
//! configuration.

pub mod buffers;
mod carrier;
pub mod clock;
pub mod control;
pub mod disk;
pub mod driver;
pub mod engine;
pub mod files;
pub mod identity;
pub mod net;
pub mod objects;
mod pack;
pub mod probe;
pub mod record;
pub mod remember;
pub mod seal;
mod sys;
pub mod tls;
pub mod transfer;
pub mod wake;
pub mod work;
