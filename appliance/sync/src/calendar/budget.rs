//! How much a link carries under a calendar, and when so much has gone.

use super::Calendar;
use crate::limits::CALENDAR_LOOK_MAX;
use farhaul_proto::units::{BitRate, Bytes};
use jiff::{SignedDuration, Timestamp};

/// Bits at one bit per second in a nanosecond, the other way round, for bytes.
const NANOS_OF_A_BYTE: u128 = 8 * 1_000_000_000;

impl Calendar {
    /// What a link of this rate may carry from one instant to another; rounds down. It looks
    /// [`CALENDAR_LOOK_MAX`] ahead: what is behind that does not count.
    pub fn capacity(&self, link: BitRate, from: Timestamp, to: Timestamp) -> Bytes {
        let pieces = self.spans(from, to.min(farthest(from)));
        let carried = |rate: BitRate, nanos: u128| u128::from(rate.get()) * nanos;
        // 2^64 bits per second over 2^59 nanoseconds.
        let sum: u128 = pieces
            .map(|piece| carried(self.rate(link, piece.limit), nanos(piece.from, piece.to)))
            .sum();
        Bytes::new(u64::try_from(sum / NANOS_OF_A_BYTE).unwrap_or(u64::MAX))
    }

    /// The first instant, to the nanosecond, up to which a link of this rate may have carried so much since
    /// `from`; `None` if that is after `horizon`, or farther than [`CALENDAR_LOOK_MAX`] ahead.
    pub fn when_done(
        &self,
        bytes: Bytes,
        link: BitRate,
        from: Timestamp,
        horizon: Timestamp,
    ) -> Option<Timestamp> {
        let mut left = u128::from(bytes.get()) * NANOS_OF_A_BYTE;
        if left == 0 {
            return Some(from).filter(|from| *from <= horizon);
        }
        for piece in self.spans(from, horizon.min(farthest(from))) {
            let rate = u128::from(self.rate(link, piece.limit).get());
            let carried = rate * nanos(piece.from, piece.to);
            if left <= carried {
                let after = i128::try_from(left.div_ceil(rate)).ok()?;
                return Timestamp::from_nanosecond(piece.from.as_nanosecond() + after).ok();
            }
            left -= carried;
        }
        None
    }

    fn rate(&self, link: BitRate, limit: super::Limit) -> BitRate {
        limit.on(Some(link)).unwrap_or(link)
    }
}

fn nanos(from: Timestamp, to: Timestamp) -> u128 {
    u128::try_from(to.as_nanosecond() - from.as_nanosecond()).unwrap_or(0)
}

fn farthest(from: Timestamp) -> Timestamp {
    let ahead = SignedDuration::try_from(CALENDAR_LOOK_MAX).unwrap_or(SignedDuration::MAX);
    from.checked_add(ahead).unwrap_or(Timestamp::MAX)
}
