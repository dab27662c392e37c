//! How large the chunks of a file are: a function of the file's size alone.
//!
//! Small chunks make edits cheap, few chunks make manifests cheap. Up to 4 GiB the average doubles as
//! the size does, so a list has at most some 25,000 chunks; from there on it doubles whenever the size
//! grows fourfold, so chunks and manifest both grow as the square root of the size: 200,000 chunks at
//! 512 GiB. The first class reaches up to 512 MiB so that an edit of a file of some hundred MiB costs
//! little more than what was edited.
//!
//! No chunk but the last before zeros or the end has less than 16 KiB: what a list costs stays below a
//! four hundredth of the file. In the smallest class that is the average itself, and cuts are looked
//! for from there on; lower minima move as many bytes for an edit, and have a fifth more chunks.
//!
//! A file that grows over a boundary is cut anew everywhere, and none of its chunks has an id that it
//! had before. Boundaries are two or four apart, so over all its life that concerns at most twice what
//! it holds at the last one. Nothing of it needs to cross a network: a receiver that holds the shorter
//! file cuts it in the class of the longer one ([`Cutter::of_class`](super::Cutter::of_class)), which
//! costs one pass over its own disk, and finds the chunks there.

use crate::limits::FILE_MAX;
use farhaul_proto::units::Bytes;

/// Length parameters of the chunks of one file (spec: S-031).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SizeClass(u8);

impl SizeClass {
    /// The class of the smallest files: 16 KiB on average.
    pub const SMALLEST: Self = Self(0);
    /// The class of the largest: 4 MiB.
    pub const LARGEST: Self = Self(8);

    /// Files of the smallest class are smaller than this; of each further one, twice that of the one
    /// before up to this class, then four times that.
    const FIRST_BOUND: u64 = 1 << 29;
    const LAST_DOUBLED: u8 = 4;
    const FIRST_AVERAGE: u64 = 1 << 14;
    const MIN: u64 = 1 << 14;

    /// The class of a file of `size` bytes.
    pub const fn of(size: Bytes) -> Self {
        let mut class = Self::SMALLEST;
        while class.0 < Self::LARGEST.0 && size.get() >= class.bound() {
            class.0 += 1;
        }
        class
    }

    /// Its files are smaller than this, but those of the largest.
    const fn bound(self) -> u64 {
        let fourfold = self.0.saturating_sub(Self::LAST_DOUBLED);
        Self::FIRST_BOUND << (self.0 + fourfold)
    }

    /// The class of this number; `None` if there is none.
    pub const fn from_number(number: u8) -> Option<Self> {
        if number <= Self::LARGEST.0 { Some(Self(number)) } else { None }
    }

    /// Its number, from 0.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// What the cutter aims at, and the length from which on zeros are no part of chunks (S-033).
    /// Chunks are a third longer in the mean, in the smallest class a half.
    pub const fn average(self) -> Bytes {
        Bytes::new(Self::FIRST_AVERAGE << self.0)
    }

    /// No chunk is shorter, but the last before zeros or the end.
    pub const fn min(self) -> Bytes {
        let quarter = self.average().get() / 4;
        Bytes::new(if quarter < Self::MIN { Self::MIN } else { quarter })
    }

    /// No chunk is longer.
    pub const fn max(self) -> Bytes {
        Bytes::new(self.average().get() * 4)
    }
}

// The bounds of every chunk there is (`reliability` 5.5), and that the last class is reached.
const _: () = assert!(SizeClass::SMALLEST.min().get() == 16 << 10);
const _: () = assert!(SizeClass::LARGEST.max().get() == 16 << 20);
const _: () = assert!(SizeClass::of(FILE_MAX).0 == SizeClass::LARGEST.0);
