//! Packet numbers on the wire: the low 32 bits travel, the receiver restores the rest.
//!
//! Also the key epoch, which is a function of the number and nothing else. Does not judge
//! whether a number is fresh; that is `path::replay`.

use crate::ids::PacketNumber;
use crate::limits::PACKETS_PER_EPOCH;
use crate::wire::varint::VARINT_MAX;
use core::fmt;

/// The largest packet number a lane may use, 2^62 - 1 (`spec: W-020`).
pub const PACKET_NUMBER_MAX: PacketNumber = PacketNumber::new(VARINT_MAX);

/// Values that 32 bits can tell apart.
const WINDOW: u64 = 1 << 32;

/// The low 32 bits of a packet number, as they stand in the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TruncatedNumber(pub u32);

impl TruncatedNumber {
    /// What the header carries for `number`.
    pub const fn of(number: PacketNumber) -> Self {
        let [_, _, _, _, a, b, c, d] = number.get().to_be_bytes();
        Self(u32::from_be_bytes([a, b, c, d]))
    }

    /// The plain 32 bits.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The full number; see [`expand`].
    pub const fn expand(self, largest_seen: Option<PacketNumber>) -> PacketNumber {
        expand(self.0, largest_seen)
    }
}

impl fmt::Display for TruncatedNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "..{:08x}", self.0)
    }
}

/// Which key of a lane protects a packet: the packet number divided by
/// [`PACKETS_PER_EPOCH`] (`spec: W-023`).
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

    /// The low 8 bits, as they stand in the header.
    pub const fn wire_byte(self) -> u8 {
        self.0.to_be_bytes()[7]
    }
}

/// The key epoch of a packet.
pub const fn epoch_of(number: PacketNumber) -> KeyEpoch {
    KeyEpoch(number.get() / PACKETS_PER_EPOCH)
}

/// The number closest to the one expected next whose low 32 bits are `truncated`
/// (`spec: W-021`; RFC 9000 appendix A.3).
///
/// `largest_seen` is the largest *authenticated* number of this direction of the lane. The
/// answer never exceeds [`PACKET_NUMBER_MAX`].
pub const fn expand(truncated: u32, largest_seen: Option<PacketNumber>) -> PacketNumber {
    let expected = match largest_seen {
        Some(largest) if largest.get() < VARINT_MAX => largest.get() + 1,
        Some(_) => VARINT_MAX,
        None => 0,
    };
    // `expected` has at most 62 bits, so none of the sums below can overflow.
    let candidate = (expected & !(WINDOW - 1)) | truncated as u64;
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn before_the_first_packet_the_low_bits_are_the_number() {
        assert_eq!(expand(7, None), PacketNumber::new(7));
        assert_eq!(expand(u32::MAX, None), PacketNumber::new(u64::from(u32::MAX)));
    }

    #[test]
    fn a_number_just_past_the_wrap_of_32_bits_is_restored_upwards() {
        let largest = PacketNumber::new((3 << 32) - 1);
        assert_eq!(expand(0, Some(largest)), PacketNumber::new(3 << 32));
    }

    #[test]
    fn a_late_number_from_before_the_wrap_is_restored_downwards() {
        let largest = PacketNumber::new((3 << 32) + 5);
        assert_eq!(expand(u32::MAX - 1, Some(largest)), PacketNumber::new((3 << 32) - 2));
    }

    #[test]
    fn the_end_of_the_number_space_is_not_passed() {
        let restored = expand(0, Some(PacketNumber::new(u64::MAX)));
        assert!(restored <= PACKET_NUMBER_MAX);
    }

    #[test]
    fn the_epoch_changes_every_four_million_packets() {
        assert_eq!(epoch_of(PacketNumber::new((1 << 22) - 1)), KeyEpoch::new(0));
        assert_eq!(epoch_of(PacketNumber::new(1 << 22)), KeyEpoch::new(1));
        assert_eq!(epoch_of(PacketNumber::new(257 << 22)).wire_byte(), 1);
    }

    proptest! {
        #[test]
        fn any_number_within_two_billion_of_the_largest_is_restored(
            largest in (1u64 << 31)..VARINT_MAX - (1 << 31),
            ahead in any::<bool>(),
            distance in 0u64..(1 << 31),
        ) {
            let number = if ahead { largest + 1 + distance } else { largest + 1 - distance };
            let number = PacketNumber::new(number);
            let truncated = TruncatedNumber::of(number);
            prop_assert_eq!(truncated.expand(Some(PacketNumber::new(largest))), number);
        }

        #[test]
        fn the_low_bits_never_change(truncated in any::<u32>(), largest in any::<Option<u64>>()) {
            let number = expand(truncated, largest.map(PacketNumber::new));
            prop_assert_eq!(TruncatedNumber::of(number), TruncatedNumber(truncated));
            prop_assert!(number <= PACKET_NUMBER_MAX);
        }
    }
}
