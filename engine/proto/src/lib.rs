//! The pure core of the Farhaul transfer protocol.
//!
//! It does not open sockets or files, read clocks, spawn threads or draw randomness: time is an
//! argument, randomness a passed generator, everything slow an effect. It never touches payload:
//! tickets (`block`, `buffer`, `length`) go through it, bytes go past it.
#![forbid(unsafe_code)]

pub mod congestion;
pub mod content;
pub mod fec;
pub mod ids;
pub mod layout;
pub mod limits;
pub mod manifest;
pub mod objects;
pub mod path;
pub mod path_name;
pub mod ranges;
pub mod recv;
pub mod send;
pub mod session;
pub mod shares;
mod site_id;
pub mod trace;
pub mod units;
pub mod wire;
