//! What two sites hold and lack of each other, found out without telling everything: range-based
//! set reconciliation (A. Meyer, SRDS 2023).
//!
//! Records stand in an order that both sites compute alike ([`Place`]); a range of it has a sum
//! ([`Sum`]) that is equal on both sides if and only if they hold the same there. Where sums differ
//! the range is divided, and where little is left the records are listed. One site asks, the other
//! answers. Nothing is frozen meanwhile: what a site held when it began and still holds was either
//! found at the other one or is known to be lacking there, and what came later its stream tells.
//!
//! Sums are hashes of lists and not sums of hashes. Whoever may publish can choose records, and for
//! sums modulo 2^256 it takes some 2^32 steps to choose tens of thousands of them that cancel out
//! (Wagner 2002): two honest sites would call different sets equal. For a hash of the list it takes
//! a collision of BLAKE3. The price is that a change makes the sum of its bucket stale, and that
//! it is computed anew when somebody asks.
//!
//! On the wire sums and records have 8 bytes, keyed with a salt that is drawn for each comparison:
//! nobody but the two sites can look for a collision of those. A peer that lies about what it holds
//! is told too little or too much itself, and nobody else is.

mod answer;
mod ask;
mod cost;
mod part;
mod place;
mod side;
mod sum;

pub use answer::{Answer, Answerer};
pub use ask::{Asker, Turn};
pub use part::Part;
pub use place::{Place, Range};
pub use side::{Lacking, Outcome};
pub use sum::{Holdings, ListSum, Sum};

use crate::message::{Followed, Shared};

/// Records by which a peer is behind the index that it follows before comparing is worth more than
/// telling them: it may have most of them from others.
const FAR: u64 = 16_384;

/// Why a comparison comes to nothing; everything is told then, as if there were none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReconcileError<E> {
    /// What is held cannot be read.
    #[error("the index: {0}")]
    Holdings(E),
    /// More records stand in one place than can be listed: their author made them so.
    #[error("too many records in one place")]
    Dense,
    /// The peer says what it was not asked, or out of order.
    #[error("the peer's answer is none to what it was asked")]
    Unasked,
    /// It does not come to an end.
    #[error("a comparison of too many turns")]
    Endless,
}

/// Whether who follows an index is to be found out what it lacks, rather than told all that came
/// after what it is known to have (spec: S-120).
pub fn is_far(followed: Option<Followed>, epoch: u64, head: u64) -> bool {
    match followed.filter(|followed| followed.epoch == epoch) {
        Some(followed) => head.saturating_sub(followed.up_to) > FAR,
        None => head > 0,
    }
}

/// Whether two sites that share a folder so have to compare. Both find the same.
pub fn is_due(ours: &Shared, theirs: &Shared) -> bool {
    is_far(theirs.followed, ours.epoch, ours.head)
        || is_far(ours.followed, theirs.epoch, theirs.head)
}

#[cfg(test)]
mod tests;
