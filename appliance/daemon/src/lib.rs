//! The body of a site: what it keeps on disk, looks at and hears, and the loop that joins it to the
//! pure core (`farhaul-sync`).
//!
//! It decides nothing about versions, conflicts or what is to be done: it acts.

pub mod config;
pub mod control;
pub mod events;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod http;
pub mod index;
mod moment;
pub mod restore;
pub mod run;
pub mod scan;
pub mod site;
pub mod store;
mod told;
pub mod watch;

mod attrs;
mod boot;
mod exact;
#[cfg(test)]
mod sample;
