//! What neighbours have of this index, and what follows from it for tombstones.
//!
//! A neighbour says at the start of a session, in one breath, how far it follows this index and how
//! far its own numbers go. Once it is itself followed that far, nothing that it told before it had
//! our tombstones can be on its way any more (spec: S-065).

use crate::message::{Followed, Shared};
use crate::version::Incarnation;

/// What a neighbour had when it last said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Of which life of this index.
    pub epoch: u64,
    /// Everything up to this arrival number.
    pub up_to: u64,
    /// In which life of its own.
    pub their_epoch: u64,
    /// With its own arrival numbers up to this one.
    pub their_head: u64,
}

impl Ack {
    /// What a neighbour says with the folder that it shares.
    pub fn of(shared: &Shared) -> Self {
        let Followed { epoch, up_to } =
            shared.followed.unwrap_or(Followed { epoch: shared.epoch, up_to: 0 });
        Self { epoch, up_to, their_epoch: shared.epoch, their_head: shared.head }
    }

    /// Up to which arrival number a tombstone may go as far as this neighbour is concerned.
    /// `followed` is how far it is followed itself.
    pub fn counts(&self, epoch: Incarnation, followed: Option<Followed>) -> u64 {
        let is_heard = followed.is_some_and(|followed| {
            followed.epoch == self.their_epoch && followed.up_to >= self.their_head
        });
        if is_heard && self.epoch == epoch.get() { self.up_to } else { 0 }
    }

    /// Whether the neighbour lacks tombstones that nobody remembers any more: those up to `floor`.
    /// What it tells up to its head may have been deleted since.
    pub fn is_stale(&self, epoch: Incarnation, floor: u64) -> bool {
        floor > 0 && (self.epoch != epoch.get() || self.up_to < floor)
    }
}

/// Up to which arrival number every neighbour has everything; 0 if there is none: whoever joins later
/// is to hear of deletions.
pub fn acked_by_all(
    neighbours: impl IntoIterator<Item = (Option<Ack>, Option<Followed>)>,
    epoch: Incarnation,
) -> u64 {
    let acked = neighbours.into_iter().map(|(ack, followed)| match ack {
        Some(ack) => ack.counts(epoch, followed),
        None => 0,
    });
    acked.min().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// spec: S-065
    #[test]
    fn what_a_neighbour_has_counts_once_nothing_it_said_before_is_on_its_way() {
        let ack = Ack { epoch: 3, up_to: 40, their_epoch: 7, their_head: 100 };
        let ours = Incarnation::new(3);
        let followed = |epoch, up_to| Some(Followed { epoch, up_to });
        assert_eq!(ack.counts(ours, followed(7, 100)), 40);
        assert_eq!(ack.counts(ours, followed(7, 99)), 0, "something is on its way");
        assert_eq!(ack.counts(ours, followed(8, 100)), 0, "that is another life of it");
        assert_eq!(ack.counts(ours, None), 0);
        assert_eq!(ack.counts(Incarnation::new(4), followed(7, 100)), 0, "it had an earlier life");
    }
}
