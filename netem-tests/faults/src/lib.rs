//! Faults that a site has to outlive: power cuts and kills, on real file systems, with an oracle of
//! what must be left.
//!
//! A worker runs the product's own control loop over a folder, with a neighbour that follows a script
//! and a user beside it; a ledger says what was meant, what was durable and what was announced, and
//! when. A disk that this kit serves over FUSE records every write and flush of the worker's file
//! system, so that what a power cut could have left can be made at any point; a tracer kills it before
//! and after each syscall. What is left is opened by the product, and judged.
//!
//! It needs root, `/dev/fuse` and loop devices, and says so. Nothing of it is in the product.
#![forbid(unsafe_code)]

pub mod disk;
pub mod fuse;
pub mod image;
pub mod judge;
pub mod kill;
pub mod ledger;
pub mod machine;
pub mod mutant;
pub mod peer;
pub mod power;
pub mod recording;
pub mod script;
pub mod site;
pub mod worker;

/// Why the kit did not get as far as a verdict.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KitError {
    /// The machine does not permit it.
    #[error("{0}")]
    Forbidden(String),
    /// The operating system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: std::io::Error,
    },
    /// Something did not come to its end in time.
    #[error("{0}: not within the time that any machine needs")]
    Late(String),
    /// The worker or the product said no where nothing was wrong yet.
    #[error("{0}")]
    Failed(String),
}

impl KitError {
    /// An error of the operating system while doing `what`.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
