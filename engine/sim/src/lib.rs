//! The virtual world in which the Farhaul brains are tested: randomness, links, cells.
//!
//! Nothing here opens a socket, reads a clock or starts a thread: time is an argument, randomness
//! comes from a printed seed. The link model is also what the real-time WAN emulator runs.
#![forbid(unsafe_code)]

pub mod cells;
pub mod check;
pub mod disk;
pub mod goals;
mod host;
pub mod link;
pub mod profile;
pub mod replay;
pub mod report;
pub mod rivals;
pub mod rng;
pub mod scenario;
pub mod swarm;
pub mod world;
