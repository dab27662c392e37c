//! x
mod arena;
mod checksum;
mod schedule;
pub mod segment;
pub mod vnet;
