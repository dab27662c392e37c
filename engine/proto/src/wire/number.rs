//! Packet numbers and key epochs on the wire: 24 and 8 low bits travel, the receiver restores the
//! rest.
//!
//! Does not judge whether a number is fresh; that is `path::replay`.

use crate::ids::PacketNumber;
use crate::limits::EPOCHS_AHEAD_MAX;
use crate::wire::varint::VARINT_MAX;
use core::fmt;

/// The largest packet number a lane may use, 2^62 - 1 (`spec: W-020`).
pub const PACKET_NUMBER_MAX: PacketNumber = PacketNumber::new(VARINT_MAX);

/// Values that 24 bits can tell apart. A sender that nobody answers stops after little more than a
/// second (`spec: W-058`), so half of them are enough for 50 Gbit/s.
const WINDOW: u64 = 1 << 24;

/// The low 24 bits of a packet number, as they stand in the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TruncatedNumber(u32);

impl TruncatedNumber {
    /// What the header carries for `number`.
    pub const fn of(number: PacketNumber) -> Self {
        let [.., a, b, c] = number.get().to_be_bytes();
        Self::from_bytes([a, b, c])
    }

    /// As read off a header.
    pub const fn from_bytes([a, b, c]: [u8; 3]) -> Self {
        Self(u32::from_be_bytes([0, a, b, c]))
    }

    /// As written into a header.
    pub const fn to_bytes(self) -> [u8; 3] {
        let [_, a, b, c] = self.0.to_be_bytes();
        [a, b, c]
    }

    /// The number closest to the one expected next that has these low bits (`spec: W-021`; RFC 9000
    /// appendix A.3).
    ///
    /// `largest_seen` is the largest *authenticated* number of this direction of the lane. The
    /// answer never exceeds [`PACKET_NUMBER_MAX`].
    pub const fn expand(self, largest_seen: Option<PacketNumber>) -> PacketNumber {
        let expected = match largest_seen {
            Some(largest) if largest.get() < VARINT_MAX => largest.get() + 1,
            Some(_) => VARINT_MAX,
            None => 0,
        };
        // `expected` has at most 62 bits, so none of the sums below can overflow.
        let candidate = (expected & !(WINDOW - 1)) | self.0 as u64;
        let half = WINDOW / 2;
        let restored = if candidate + half <= expected && candidate + WINDOW <= VARINT_MAX {
            candidate + WINDOW
        } else if candidate > expected + half && candidate >= WINDOW {
            candidate - WINDOW
        } else {
            candidate
        };
        PacketNumber::new(restored)
    }
}

impl fmt::Display for TruncatedNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "..{:06x}", self.0)
    }
}

/// Which key of a lane protects a packet; each is made from the one before (`spec: W-023`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyEpoch(u64);

impl KeyEpoch {
    /// Wraps the plain number.
    pub const fn new(n: u64) -> Self {
        Self(n)
    }

    /// The plain number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The epoch that follows.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The low 8 bits, as they stand in the header.
    pub const fn wire_byte(self) -> u8 {
        self.0.to_be_bytes()[7]
    }

    /// The epoch that `wire_byte` means to a receiver whose newest one is this: the one before, the
    /// same, or one of those that a peer may be ahead; `None` for any other (`spec: W-022`).
    pub const fn near(self, wire_byte: u8) -> Option<Self> {
        let ahead = wire_byte.wrapping_sub(self.wire_byte());
        if ahead as u64 <= EPOCHS_AHEAD_MAX {
            return Some(Self(self.0.saturating_add(ahead as u64)));
        }
        match (ahead, self.0.checked_sub(1)) {
            (u8::MAX, Some(before)) => Some(Self(before)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn truncated(n: u64) -> TruncatedNumber {
        TruncatedNumber::of(PacketNumber::new(n))
    }

    #[test]
    fn before_the_first_packet_the_low_bits_are_the_number() {
        assert_eq!(truncated(7).expand(None), PacketNumber::new(7));
        let last = TruncatedNumber::from_bytes([0xff; 3]);
        assert_eq!(last.expand(None), PacketNumber::new(0x00ff_ffff));
    }

    #[test]
    fn a_number_just_past_the_wrap_of_24_bits_is_restored_upwards() {
        let largest = PacketNumber::new((3 << 24) - 1);
        assert_eq!(truncated(0).expand(Some(largest)), PacketNumber::new(3 << 24));
    }

    #[test]
    fn a_late_number_from_before_the_wrap_is_restored_downwards() {
        let largest = PacketNumber::new((3 << 24) + 5);
        let late = TruncatedNumber::from_bytes([0xff, 0xff, 0xfe]);
        assert_eq!(late.expand(Some(largest)), PacketNumber::new((3 << 24) - 2));
    }

    #[test]
    fn the_end_of_the_number_space_is_not_passed() {
        let restored = truncated(0).expand(Some(PacketNumber::new(u64::MAX)));
        assert!(restored <= PACKET_NUMBER_MAX);
    }

    #[test]
    fn an_epoch_byte_means_the_epoch_before_this_one_or_the_next_two() {
        let near = |epoch: u64, byte| KeyEpoch::new(epoch).near(byte).map(KeyEpoch::get);
        assert_eq!((near(256, 255), near(256, 0), near(256, 2)), (Some(255), Some(256), Some(258)));
        assert_eq!((near(256, 3), near(256, 254), near(256, 128)), (None, None, None));
        assert_eq!((near(0, 255), near(0, 1)), (None, Some(1)));
    }

    proptest! {
        #[test]
        fn any_number_within_eight_million_of_the_largest_is_restored(
            largest in (1u64 << 23)..VARINT_MAX - (1 << 23),
            ahead in any::<bool>(),
            distance in 0u64..(1 << 23),
        ) {
            let number = if ahead { largest + 1 + distance } else { largest + 1 - distance };
            let number = PacketNumber::new(number);
            let truncated = TruncatedNumber::of(number);
            prop_assert_eq!(truncated.expand(Some(PacketNumber::new(largest))), number);
        }

        #[test]
        fn the_low_bits_never_change(bytes in any::<[u8; 3]>(), largest in any::<Option<u64>>()) {
            let truncated = TruncatedNumber::from_bytes(bytes);
            let number = truncated.expand(largest.map(PacketNumber::new));
            prop_assert_eq!(TruncatedNumber::of(number), truncated);
            prop_assert_eq!(truncated.to_bytes(), bytes);
            prop_assert!(number <= PACKET_NUMBER_MAX);
        }
    }
}
