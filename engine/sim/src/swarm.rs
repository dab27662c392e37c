//! A swarm of up to a thousand sites, each run by the product's own brain, over links whose rates are
//! shared fairly at every moment: what distributing a manifest takes, beside what physics allows.
//!
//! Chunks are not packets here: a transfer is a fluid with a rate, loss is an efficiency, control
//! messages take half a round trip and their bytes. [`net`] shares the rates, [`world`] runs the
//! sites, [`cell`] describes a run, [`outcome`] says what came of it.

pub mod bound;
pub mod cell;
mod liar;
pub mod net;
pub mod outcome;
mod sites;
mod wheel;
pub mod world;

pub use cell::{Cell, CellFile};
pub use outcome::Outcome;
pub use world::run;
