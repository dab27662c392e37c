//! How far decoding is behind, here and at the peer: what a sender weighs against one more round trip.
//!
//! Counts alone say little: ten blocks that wait are nothing to a fast host and a second to a slow
//! one. So the time that solved blocks take one after the other is measured while there are any to
//! solve, whatever the number of workers is, and what waits is told as time. spec: W-131

use crate::units::Timestamp;
use core::time::Duration;

/// Weight of what was known in the mean time between two solved blocks.
const KEPT: u32 = 7;

/// The decoder of this host, as seen from its queue, and that of the peer, as told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Decoding {
    /// Blocks that wait, or are being solved.
    blocks: u32,
    /// Blocks solved so far.
    solved: u64,
    /// When the last one was done, or the first of these came.
    since: Timestamp,
    /// Mean time between two that were done while others waited; zero before there was one.
    each: Duration,
    /// What the peer tells of its own.
    pub(super) at_peer: Duration,
}

impl Decoding {
    /// So many `blocks` wait or are being solved now, and so many were `solved` so far.
    pub(super) fn note(&mut self, blocks: u32, solved: u64, now: Timestamp) {
        if solved > self.solved {
            let done = u32::try_from(solved - self.solved).unwrap_or(u32::MAX);
            let span = now.since(self.since) / done;
            let known = if self.each.is_zero() { span } else { self.each };
            self.each = known.saturating_mul(KEPT).saturating_add(span) / (KEPT + 1);
            self.since = now;
        } else if self.blocks == 0 {
            self.since = now;
        }
        (self.blocks, self.solved) = (blocks, solved);
    }

    /// How long it will be until all that wait now are solved.
    pub(super) fn left(&self, now: Timestamp) -> Duration {
        self.each.max(now.since(self.since)).saturating_mul(self.blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn who_has_nothing_to_solve_is_not_behind() {
        let mut decoding = Decoding::default();
        assert_eq!(decoding.left(at(5_000)), Duration::ZERO);
        decoding.note(1, 0, at(5_000));
        decoding.note(0, 1, at(5_040));
        assert_eq!(decoding.left(at(9_000)), Duration::ZERO);
    }

    #[test]
    fn what_waits_takes_as_long_as_what_was_solved_before() {
        let mut decoding = Decoding::default();
        decoding.note(1, 0, at(1_000));
        decoding.note(0, 1, at(1_040));
        // Between jobs nobody works: that is no time that a block takes.
        (1..=6).for_each(|blocks| decoding.note(blocks, 1, at(3_000)));
        assert_eq!(decoding.left(at(3_000)), Duration::from_millis(240));
        // One became whole, which says nothing about the decoder.
        decoding.note(5, 1, at(3_001));
        assert_eq!(decoding.left(at(3_001)), Duration::from_millis(200));
    }

    /// Nothing is known of the decoder, and for how long it has been at the first one is all there is.
    #[test]
    fn a_first_block_that_takes_long_tells_before_it_is_done() {
        let mut decoding = Decoding::default();
        (1..=10).for_each(|blocks| decoding.note(blocks, 0, at(0)));
        assert_eq!(decoding.left(at(30)), Duration::from_millis(300));
    }

    #[test]
    fn two_workers_take_half_as_long() {
        let mut decoding = Decoding::default();
        decoding.note(100, 0, at(0));
        for step in 1..=40 {
            decoding.note(100 - 2 * step, 2 * u64::from(step), at(20 * u64::from(step)));
        }
        assert_eq!(decoding.left(at(800)), Duration::from_millis(200));
    }
}
